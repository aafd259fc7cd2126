"""``proxy``: what one proxied httpGet probe costs, beside Envoy."""

from tests.bench import envoy, sidecar
from tests.bench.comparison import Entry, compare
from tests.bench.environment import Environment
from tests.bench.load import liveness
from tests.bench.measurement import Column, Measurement, Target, ratios, results
from tests.bench.process import free_port

_MB = 1e6
_USUAL, _QUICK = 5000, 300
_COLUMNS = (
    Column("cpu_us", "CPU µs", 1),
    Column("x_envoy", "x Envoy", 2),
    Column("p50_us", "p50 µs"),
    Column("p99_us", "p99 µs"),
    Column("per_second", "probes/s"),
    Column("rss_bytes", "RSS MB", 1, _MB),
    Column("private_bytes", "private MB", 1, _MB),
    Column("rss_x_envoy", "RSS x Envoy", 2),
)


def measure(environment: Environment) -> list[Measurement]:
    """Compare the sidecar with Envoy in front of an app that closes every connection."""
    probes = environment.count(_USUAL, _QUICK)
    binary = envoy.binary()
    with environment.app("http_app") as app_port:
        rounds = compare(environment, _entries(environment, app_port, binary), probes)
    ratios(rounds, "cpu_us", envoy.NAME, "x_envoy")
    ratios(rounds, "rss_bytes", envoy.NAME, "rss_x_envoy")
    servers = results(rounds)
    ours = servers[sidecar.NAME].median.get
    return [
        Measurement(
            name="proxy",
            title=f"One proxied HTTP probe: {environment.rounds} rounds of {probes:,} probes, "
            f"{environment.python}; memory at the end of a round (MB = 1,000,000 bytes)",
            columns=_COLUMNS,
            servers=servers,
            targets=[
                Target.at_most("CPU at most 1.5 x Envoy", 1.5, ours("x_envoy")),
                Target.at_most("RSS at most 0.5 x Envoy", 0.5, ours("rss_x_envoy")),
            ],
            notes=[] if binary else [envoy.MISSING],
        )
    ]


def _entries(environment: Environment, app_port: int, binary: str | None) -> dict[str, Entry]:
    port = free_port()
    command = sidecar.for_http_probes(
        environment, port, healthcheck_port=free_port(), app_port=app_port
    )
    entries = {sidecar.NAME: Entry(command, liveness(port))}
    if binary is not None:
        port = free_port()
        entries[envoy.NAME] = Entry(envoy.command(binary, port, app_port=app_port), liveness(port))
    return entries
