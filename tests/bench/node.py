"""What node mode costs: one process for all pods of a node, beside a sidecar in each.

    python -m tests.bench.node [all|memory|probes|new|attacked] [--quick] [--pods 1,…] [--root DIR]

The pods are network namespaces with an app each, which takes root, and the container runtime is the
tests' double, so that 250 fit on any machine; what is counted is the agent's. Sidecars and Go
daemons are measured for a few pods and added up for more, as the table says.
"""

import argparse
import contextlib
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.bench import errors, go_daemon, neighbours, pods, procfs, report
from tests.bench.environment import Environment, cores
from tests.bench.errors import LeftOutError
from tests.bench.interpreter import ROOT_FLAGS, ROOT_PYTHON, interpreter
from tests.bench.measurement import (
    Column,
    Figures,
    Measurement,
    Target,
    percentile,
    ratios,
    results,
)
from tests.bench.process import Process
from tests.net.container_runtime import FakeRuntime, fake_runtime
from tests.net.namespaces import Namespace

_NODE, _SPLIT, _SIDECARS = "node mode", "node mode in two processes", "sidecars"
_COUNTS = (1, 10, 50, 110, 250)
_FULL = 110
_FEW = 3  # sidecars that are measured
_WARM_UP = 5
_SLICE = 200
_RATE = 3 * _FULL
_MB = 1e6
_LAZY_RSS, _CPU, _SPLIT_CPU = 40 * _MB, 1.15, 1.5


def main() -> int:
    """Measure, and print tables; the exit code is that of ``python -m tests.bench``."""
    options = _parser().parse_args()
    options.pods = options.pods or ((1, 5) if options.quick else _COUNTS)

    def work() -> None:
        pods.alone(options.root)
        _measure(options)

    return errors.run(work)


def _measure(options: argparse.Namespace) -> None:
    python, flags = (ROOT_PYTHON, ROOT_FLAGS) if options.root else (sys.executable, ())
    with contextlib.ExitStack() as stack:
        chosen = stack.enter_context(cores())
        environment = Environment(
            python=stack.enter_context(interpreter(python, flags, options.root)),
            own_python=stack.enter_context(interpreter(sys.executable, (), None)),
            cores=chosen,
            rounds=1 if options.quick else 5,
            probes=None,
            quick=options.quick,
            cache=go_daemon.default_cache(),
        )
        # where the agent, which may be in a root directory of its own, finds it too
        folder = tempfile.mkdtemp(dir=options.root / "run" if options.root else None)
        stack.callback(shutil.rmtree, folder)
        runtime = stack.enter_context(fake_runtime(Path(folder, "cri.sock")))
        other = stack.enter_context(fake_runtime(Path(folder, "other.sock")))
        node = _Node(environment, runtime, other, options.root)
        most = max(options.pods)
        apart = max(most, min(_FULL, most) + _FEW)  # some beside the full ones, for two processes
        made = [pods.make_pod(number) for number in range(apart + _FEW)]
        stack.enter_context(pods.apps(environment, made))
        print(f"{report.machine(chosen)}\n", flush=True)
        for measurement in node.measure(made, options.pods, options.what):
            print(report.markdown(measurement), flush=True)


class _Node:
    """A node, on which agents are started for as many pods as are wanted."""

    def __init__(
        self,
        environment: Environment,
        runtime: FakeRuntime,
        other: FakeRuntime,
        root: Path | None,
    ) -> None:
        self._environment = environment
        self._runtime = runtime
        self._other = other
        self._root = root

    def measure(
        self, made: Sequence[Namespace], counts: Sequence[int], what: str
    ) -> Iterator[Measurement]:
        """Everything, a table each; the last few of the pods that were ``made`` get sidecars."""
        others = made[-_FEW:]
        with self._agent(made[:1]):
            pass  # not measured: it writes the bytecode
        measured = counts if what in ("all", "memory") else ()
        alone = {_pods(count): [self._of(made[:count])] for count in measured}
        if alone:
            yield self._memory({count: alone[_pods(count)][0] for count in counts}, others)
            yield self._one_process(alone)
        if what in ("all", "probes"):
            most = min(_FULL, max(counts))
            yield from self._probes(made[:most], made[most : most + _FEW], others)
        if what in ("all", "new"):
            yield self._new_pod(made[:-_FEW])
        if what in ("all", "attacked"):
            served = made[: max(2, min(_FULL, max(counts)))]
            with self._agent(served):
                yield neighbours.measure(self._environment, served[0], served[1:])

    def _probes(
        self,
        full: Sequence[Namespace],
        apart: Sequence[Namespace],
        others: Sequence[Namespace],
    ) -> Iterator[Measurement]:
        with (
            self._agent(full) as agent,
            self._two_processes(apart) as both,
            contextlib.ExitStack() as stack,
        ):
            sidecars = [stack.enter_context(pods.sidecar(self._environment, one)) for one in others]
            for server, pod in zip(sidecars, others, strict=True):
                pods.until_answered(server, pod, pods.CHECK)
            yield self._cpu(
                {_NODE: ([agent], full), _SPLIT: (both, apart), _SIDECARS: (sidecars, others)}
            )
            yield self._at_a_rate({f"node mode, {len(full)} pods": full, "3 sidecars": others})

    @contextlib.contextmanager
    def _agent(self, served: Sequence[Namespace]) -> Iterator[Process]:
        """An agent that serves some pods, all of which have been asked once."""
        self._runtime.pods.clear()
        for pod in served:
            self._runtime.add(pod.name, pod, pods.PROBES)
        with pods.agent(self._environment, self._runtime, self._root) as process:
            for pod in served:
                pods.until_answered(process, pod, pods.CHECK)
            yield process

    @contextlib.contextmanager
    def _two_processes(self, served: Sequence[Namespace]) -> Iterator[list[Process]]:
        """The same in two processes, for other pods."""
        for pod in served:
            self._other.add(pod.name, pod, pods.PROBES)
        with pods.two_processes(self._environment, self._other, self._root) as processes:
            for pod in served:
                pods.until_answered(processes[1], pod, pods.CHECK)
            yield processes

    def _of(self, served: Sequence[Namespace]) -> Figures:
        """What an agent takes for some pods."""
        with self._agent(served) as process:
            started = (time.perf_counter_ns() - process.started_ns) / 1e6
            start_cpu = procfs.cpu_ns(process.pid)
            _warm_up(served)
            memory = procfs.memory(process.pid)
            idle, seconds = procfs.cpu_ns(process.pid), 1.0 if self._environment.quick else 5.0
            time.sleep(seconds)
            idle = procfs.cpu_ns(process.pid) - idle
            return {
                "start_ms": started,
                "start_cpu_ms": start_cpu / 1e6,
                "rss_bytes": memory.rss,
                "private_bytes": memory.private,
                "fds": procfs.descriptors(process.pid),
                "idle_us": idle / 1000 / seconds,
            }

    def _memory(self, node: Mapping[int, Figures], others: Sequence[Namespace]) -> Measurement:
        rows = {_NODE: [{str(count): figures["rss_bytes"] for count, figures in node.items()}]}
        notes = [
            "resident memory in MB (1,000,000 bytes), each probe of each pod asked before",
            _ADDED_UP,
        ]
        for name, start in ((_SIDECARS, pods.sidecar), (go_daemon.NAME + "s", pods.go)):
            try:
                with contextlib.ExitStack() as stack:
                    running = [stack.enter_context(start(self._environment, pod)) for pod in others]
                    for server, pod in zip(running, others, strict=True):
                        pods.until_answered(server, pod, pods.CHECK)
                    _warm_up(others, [pods.CHECK] if start is pods.go else pods.ALL)
                    memories = [procfs.memory(server.pid) for server in running]
            except LeftOutError as error:
                notes.append(str(error))
                continue
            whole = statistics.median(one.rss for one in memories)
            more = statistics.median(one.private for one in memories)
            rows[name] = [{str(count): whole + (count - 1) * more for count in node}]
        python = self._environment.python
        targets = []
        if _FULL in node and python.lazy:
            rss = node[_FULL]["rss_bytes"]
            targets.append(Target.at_most(f"{_FULL} pods in 40 MB", _LAZY_RSS, rss))
        return Measurement(
            name="memory",
            title=f"Memory of a node's pods, {python}",
            columns=tuple(Column(str(count), _pods(count), 1, _MB) for count in node),
            servers=results(rows),
            targets=targets,
            notes=notes,
        )

    def _one_process(self, alone: dict[str, list[Figures]]) -> Measurement:
        return Measurement(
            name="process",
            title=f"One process for so many pods, {self._environment.python}",
            columns=(
                Column("start_ms", "from exec until all answer, ms"),
                Column("start_cpu_ms", "its CPU until then, ms"),
                Column("rss_bytes", "RSS MB", 1, _MB),
                Column("private_bytes", "private MB", 1, _MB),
                Column("fds", "descriptors"),
                Column("idle_us", "CPU of a second without probes, µs"),
            ),
            servers=results(alone),
            targets=[],
            notes=[
                "three ports a pod, in IPv4 and IPv6, and a descriptor of its network namespace"
            ],
        )

    def _cpu(
        self, servers: Mapping[str, tuple[Sequence[Process], Sequence[Namespace]]]
    ) -> Measurement:
        probes = self._environment.count(1000, 200)
        rounds: dict[str, list[Figures]] = {name: [] for name in servers}
        for _ in range(self._environment.rounds):
            found: dict[str, Figures] = {name: {} for name in servers}
            for kind, probe in (("check", pods.CHECK), ("http", pods.HTTP)):
                cpu = dict.fromkeys(servers, 0)
                for start in range(0, probes, _SLICE):
                    for name, (processes, asked) in servers.items():
                        before = sum(procfs.cpu_ns(one.pid) for one in processes)
                        for number in range(start, start + _SLICE):
                            answer = pods.ask(asked[number % len(asked)], probe)
                            pods.require_success(answer)
                        cpu[name] += sum(procfs.cpu_ns(one.pid) for one in processes) - before
                for name, used in cpu.items():
                    found[name][f"{kind}_us"] = used / -(-probes // _SLICE) / _SLICE / 1000
            for name, figures in found.items():
                memories = [procfs.memory(one.pid).rss for one in servers[name][0]]
                rounds[name].append({**figures, "rss_bytes": sum(memories)})
        for kind in ("check", "http"):
            ratios(rounds, f"{kind}_us", _SIDECARS, f"{kind}_x")
        shown = results(rounds)
        return Measurement(
            name="cpu",
            title=f"CPU of one probe: {self._environment.rounds} rounds of {probes:,} of a kind, "
            f"{self._environment.python}",
            columns=(
                Column("check_us", "tcpSocket µs", 1),
                Column("check_x", "x sidecar", 2),
                Column("http_us", "httpGet µs", 1),
                Column("http_x", "x sidecar", 2),
                Column("rss_bytes", "RSS MB", 1, _MB),
            ),
            servers=shown,
            targets=[
                Target.at_most(
                    f"{name}: {what} at most {most} x the sidecar", most, shown[name].median[key]
                )
                for name, most in ((_NODE, _CPU), (_SPLIT, _SPLIT_CPU))
                for what, key in (("tcpSocket", "check_x"), ("httpGet", "http_x"))
            ],
            notes=[f"one after the other, from pod to pod; two processes have {_FEW} pods"],
        )

    def _at_a_rate(self, servers: Mapping[str, Sequence[Namespace]]) -> Measurement:
        seconds = 1.0 if self._environment.quick else 20.0
        rows = {
            name: [pods.ask_at_a_rate(asked, _RATE, seconds)] for name, asked in servers.items()
        }
        return Measurement(
            name="rate",
            title=f"{_RATE} probes a second for {seconds:.0f} s, {self._environment.python}",
            columns=pods.RATE_COLUMNS,
            servers=results(rows),
            targets=[],
            notes=["liveness, readiness, startup in turn, by one caller on a core of its own"],
        )

    def _new_pod(self, before: Sequence[Namespace]) -> Measurement:
        """From the moment when the runtime lists a pod to its first answer."""
        count = 2 if self._environment.quick else 20
        full, new = before[: -count or None][:_FULL], before[-count:]
        took = []
        with self._agent(full) as process:
            for pod in new:
                self._runtime.add(pod.name, pod, pods.PROBES)
                began = time.perf_counter_ns()
                # a runtime makes the namespace's file right before; that wakes the agent
                path = Path("/run/netns", f"{pod.name}-is-made")
                path.touch()
                pods.until_answered(process, pod, pods.CHECK)
                took.append(time.perf_counter_ns() - began)
                path.unlink()
        took.sort()
        row = {"p50": percentile(took, 0.5) / 1e6, "most": took[-1] / 1e6}
        return Measurement(
            name="new pod",
            title=f"From the listing of a new pod to its first answer: {count} pods, one after "
            f"the other, beside {len(full)}, {self._environment.python}",
            columns=(Column("p50", "median ms", 1), Column("most", "most ms", 1)),
            servers=results({_NODE: [row]}),
            targets=[],
            notes=[],
        )


_ADDED_UP = (
    f"of sidecars and Go daemons {_FEW} are measured, each in a pod of its own; more are added up: "
    "the whole of one, and of each further one what it shares with none"
)


def _pods(count: int) -> str:
    return f"{count} pod" if count == 1 else f"{count} pods"


def _warm_up(
    asked: Sequence[Namespace],
    probes: Sequence[tuple[int, bytes]] = pods.ALL,
    times: int = _WARM_UP,
) -> None:
    for _ in range(times):
        for pod in asked:
            for probe in probes:
                pods.require_success(pods.ask(pod, probe))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.node",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    whats = ("all", "memory", "probes", "new", "attacked")
    add("what", nargs="?", default="all", choices=whats, help="default: all")
    add("--pods", type=_numbers, default=None, metavar="N,…", help=f"default: {_COUNTS}")
    add("--root", type=Path, metavar="DIR", help="what tests/bench/python315.sh has made")
    add("--quick", action="store_true", help="few pods, few probes: does it run at all?")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in text.split(","))
    if not all(0 < one <= 250 for one in numbers):
        raise argparse.ArgumentTypeError("from 1 to 250 pods")
    return numbers


if __name__ == "__main__":
    sys.exit(main())
