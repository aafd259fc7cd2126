"""``attacked``: what probes take while an app floods its own, and while /metrics is read on and on.

An app that floods is asked by so many probes at once that it can go on to their deadline: what one
of them may be sent has a limit, which a single one can reach before. Attackers have what the load,
and the apps, leave them of the core that they share.
"""

import contextlib
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from osm_healthcheck.probes.targets import ANSWER_MARGIN
from osm_healthcheck.server.results import MAX_UNDECLARED_TARGETS
from tests.bench import load, procfs, sidecar
from tests.bench.environment import Environment
from tests.bench.errors import BenchError
from tests.bench.load import Probe
from tests.bench.measurement import (
    Column,
    Figures,
    Measurement,
    Target,
    percentile,
    ratios,
    results,
    rotations,
)
from tests.bench.process import Process, free_port, running
from tests.bench.servers.flooding_app import NAMES as FLOODS

_CALM = "in calm"
_SILENT = "in calm: the app says nothing"
_AT_ONCE = 10
_DEADLINE_MS = 1000 * (1 - ANSWER_MARGIN)
_LATE_MS, _NEIGHBOUR_MS = 100, 250
_RATE = 100
_SCRAPES = 30
_SCRAPED = f"{_SCRAPES} scrapes a second"
_CONTAINERS = 64
_PROBED = (
    "half of the probes are httpGet over HTTPS, half grpc, with timeoutSeconds 1: their deadline "
    f"is after {_DEADLINE_MS:.0f} ms"
)
_ASKED_MEANWHILE = (
    f"/healthz and the check are asked {_RATE} times a second together; of each flood its slowest "
    "probe and answer count, shown is the median over the floods of a kind in a round, and then "
    "over the rounds; the latest is the worst flood of a round"
)
_WAITED = (
    "for so long of a flood other processes had the sidecar's core: a machine with nothing else "
    "to do has next to none of it"
)
_TIMES = 2.0
_ASKED = ("healthz", "neighbour")


def measure(environment: Environment) -> list[Measurement]:
    """Compare a sidecar that is attacked with the same one in calm."""
    return [_floods(environment), _scrapes(environment)]


# -- an app that sends HTTP/2 without end


def _floods(environment: Environment) -> Measurement:
    waves = 1 if environment.quick else 3
    rounds: dict[str, list[Figures]] = {name: [] for name in (_SILENT, *FLOODS)}
    order = rotations(rounds)
    with _flooded_pod(environment) as pod:
        pod.wave(FLOODS[0])  # not measured: it loads what HTTP/2 takes
        for turn in range(environment.rounds):
            for name in order[turn % len(order)]:
                found = [pod.wave(name) for _ in range(waves)]
                usual = {key: statistics.median(one[key] for one in found) for key in found[0]}
                rounds[name].append({**usual, "latest": max(one["late"] for one in found)})
    shown = results(rounds)
    worst = {key: max(shown[name].median[key] for name in FLOODS) for key in ("late", *_ASKED)}
    return Measurement(
        name="floods",
        title=f"{_AT_ONCE} probes at once of an app that floods them: {environment.rounds} rounds "
        f"of {waves} of each kind, {environment.python}",
        columns=(
            Column("took", "its probe, ms"),
            Column("late", "deadline late, ms"),
            Column("latest", "latest, ms"),
            Column("healthz", "/healthz, ms"),
            Column("neighbour", "a neighbour's check, ms"),
            Column("waited", "waited for its core, ms"),
        ),
        servers=shown,
        targets=[
            Target.at_most(
                f"the deadline of no flood over {_LATE_MS} ms late", _LATE_MS, worst["late"]
            ),
            *(
                Target.at_most(
                    f"{what} within {_NEIGHBOUR_MS} ms of any flood", _NEIGHBOUR_MS, worst[key]
                )
                for key, what in (("healthz", "/healthz"), ("neighbour", "a neighbour's check"))
            ),
        ],
        notes=[_PROBED, _ASKED_MEANWHILE, _WAITED],
    )


class _FloodedPod:
    """A sidecar before apps that flood, and before a healthy one."""

    def __init__(
        self, server: Process, floods: dict[str, list[Probe]], asked: dict[str, Probe]
    ) -> None:
        self._server = server
        self._floods = floods
        self._asked = asked
        self._pool = ThreadPoolExecutor(_AT_ONCE)

    def close(self) -> None:
        self._pool.shutdown()

    def wave(self, name: str) -> Figures:
        """Have all probes of one flood sent; the slowest answers meanwhile, in milliseconds."""
        waited = procfs.waited_ns(self._server.pid)
        flooded = [
            self._pool.submit(_took_ms, probe)
            for probe in self._floods[name]
            for _ in range(_AT_ONCE // 2)
        ]
        slowest = dict.fromkeys(_ASKED, 0.0)
        for number in load.at_a_rate(_RATE, 60):
            if all(one.done() for one in flooded):
                break
            what = _ASKED[number % len(_ASKED)]
            slowest[what] = max(slowest[what], _took_ms(self._asked[what], b"HTTP/1.1 200 "))
        took = max(one.result() for one in flooded)
        return {
            **slowest,
            "took": took,
            "late": max(0.0, took - _DEADLINE_MS),
            "waited": (procfs.waited_ns(self._server.pid) - waited) / 1e6,
        }


def _took_ms(probe: Probe, expected: bytes = b"") -> float:
    """Milliseconds until the answer has ended, as ``expected`` where that is not nothing."""
    began = time.perf_counter_ns()
    answer = b""
    try:
        answer = load.ask(probe.port, next(probe.requests))
    except ConnectionResetError:
        pass  # how an answer ends that had begun
    except OSError as error:
        raise BenchError(f"while an app floods: a probe failed: {error}") from error
    if not answer.startswith(expected):
        raise BenchError(f"while an app floods: a probe was answered by {answer[:200]!r}")
    return (time.perf_counter_ns() - began) / 1e6


@contextlib.contextmanager
def _flooded_pod(environment: Environment) -> Iterator[_FloodedPod]:
    checks, liveness = free_port(), free_port()
    ports = {name: (free_port(), free_port()) for name in (*FLOODS, _SILENT)}
    probes: dict[str, object] = {}
    floods: dict[str, list[Probe]] = {}
    for number, (name, (https, grpc)) in enumerate(ports.items()):
        probes[f"c{number}"] = {
            "livenessProbe": {"httpGet": {"port": https, "scheme": "HTTPS"}, "timeoutSeconds": 1},
            "readinessProbe": {"grpc": {"port": grpc}, "timeoutSeconds": 1},
        }
        over_https = load.liveness(liveness, f"c{number}")
        floods[name] = [over_https, load.grpc_check(checks, app_port=grpc)]
    with contextlib.ExitStack() as stack:
        app_port = stack.enter_context(environment.app("listening_app"))
        probes["neighbour"] = {"livenessProbe": {"tcpSocket": {"port": app_port}}}
        all_ports = [str(port) for both in ports.values() for port in both]
        app = stack.enter_context(_attacker(environment, "flooding_app", *all_ports))
        for both in ports.values():
            for port in both:
                load.until_listening(app, port)
        command = sidecar.for_pod(environment, checks, liveness_port=liveness, probes=probes)
        server = stack.enter_context(environment.server(sidecar.NAME, command))
        neighbour = load.tcp_check(checks, app_port=app_port)
        load.until_ready(server, neighbour)
        asked = {"healthz": load.healthz(checks), "neighbour": neighbour}
        pod = _FloodedPod(server, floods, asked)
        stack.callback(pod.close)
        yield pod
        app.require_alive()


# -- somebody who reads /metrics


def _scrapes(environment: Environment) -> Measurement:
    seconds = 2.0 if environment.quick else 10.0
    rounds: dict[str, list[Figures]] = {_CALM: [], _SCRAPED: []}
    order = rotations(rounds)
    with environment.app("listening_app") as app_port, _full(environment, app_port) as probe:
        page_bytes = len(load.ask(probe.port, next(load.metrics(probe.port).requests)))
        for turn in range(environment.rounds):
            for name in order[turn % len(order)]:
                with contextlib.ExitStack() as stack:
                    if name == _SCRAPED:
                        told = (str(probe.port), str(_SCRAPES))
                        stack.enter_context(_attacker(environment, "scraper", *told))
                    _ask_at_a_rate(probe, 1.0)  # the attack has begun by then
                    rounds[name].append(_ask_at_a_rate(probe, seconds))
    ratios(rounds, "p99", _CALM, "p99_x")
    shown = results(rounds)
    attacked = shown[_SCRAPED].median
    return Measurement(
        name="scrapes",
        title=f"{_RATE} TCP checks a second while /metrics is read: {environment.rounds} rounds of "
        f"{seconds:.0f} s each, {environment.python}",
        columns=(
            Column("p50", "p50 ms", 2),
            Column("p99", "p99 ms", 2),
            Column("p99_x", "p99 x calm", 2),
            Column("most", "most ms", 1),
            Column("failed", "failed"),
        ),
        servers=shown,
        targets=[
            Target.at_most(f"p99 at most {_TIMES:.0f} x that in calm", _TIMES, attacked["p99_x"]),
            Target.at_most("no check fails", 0, attacked["failed"]),
        ],
        notes=[f"the page has {page_bytes // 1000} kB; of each third scrape nothing is read"],
    )


@contextlib.contextmanager
def _full(environment: Environment, app_port: int) -> Iterator[Probe]:
    """A sidecar whose page is as long as that of a pod of many containers gets; its one check."""
    checks, liveness = free_port(), free_port()
    probes: dict[str, object] = {"app": {"livenessProbe": {"tcpSocket": {"port": app_port}}}}
    declared = range(10_000, 10_000 + 3 * _CONTAINERS)
    for start in declared[::3]:
        kinds = ("livenessProbe", "readinessProbe", "startupProbe")
        probes[f"c{start}"] = {
            kind: {"tcpSocket": {"port": port}} for port, kind in enumerate(kinds, start)
        }
    command = sidecar.for_pod(environment, checks, liveness_port=liveness, probes=probes)
    with environment.server(sidecar.NAME, command) as server:
        check = load.tcp_check(checks, app_port=app_port)
        load.until_ready(server, check)
        for port in range(declared.start, declared.stop + MAX_UNDECLARED_TARGETS + 1):
            load.ask(checks, next(load.tcp_check(checks, app_port=port).requests))
        yield check


def _ask_at_a_rate(probe: Probe, seconds: float) -> Figures:
    latencies, failed = [], 0
    for _ in load.at_a_rate(_RATE, seconds):
        began = time.perf_counter_ns()
        try:
            answer = load.ask(probe.port, next(probe.requests))
        except OSError:
            answer = b""
        latencies.append(time.perf_counter_ns() - began)
        failed += not answer.startswith(b"HTTP/1.1 200 ")
    latencies.sort()
    return {
        "p50": percentile(latencies, 0.5) / 1e6,
        "p99": percentile(latencies, 0.99) / 1e6,
        "most": latencies[-1] / 1e6,
        "failed": failed,
    }


@contextlib.contextmanager
def _attacker(environment: Environment, module: str, *arguments: str) -> Iterator[Process]:
    """Run a module of ``servers`` behind all others of its core."""
    own = environment.own_python
    command = ["nice", "-n", "19", *own.command(f"tests.bench.servers.{module}", *arguments)]
    core = environment.cores.load
    with running(module, command, core=core, environment=own.environment) as process:
        yield process
        process.require_alive()
