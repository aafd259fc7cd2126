"""Both probers ask the app of a case; what differs is sorted into classes."""

import asyncio
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osm_healthcheck.kubelet.address import PodAddress
from osm_healthcheck.kubelet.handlers import run_handler
from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.probes.probe import FieldReader, read_probe
from tests.differential.case import Case
from tests.differential.kubernetes import Conclusion, KubernetesProber
from tests.differential.puppet import puppet

_SOURCE_PORT = re.compile(r"(tcp (?:\[[^\]]*\]|[\d.]+)):\d+->")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True, slots=True)
class Seen:
    """What one prober makes of a case: its conclusion, and what the app was sent."""

    conclusion: Conclusion
    requests: tuple[bytes, ...]
    port: int

    @property
    def verdict(self) -> str:
        """What the worker counts."""
        return self.conclusion.result if self.conclusion.error is None else "no verdict"

    @property
    def text(self) -> str:
        """What an event would say, without the ports that the kernel chose."""
        text = self.conclusion.output if self.conclusion.error is None else self.conclusion.error
        text = _SOURCE_PORT.sub(r"\1:<src>->", text)
        return text.replace(f":{self.port}", ":<port>")


@dataclass(frozen=True, slots=True)
class Difference:
    """One case about which the two differ; ``aspect`` is ``verdict``, ``text`` or ``request``.

    It ``varies`` where it is a verdict to which either side may come. ``ours`` is our prober's, or
    what Kubernetes' own comes to through the sidecar.
    """

    case: Case
    aspect: str
    kubernetes: Seen
    ours: Seen

    @property
    def pair(self) -> tuple[str, str]:
        """What Kubernetes has, and what we have, in words of one line."""
        if self.aspect == "request":
            return _different_lines(self.kubernetes.requests, self.ours.requests)
        if self.aspect == "text":
            return self.kubernetes.text, self.ours.text
        both = (self.kubernetes, self.ours)
        theirs, own = (f"{seen.verdict}: {seen.text[-120:]}" for seen in both)
        return theirs, own

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Group, aspect and the pair without what is the one case's own: the class."""
        theirs, own = (_QUOTED.sub('"…"', re.sub(r"\d+", "0", text)) for text in self.pair)
        return self.case.group, self.aspect, theirs, own


Ask = Callable[[Case, KubernetesProber, asyncio.Runner], list[Difference]]


def differences(kubernetes: Seen, ours: Seen, case: Case) -> Iterator[Difference]:
    """What differs; a text is compared where the verdict is the same."""
    if kubernetes.verdict != ours.verdict:
        yield Difference(case, "verdict", kubernetes, ours)
    elif kubernetes.text != ours.text:
        yield Difference(case, "text", kubernetes, ours)
    if kubernetes.requests != ours.requests:
        yield Difference(case, "request", kubernetes, ours)


def _differ(case: Case, prober: KubernetesProber, runner: asyncio.Runner) -> list[Difference]:
    return list(differences(ask_kubernetes(case, prober), ask_ours(case, runner), case))


def compare(
    cases: Iterable[Case],
    program: Path,
    ask: Ask = _differ,
    *,
    workers: int = 4,
    progress: Callable[[int], None] = lambda _done: None,
) -> list[Difference]:
    """Ask every case, ``workers`` at a time; ``program`` is Kubernetes' prober as it was built.

    ``ask`` says how a case differs: between Kubernetes' prober and ours, where it is not given.
    """
    found: list[Difference] = []
    done = 0
    local = threading.local()
    with ExitStack() as stack, ThreadPoolExecutor(workers) as pool:

        def begin() -> None:
            local.prober = KubernetesProber(program)
            local.runner = asyncio.Runner()
            stack.callback(local.runner.close)
            stack.callback(local.prober.close)

        def find(case: Case) -> list[Difference]:
            if not hasattr(local, "prober"):
                begin()
            return ask(case, local.prober, local.runner)

        for result in pool.map(find, cases):
            found += result
            done += 1
            progress(done)
    return found


def ask_kubernetes(case: Case, prober: KubernetesProber) -> Seen:
    """What Kubernetes' prober makes of ``case``."""
    with puppet(case.address, case) as app:
        handler = case.handler_for(app.port)
        ports = {"app": app.port}
        concluded = prober.run_probe(handler, case.address, ports, case.time_limit)
        return Seen(concluded, app.received(), app.port)


def ask_ours(case: Case, runner: asyncio.Runner) -> Seen:
    """What our prober makes of it."""
    with puppet(case.address, case) as app:
        handler = case.handler_for(app.port)
        ports = {"app": app.port}
        concluded = runner.run(_run_ours(handler, case.address, ports, case.time_limit))
        return Seen(concluded, app.received(), app.port)


async def _run_ours(
    handler: Mapping[str, Any], pod_ip: str, ports: Mapping[str, int], time_limit: float
) -> Conclusion:
    probe = read_probe(FieldReader(handler, "probe"), ProbeKind.LIVENESS)
    assert probe is not None, handler
    pod = PodAddress(pod_ip)
    verdict = await run_handler(probe.handler, time_limit, pod, ports)
    await pod.network.lingering.settle()
    return Conclusion(str(verdict.result), verdict.output, verdict.error)


def _different_lines(theirs: tuple[bytes, ...], own: tuple[bytes, ...]) -> tuple[str, str]:
    if len(theirs) != len(own):
        return f"{len(theirs)} requests", f"{len(own)} requests"
    for one, other in zip(theirs, own, strict=True):
        lines, own_lines = one.split(b"\r\n"), other.split(b"\r\n")
        if lines != own_lines:
            return (
                ascii([line for line in lines if line not in own_lines] or lines),
                ascii([line for line in own_lines if line not in lines] or own_lines),
            )
    return "", ""
