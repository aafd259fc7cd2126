"""From a handler's verdict to what the kubelet does with it: ``pkg/kubelet/prober/prober.go``."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from osm_healthcheck.kubelet.address import PodAddress
from osm_healthcheck.kubelet.events import Event
from osm_healthcheck.kubelet.handlers import run_handler
from osm_healthcheck.kubelet.pod_spec import ContainerSpec
from osm_healthcheck.kubelet.verdict import Result, Verdict
from osm_healthcheck.probes.constants import ProbeKind

MAX_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a probe came to.

    ``result`` is what the worker counts, ``None`` where an error has it thrown away; ``event`` is
    what the kubelet reports; ``seconds`` is how long the last of ``attempts`` took.
    """

    verdict: Verdict
    result: Result | None
    event: Event | None
    attempts: int = 1
    seconds: float = 0.0


async def probe(kind: ProbeKind, container: ContainerSpec, pod: PodAddress) -> Outcome:
    """Probe ``container`` as the kubelet does; a container without such a probe is fine."""
    spec = container.probes.get(kind)
    if spec is None:
        return Outcome(Verdict(Result.SUCCESS), Result.SUCCESS, None, attempts=0)

    async def attempt() -> Verdict:
        return await run_handler(
            spec.handler, spec.timeout_seconds, pod, container.ports, owner=container.owner
        )

    return await with_retries(kind, container.name, attempt)


async def with_retries(
    kind: ProbeKind, container: str, attempt: Callable[[], Awaitable[Verdict]]
) -> Outcome:
    """Make up to three attempts: an error is tried again, a verdict is not."""
    clock = asyncio.get_running_loop().time
    attempts = 0
    while True:
        started = clock()
        verdict = await attempt()
        attempts += 1
        if verdict.error is None or attempts == MAX_ATTEMPTS:
            break
    result, event = conclude(kind, container, verdict)
    return Outcome(verdict, result, event, attempts, clock() - started)


def conclude(
    kind: ProbeKind, container: str, verdict: Verdict
) -> tuple[Result | None, Event | None]:
    """What the worker counts (``None``: nothing) and the event that the kubelet reports."""
    name = kind.value.capitalize()
    if verdict.error is not None:
        text = f"{name} probe errored and resulted in {verdict.result} state: {verdict.error}"
        return None, Event("Warning", "Unhealthy", text, container)
    match verdict.result:
        case Result.SUCCESS:
            return Result.SUCCESS, None
        case Result.WARNING:
            text = f"{name} probe warning: {verdict.output}"
            return Result.SUCCESS, Event("Warning", "ProbeWarning", text, container)
        case Result.FAILURE:
            text = f"{name} probe failed: {verdict.output}"
            return Result.FAILURE, Event("Warning", "Unhealthy", text, container)
        case Result.UNKNOWN:
            return Result.FAILURE, None
