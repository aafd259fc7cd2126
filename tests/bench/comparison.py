"""Servers that run side by side and take turns in being probed."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.bench import load, procfs
from tests.bench.environment import Environment
from tests.bench.load import Probe
from tests.bench.measurement import Column, Figures, percentile, rotations
from tests.bench.process import Process

MEMORY_COLUMNS = (
    Column("rss_bytes", "RSS MB", 1, 1e6),
    Column("private_bytes", "private MB", 1, 1e6),
)
PRIVATE_NOTE = (
    "memory at the end of a round, MB = 1,000,000 bytes; private memory is less while another "
    "process maps the same files, as the servers in Python do here"
)
_WARM_UP = 200
_SLICE = 250


@dataclass(frozen=True)
class Entry:
    """A competitor: the command that starts it and the probe that it is asked."""

    command: Sequence[str]
    probe: Probe


def compare(
    environment: Environment, entries: Mapping[str, Entry], probes: int
) -> dict[str, list[Figures]]:
    """Probe every server in every round; return a server's figures, round by round.

    All servers are up all the time; a round goes around them in slices until each has had its
    probes. What a server does outside its slices is not counted.
    """
    with _running(environment, entries) as servers:
        rounds: dict[str, list[Figures]] = {name: [] for name in entries}
        orders = rotations(entries)
        for number in range(environment.rounds):
            cpu = dict.fromkeys(entries, 0)
            latencies: dict[str, list[int]] = {name: [] for name in entries}
            for turn, start in enumerate(range(0, probes, _SLICE), number):
                for name in orders[turn % len(orders)]:
                    before = procfs.cpu_ns(servers[name].pid)
                    size = min(_SLICE, probes - start)
                    latencies[name] += load.send(servers[name], entries[name].probe, size)
                    cpu[name] += procfs.cpu_ns(servers[name].pid) - before
            for name, server in servers.items():
                rounds[name].append(_figures(cpu[name], latencies[name], server.pid))
        return rounds


@contextlib.contextmanager
def _running(
    environment: Environment, entries: Mapping[str, Entry]
) -> Iterator[dict[str, Process]]:
    with contextlib.ExitStack() as stack:
        servers = {}
        for name, entry in entries.items():
            # Once for the bytecode: the process that writes it takes more memory.
            with environment.server(name, entry.command) as server:
                load.until_ready(server, entry.probe)
            servers[name] = stack.enter_context(environment.server(name, entry.command))
            load.until_ready(servers[name], entry.probe)
            load.send(servers[name], entry.probe, _WARM_UP)
        yield servers


def _figures(cpu_ns: int, latencies: list[int], pid: int) -> Figures:
    ordered = sorted(latencies)
    memory = procfs.memory(pid)
    return {
        "cpu_us": cpu_ns / len(latencies) / 1000,
        "p50_us": percentile(ordered, 0.50) / 1000,
        "p99_us": percentile(ordered, 0.99) / 1000,
        "per_second": len(latencies) / (sum(latencies) / 1e9),
        "rss_bytes": memory.rss,
        "private_bytes": memory.private,
    }
