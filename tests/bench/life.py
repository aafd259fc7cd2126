"""``life``: how soon the sidecar answers, and what many probes leave behind.

Two tables. ``start``: from just before exec to the first 200, and the memory at that moment,
every round with processes of its own. ``soak``: one process each that answers many probes, looked
at when idle, after a tenth of them and after all.

TIME_WAIT is counted per probe, after few probes of a server of its own: then none has expired yet,
no port has been used again, and the kernel's table of them is not full. Sixty seconds times the
rate of the probes is what one per probe comes to.
"""

import contextlib
import sys
import time

from tests.bench import go_daemon, load, procfs, sidecar, tcp_servers
from tests.bench.environment import Environment
from tests.bench.measurement import Column, Figures, Measurement, Target, results, rotations
from tests.bench.tcp_servers import PLAIN, Maker

_NAMES = (sidecar.NAME, go_daemon.NAME, PLAIN)
_USUAL, _QUICK = 100_000, 3000
_MB = 1e6
_LAZY_START_MS, _LAZY_RSS = 90, 33 * _MB
_PRIVATE = "private memory is less while another process maps the same files; RSS is what counts"
# Something kept for every probe takes 16 bytes a probe at the very least; a step of the allocators,
# of which one may fall into the run, is up to 300 kB.
_GROWTH_PER_PROBE, _ONE_STEP = 4, 300_000
_SETTLE_SECONDS = 0.3
_TIME_WAIT_SECONDS = 60
_TIME_WAIT_PROBES = 1000
_START_COLUMNS = (
    Column("start_ms", "first 200, ms", 1),
    Column("rss_bytes", "RSS MB", 1, _MB),
    Column("private_bytes", "private MB", 1, _MB),
)


def measure(environment: Environment) -> list[Measurement]:
    """Compare the sidecar with OSM's Go daemon, and with a plain server on the same Python."""
    makers, notes = tcp_servers.makers(environment, _NAMES)
    return [_starts(environment, makers, notes), _soak(environment, makers, notes)]


def _starts(environment: Environment, makers: dict[str, Maker], notes: list[str]) -> Measurement:
    rounds: dict[str, list[Figures]] = {name: [] for name in makers}
    orders = rotations(makers)
    with environment.app("listening_app") as app_port:
        for name, make in makers.items():  # not measured: it writes the bytecode
            _start(environment, name, make, app_port)
        for number in range(environment.rounds):
            for name in orders[number % len(orders)]:
                rounds[name].append(_start(environment, name, makers[name], app_port))
    servers = results(rounds)
    return Measurement(
        name="start",
        title=f"From exec to the first 200: {environment.rounds} rounds, {environment.python}",
        columns=_START_COLUMNS,
        servers=servers,
        targets=_start_targets(environment, servers[sidecar.NAME].median, servers[PLAIN].median),
        notes=[*notes, "MB = 1,000,000 bytes, at the first 200", _PRIVATE],
    )


def _start(environment: Environment, name: str, make: Maker, app_port: int) -> Figures:
    entry = make(environment, app_port)
    with environment.server(name, entry.command) as server:
        seconds = load.until_ready(server, entry.probe)
        memory = procfs.memory(server.pid)
    return {
        "start_ms": seconds * 1000,
        "rss_bytes": memory.rss,
        "private_bytes": memory.private,
    }


def _start_targets(environment: Environment, ours: Figures, plain: Figures) -> list[Target]:
    if environment.python.lazy:
        start, rss = ours["start_ms"], ours["rss_bytes"]
        return [
            Target.at_most(f"first 200 within {_LAZY_START_MS} ms", _LAZY_START_MS, start),
            Target.at_most(f"RSS at most {_LAZY_RSS / _MB:.0f} MB", _LAZY_RSS, rss),
        ]
    return [
        Target.at_most(f"{what} at most the plain server's", plain[key], ours[key])
        for what, key in (
            ("first 200", "start_ms"),
            ("RSS", "rss_bytes"),
        )
    ]


def _soak(environment: Environment, makers: dict[str, Maker], notes: list[str]) -> Measurement:
    probes = environment.count(_USUAL, _QUICK)
    tenth = max(1, probes // 10)
    growth = max(_ONE_STEP, _GROWTH_PER_PROBE * (probes - tenth))
    left = {name: _left_behind(environment, name, make) for name, make in makers.items()}
    servers = results(
        {
            name: [_soaked(environment, name, make, tenth, probes) | left[name]]
            for name, make in makers.items()
        }
    )
    ours = servers[sidecar.NAME].median
    return Measurement(
        name="soak",
        title=f"One process after many probes, {environment.python}",
        columns=_soak_columns(tenth, probes),
        servers=servers,
        targets=[
            Target.at_most(
                f"no growth of the heap from probe {tenth:,} to probe {probes:,} "
                f"(at most {growth // 1000} kB)",
                growth,
                ours["growth_bytes"],
            ),
            Target.at_most(
                "no more descriptors than before", ours["fds_before"], ours["fds_after"]
            ),
            Target.at_most("TIME_WAIT at the app below 60 s x rate", 1, ours["app_time_wait"]),
            Target.at_most("TIME_WAIT of callers below 60 s x rate", 1, ours["time_wait"]),
        ],
        notes=[*notes, "MB = 1,000,000 bytes, kB = 1,000; one run of each server", _PRIVATE],
    )


def _left_behind(environment: Environment, name: str, make: Maker) -> Figures:
    """Return how many TIME_WAIT sockets a probe leaves, at the app and at the server."""
    with environment.app("listening_app") as app_port:
        entry = make(environment, app_port)
        port, probe = entry.probe.port, entry.probe
        _wait_for_room(port)
        with environment.server(name, entry.command) as server:
            load.until_ready(server, probe)
            time.sleep(_SETTLE_SECONDS)
            before = procfs.time_wait(server=port, app=app_port)
            load.send(server, probe, _TIME_WAIT_PROBES)
            time.sleep(_SETTLE_SECONDS)
            after = procfs.time_wait(server=port, app=app_port)
    return {
        "app_time_wait": (after.app - before.app) / _TIME_WAIT_PROBES,
        "time_wait": (after.server - before.server) / _TIME_WAIT_PROBES,
    }


def _wait_for_room(port: int) -> None:
    """Wait, a minute at most, until what earlier probes left has expired: all of it at a port."""
    deadline = time.monotonic() + _TIME_WAIT_SECONDS
    said = False
    while time.monotonic() < deadline and (
        procfs.time_wait_room() < 3 * _TIME_WAIT_PROBES
        or procfs.time_wait(server=port, app=port).server
    ):
        if not said:
            print("(waiting for TIME_WAIT sockets to expire)", file=sys.stderr, flush=True)
            said = True
        time.sleep(_SETTLE_SECONDS)


def _soak_columns(tenth: int, probes: int) -> tuple[Column, ...]:
    return (
        Column("rss_idle_bytes", "RSS idle MB", 1, _MB),
        Column("rss_tenth_bytes", f"after {tenth:,}", 1, _MB),
        Column("rss_bytes", f"after {probes:,}", 1, _MB),
        Column("private_idle_bytes", "private idle MB", 1, _MB),
        Column("private_tenth_bytes", f"after {tenth:,}", 1, _MB),
        Column("private_bytes", f"after {probes:,}", 1, _MB),
        Column("growth_bytes", "heap growth kB", 0, 1000),
        Column("fds_before", "fds before"),
        Column("fds_after", "fds after"),
        Column("app_time_wait", "TIME_WAIT a probe: app", 2),
        Column("time_wait", "callers", 2),
        Column("per_second", "checks/s"),
    )


def _soaked(environment: Environment, name: str, make: Maker, tenth: int, probes: int) -> Figures:
    with contextlib.ExitStack() as stack:
        app_port = stack.enter_context(environment.app("listening_app"))
        entry = make(environment, app_port)
        server = stack.enter_context(environment.server(name, entry.command))
        probe = entry.probe
        load.until_ready(server, probe)
        time.sleep(_SETTLE_SECONDS)
        idle, fds = procfs.memory(server.pid), procfs.descriptors(server.pid)
        spent = sum(load.send(server, probe, tenth))
        early = procfs.memory(server.pid)
        spent += sum(load.send(server, probe, probes - tenth))
        late = procfs.memory(server.pid)
        time.sleep(_SETTLE_SECONDS)
        return {
            "rss_idle_bytes": idle.rss,
            "rss_tenth_bytes": early.rss,
            "rss_bytes": late.rss,
            "private_idle_bytes": idle.private,
            "private_tenth_bytes": early.private,
            "private_bytes": late.private,
            "growth_bytes": late.anonymous - early.anonymous,
            "fds_before": fds,
            "fds_after": procfs.descriptors(server.pid),
            "per_second": probes / (spent / 1e9),
        }
