"""``check``: what one tcpSocket check costs."""

from tests.bench import go_daemon, sidecar, tcp_servers
from tests.bench.comparison import MEMORY_COLUMNS, PRIVATE_NOTE, compare
from tests.bench.environment import Environment
from tests.bench.measurement import Column, Measurement, Target, ratio, ratios, results
from tests.bench.tcp_servers import APPLICATION, FLOOR, HANDLER

_USUAL, _QUICK = 5000, 300
_COLUMNS = (
    Column("cpu_us", "CPU µs", 1),
    Column("x_go", "x Go", 2),
    Column("x_handler", "x handler", 2),
    Column("x_floor", "x floor", 2),
    Column("p50_us", "p50 µs"),
    Column("p99_us", "p99 µs"),
    Column("p99_x_go", "p99 x Go", 2),
    *MEMORY_COLUMNS,
)


def measure(environment: Environment) -> list[Measurement]:
    """Compare the sidecar with OSM's Go daemon, a bare Protocol and two servers of aiohttp's."""
    probes = environment.count(_USUAL, _QUICK)
    names = (sidecar.NAME, sidecar.NEW_HEADS, go_daemon.NAME, FLOOR, HANDLER, APPLICATION)
    makers, notes = tcp_servers.makers(environment, names)
    with environment.app("listening_app") as app_port:
        entries = {name: make(environment, app_port) for name, make in makers.items()}
        rounds = compare(environment, entries, probes)
    ratios(rounds, "cpu_us", go_daemon.NAME, "x_go")
    ratios(rounds, "p99_us", go_daemon.NAME, "p99_x_go")
    ratios(rounds, "cpu_us", HANDLER, "x_handler")
    ratios(rounds, "cpu_us", FLOOR, "x_floor")
    servers = results(rounds)
    ours = servers[sidecar.NAME].median.get
    return [
        Measurement(
            name="check",
            title=f"One TCP check: {environment.rounds} rounds of {probes:,} probes, "
            f"{environment.python}",
            columns=_COLUMNS,
            servers=servers,
            targets=[
                Target.at_most("CPU at most 0.70 x Go", 0.70, ours("x_go")),
                Target.at_most("p99 at most 0.9 x Go", 0.9, ours("p99_x_go")),
                Target.at_most("CPU at most 1.1 x handler", 1.1, ours("x_handler")),
                Target.at_most("CPU at most 1.5 x floor", 1.5, ours("x_floor")),
                Target.at_most(
                    "a head that was not seen before at most 2 x one that was (CPU)",
                    2,
                    ratio(rounds, "cpu_us", sidecar.NEW_HEADS, sidecar.NAME),
                ),
            ],
            notes=[*notes, PRIVATE_NOTE],
        )
    ]
