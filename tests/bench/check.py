"""``check``: what one tcpSocket check costs."""

from tests.bench import sidecar
from tests.bench.comparison import Entry, compare
from tests.bench.environment import Environment
from tests.bench.load import tcp_check
from tests.bench.measurement import Column, Measurement, Target, ratios, results
from tests.bench.process import free_port

_FLOOR = "asyncio.Protocol (the floor)"
_HANDLER = "aiohttp.web.Server handler"
_APPLICATION = "aiohttp.web.Application"
_MODULES = {_FLOOR: "floor", _HANDLER: "handler", _APPLICATION: "application"}
_USUAL, _QUICK = 5000, 300
_COLUMNS = (
    Column("cpu_us", "CPU µs", 1),
    Column("x_handler", "x handler", 2),
    Column("x_floor", "x floor", 2),
    Column("p50_us", "p50 µs"),
    Column("p99_us", "p99 µs"),
    Column("per_second", "checks/s"),
)


def measure(environment: Environment) -> list[Measurement]:
    """Compare the sidecar with a bare Protocol, a bare aiohttp handler and an application."""
    probes = environment.count(_USUAL, _QUICK)
    with environment.app("listening_app") as app_port:
        rounds = compare(environment, _entries(environment, app_port), probes)
    ratios(rounds, "cpu_us", _HANDLER, "x_handler")
    ratios(rounds, "cpu_us", _FLOOR, "x_floor")
    servers = results(rounds)
    ours = servers[sidecar.NAME].median
    return [
        Measurement(
            name="check",
            title=f"One TCP check: {environment.rounds} rounds of {probes:,} probes, "
            f"{environment.python}",
            columns=_COLUMNS,
            servers=servers,
            targets=[
                Target.at_most("CPU at most 1.1 x handler", 1.1, ours["x_handler"]),
                Target.at_most("stretch: CPU at most 1.5 x floor", 1.5, ours["x_floor"]),
            ],
            notes=[],
        )
    ]


def _entries(environment: Environment, app_port: int) -> dict[str, Entry]:
    port = free_port()
    command = sidecar.for_tcp_checks(environment, port, app_port=app_port)
    entries = {sidecar.NAME: Entry(command, tcp_check(port, app_port=app_port))}
    for name, module in _MODULES.items():
        port = free_port()
        command = environment.python.command(f"tests.bench.servers.{module}", str(port))
        entries[name] = Entry(command, tcp_check(port, app_port=app_port))
    return entries
