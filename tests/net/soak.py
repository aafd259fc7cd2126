"""Very many probes of one sidecar, with every fault that leaves it alive, each verdict compared.

A round has the app healthy, failing, dead, with its mesh's proxy killed, and with the wire cut. The
HTTPS probes are passed through, or made by request. Lifecycle hooks are left out: what the kubelet
makes of a hook is no verdict.
"""

import contextlib
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .app import ANY
from .faults import HASTE, SIDECAR_USER, half_a_request, plain, without_grpc
from .meshed_pod import MeshedPod, meshed_pod
from .meshes import OSM
from .namespaces import PATIENCE
from .pod_manifest import Manifest, by_request, injected, manifest, spec
from .sockets import connections, descriptors, settled
from .watch import flood

_PER_ROUND = 2000
_CALLERS = 20
_FLAT_BYTES = 2_000_000
"""What the sidecar's memory may differ by: pages of the allocator, and not a byte a probe."""

Seen = Counter[tuple[str, str]]
"""How often which probe had which verdict."""

HTTPS: Mapping[str, Callable[[int], Manifest]] = {
    "passed through": injected,
    "by request": by_request,
}


@dataclass
class Soaked:
    """What so many probes came to.

    Attributes:
        https: how HTTPS probes were made.
        probes: how many were run, by what happened meanwhile.
        by_name: how many were run, by the probe.
        wrong: verdicts that are not the direct ones.
        descriptors: that the sidecar had open after the first round and at the end.
        memory: the sidecar's resident memory at the same times, in bytes.
        connections: of the sidecar and of the kubelet that are left over.
    """

    https: str
    probes: Counter[str] = field(default_factory=Counter)
    by_name: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    descriptors: tuple[int, int] = (0, 0)
    memory: tuple[int, int] = (0, 0)
    connections: int = 0

    @property
    def good(self) -> bool:
        """Whether every verdict was right, nothing is left over, and memory is flat."""
        return (
            not self.wrong
            and not self.connections
            and self.descriptors[1] <= self.descriptors[0]
            and self.memory[1] - self.memory[0] <= _FLAT_BYTES
        )


def soak(https: str, probes: int) -> Soaked:
    """Run at least so many probes, in whole rounds; ``https`` is a key of `HTTPS`.

    How far it has come is said on stderr.
    """
    with plain() as here:
        expected = {
            fault: dict(seen.keys()) for fault, seen in _round(here, manifest, len(ANY) * 50)
        }
    document = HTTPS[https]
    found = Soaked(https)
    with meshed_pod() as here:
        here.app.start(ANY)
        here.intercept(OSM, "nft")
        here.bypass(document(PATIENCE))
        pid = here.start_sidecar(document(PATIENCE)).process.pid
        for number in itertools.count(1):
            for fault, seen in _round(here, document, _PER_ROUND):
                found.probes[fault] += seen.total()
                for (name, verdict), times in seen.items():
                    found.by_name[name] += times
                    right = expected[fault][name]
                    if verdict != right:
                        wrong = f"round {number}, {fault}: {name}: {verdict}, not {right}"
                        found.wrong.append(f"{wrong}: {times} times")
            done = f"{https}: {found.probes.total():,} probes, {len(found.wrong)} wrong verdicts"
            print(done, file=sys.stderr, flush=True)
            if number == 1:
                first = _left_open(here), descriptors(pid), _memory(pid)
            if found.probes.total() >= probes:
                break
        found.connections = _left_open(here)
        found.descriptors = first[1], settled(lambda: descriptors(pid), first[1])
        found.memory = first[2], _memory(pid)
    return found


def table(soaked: Sequence[Soaked]) -> str:
    """The figures in Markdown."""
    faults = list(soaked[0].probes)
    ends = "wrong verdicts", "descriptors", "memory (MB)", "connections left"
    rows: list[Sequence[object]] = [("HTTPS probes", *faults, "all probes", *ends)]
    rows.append(["---"] * len(rows[0]))
    for one in soaked:
        counts = [f"{one.probes[fault]:,}" for fault in faults]
        memory = ", ".join(f"{size / 1e6:.1f}" for size in one.memory)
        opened = "{}, {}".format(*one.descriptors)
        total = f"{one.probes.total():,}"
        rows.append((one.https, *counts, total, len(one.wrong), opened, memory, one.connections))
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    names = sum((one.by_name for one in soaked), Counter[str]())
    lines += ["", ", ".join(f"{name} {times:,}" for name, times in sorted(names.items()))]
    lines += [line for one in soaked for line in ["", *one.wrong[:10]] if one.wrong]
    return "\n".join(lines)


def _round(
    here: MeshedPod, document: Callable[[int], Manifest], size: int
) -> Iterator[tuple[str, Seen]]:
    """What happens, and what the probes came to meanwhile. The app is healthy before and after."""
    pod, hasty = spec(document(PATIENCE)), spec(document(HASTE))
    host = here.pod.ipv4

    def probed(number: int, dead: bool = False) -> Seen:
        work = flood(without_grpc(pod) if dead else pod, host, number, 1)
        return here.kubelet.run(work).verdicts

    yield "healthy", probed(4 * size)
    here.app.start(ANY, 503)
    yield "failing", probed(size)
    here.app.kill()
    # the kubelet dials a dead gRPC app for a whole timeoutSeconds, each time
    yield "dead", probed(size, dead=True)
    here.app.start(ANY)
    work = here.kubelet.start(flood(pod, host, size, 1))
    if here.envoy is not None:
        here.envoy.end()
        here.restart_envoy()
    yield "proxy killed", work.result().verdicts
    with contextlib.ExitStack() as callers:
        # they leave while the wire is cut, so that the pod never hears of it
        for _ in range(_CALLERS if here.sidecar else 0):
            callers.enter_context(half_a_request(here))
        here.node.run("ip", "link", "set", "eth0", "down")
        cut = here.kubelet.verdicts(hasty, host)[host]
    here.node.run("ip", "link", "set", "eth0", "up")
    yield "wire cut", Counter(cut.items())


def _left_open(here: MeshedPod) -> int:
    def count() -> int:
        return len(connections(here.pod, SIDECAR_USER)) + len(connections(here.node, 0))

    return settled(count, 0)


def _memory(pid: int) -> int:
    (line,) = (
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS:")
    )
    return int(line.split()[1]) * 1024
