"""What a pod's probes come to when something happens to it, measured.

Each fault happens to an injected pod in OSM's hands: its redirects, a real Envoy, our bypass and
our sidecar, the kubelet's prober on the other end of a wire. The yardstick is measured, too: the
same app, and the same fault where it can happen, without a mesh.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from osm_healthcheck.kubelet.pod_spec import PodSpec

from .app import ANY
from .kubelet import Verdicts
from .meshed_pod import MeshedPod, meshed_pod
from .meshes import OSM
from .namespaces import PATIENCE
from .pod_manifest import injected, manifest, spec
from .sockets import connections, descriptors, settled
from .watch import flood, watching

SIDECAR_USER = 15904
HASTE = 1
_GRPC = ("api readiness", "api startup")
_REFUSED = "connect: connection refused"
_HALF_A_REQUEST = b"GET /osm-healthcheck HTTP/1.1\r\n"
_RESET = struct.pack("ii", 1, 0)


@dataclass
class Figures:
    """What one bad day came to.

    Attributes:
        day: what happened.
        probes: how many were run.
        wrong: those whose verdict was not the direct one, but for `refused`.
        refused: those that were refused, or cut off, while the sidecar was down.
        gaps: how long the sidecar was down each time, in seconds: from the kill to the last probe
            that was refused.
        rate: probes a second.
        descriptors: that the sidecar had open before and after.
        connections: of the sidecar and of the kubelet that are left over.
    """

    day: str
    probes: int = 0
    wrong: tuple[str, ...] = ()
    refused: int = 0
    gaps: tuple[float, ...] = ()
    rate: float = 0.0
    descriptors: tuple[int, int] = (0, 0)
    connections: int = 0


@contextlib.contextmanager
def plain() -> Iterator[MeshedPod]:
    """A healthy app in no mesh."""
    with meshed_pod() as here:
        here.app.start(ANY)
        yield here


@contextlib.contextmanager
def in_mesh() -> Iterator[MeshedPod]:
    """The same in OSM's hands, injected."""
    with meshed_pod() as here:
        here.app.start(ANY)
        here.intercept(OSM, "nft")
        here.bypass(injected(PATIENCE))
        here.start_sidecar(injected(PATIENCE))
        yield here


def sidecar_killed(times: int) -> Figures:
    """SIGKILL while probes run; it is started again at once."""
    expected = _direct()
    gaps, wrong, refused = [], [], 0
    with in_mesh() as here, _counted(here, f"sidecar killed {times} times") as figures:
        with watching(here.kubelet, _pod(), here.pod.ipv4) as watch:
            for _ in range(times):
                before = len(watch.seen)
                killed = time.monotonic()
                assert here.sidecar is not None
                here.sidecar.end()
                gone = time.monotonic()
                here.start_sidecar(injected(PATIENCE))
                ready = time.monotonic()
                watch.wait_for_each(lambda _: True)
                failed = [one for one in watch.seen[before:] if one.verdict != expected[one.name]]
                down = [one for one in failed if one.ended >= killed and one.started <= ready]
                lies = [one for one in down if one.started > gone and _REFUSED not in one.text]
                wrong += [one for one in failed if one not in down] + lies
                refused += len(down)
                gaps.append(max((one.ended for one in down), default=killed) - killed)
        figures.probes = len(watch.seen)
        figures.wrong = tuple(f"{one.name}: {one.verdict} {one.text}" for one in wrong)
        figures.refused = refused
        figures.gaps = tuple(gaps)
    return figures


def envoy_killed(times: int) -> Figures:
    """The mesh's proxy goes and comes back, which is nothing to the probes."""
    expected = _direct()
    with in_mesh() as here, _counted(here, f"Envoy killed {times} times") as figures:
        with watching(here.kubelet, _pod(), here.pod.ipv4) as watch:
            for _ in range(times):
                assert here.envoy is not None
                here.envoy.end()
                watch.wait_for_each(lambda _: True)
                assert here.node.ask(here.pod.ipv4, 8080) == "ConnectionRefusedError"
                here.restart_envoy()
                watch.wait_for_each(lambda _: True)
        figures.probes = len(watch.seen)
        figures.wrong = tuple(
            f"{one.name}: {one.verdict} {one.text}"
            for one in watch.seen
            if one.verdict != expected[one.name]
        )
    return figures


def app_restarted(times: int) -> Figures:
    """Killed and started again, and probed in either state.

    While it is dead its gRPC probes are left out: the kubelet dials those for a whole
    timeoutSeconds, each time. `wire_cut` has them, and so has the proof.
    """

    def happens(here: MeshedPod, pod: PodSpec) -> list[Verdicts]:
        rounds = []
        for _ in range(times):
            here.app.kill()
            rounds.append(_probed(here, without_grpc(pod)))
            here.app.start(ANY)
            rounds.append(_probed(here, pod))
        return rounds

    return _compared(f"app restarted {times} times", happens)


def wire_cut(times: int) -> Figures:
    """The node's end of the wire goes down and up, with requests half-way through.

    Their callers leave while the wire is cut, so that the pod never hears of it.
    """

    def happens(here: MeshedPod, pod: PodSpec) -> list[Verdicts]:
        hasty = spec((manifest if here.sidecar is None else injected)(HASTE))
        rounds = []
        for _ in range(times):
            callers = [half_a_request(here) for _ in range(50 if here.sidecar else 0)]
            rounds.append(_probed(here, pod))
            here.node.run("ip", "link", "set", "eth0", "down")
            rounds.append(_probed(here, hasty))
            for caller in callers:
                caller.close()
            here.node.run("ip", "link", "set", "eth0", "up")
            rounds.append(_probed(here, pod))
        return rounds

    return _compared(f"wire cut {times} times", happens)


def flooded(rate: int, seconds: int) -> Figures:
    """So many probes a second from the node, for so many seconds."""
    expected = _direct()
    with (
        in_mesh() as here,
        _counted(here, f"{rate:,} probes a second for {seconds} s") as figures,
    ):
        result = here.kubelet.run(flood(_pod(), here.pod.ipv4, rate, seconds))
        figures.probes = result.verdicts.total()
        figures.rate = figures.probes / result.seconds
        figures.wrong = tuple(
            f"{name}: {verdict} {count} times"
            for (name, verdict), count in result.verdicts.items()
            if verdict != expected[name]
        )
    return figures


def _pod() -> PodSpec:
    return spec(injected(PATIENCE))


def _direct() -> Verdicts:
    with plain() as here:
        return _probed(here, spec(manifest(PATIENCE)))


def _probed(here: MeshedPod, pod: PodSpec) -> Verdicts:
    return here.kubelet.verdicts(pod, here.pod.ipv4)[here.pod.ipv4]


def _compared(day: str, happens: Callable[[MeshedPod, PodSpec], list[Verdicts]]) -> Figures:
    with plain() as here:
        direct = happens(here, spec(manifest(PATIENCE)))
    with in_mesh() as here, _counted(here, day) as figures:
        found = happens(here, _pod())
    figures.probes = sum(map(len, found))
    figures.wrong = tuple(
        f"{name}: {words.get(name)}, not {verdict}, in round {number}"
        for number, (words, expected) in enumerate(zip(found, direct, strict=True), 1)
        for name, verdict in expected.items()
        if words.get(name) != verdict
    )
    return figures


@contextlib.contextmanager
def _counted(here: MeshedPod, day: str) -> Iterator[Figures]:
    """Fill in what is left over after the block."""
    assert here.sidecar is not None
    figures = Figures(day)
    _probed(here, _pod())

    def open_connections() -> int:
        return len(connections(here.pod, SIDECAR_USER)) + len(connections(here.node, 0))

    assert settled(open_connections, 0) == 0
    before = descriptors(here.sidecar.process.pid)
    yield figures
    figures.connections = settled(open_connections, 0)
    pid = here.sidecar.process.pid
    figures.descriptors = (before, settled(lambda: descriptors(pid), before))


def half_a_request(here: MeshedPod) -> socket.socket:
    """A connection from the node that has half a request sent; closed, it is reset."""
    caller = here.node.socket(socket.AF_INET)
    caller.settimeout(PATIENCE)
    caller.connect((here.pod.ipv4, 15904))
    caller.sendall(_HALF_A_REQUEST)
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    return caller


def without_grpc(pod: PodSpec) -> PodSpec:
    """The pod without its gRPC probes."""
    containers = tuple(
        replace(
            one,
            probes={kind: p for kind, p in one.probes.items() if f"{one.name} {kind}" not in _GRPC},
        )
        for one in pod.containers
    )
    return replace(pod, containers=containers)
