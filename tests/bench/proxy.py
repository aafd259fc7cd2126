"""``proxy``: what one proxied httpGet probe costs, beside Envoy."""

from tests.bench import envoy, load, sidecar
from tests.bench.comparison import MEMORY_COLUMNS, PRIVATE_NOTE, Entry, compare
from tests.bench.environment import Environment
from tests.bench.measurement import Column, Measurement, Target, ratio, ratios, results
from tests.bench.process import free_port

_CPU, _LAZY_CPU = 0.90, 0.75
_USUAL, _QUICK = 5000, 300
_COLUMNS = (
    Column("cpu_us", "CPU µs", 1),
    Column("x_envoy", "x Envoy", 2),
    Column("p50_us", "p50 µs"),
    Column("p99_us", "p99 µs"),
    *MEMORY_COLUMNS,
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
    cpu = _LAZY_CPU if environment.python.lazy else _CPU
    return [
        Measurement(
            name="proxy",
            title=f"One proxied HTTP probe: {environment.rounds} rounds of {probes:,} probes, "
            f"{environment.python}",
            columns=_COLUMNS,
            servers=servers,
            targets=[
                Target.at_most(f"CPU at most {cpu:.2f} x Envoy", cpu, ours("x_envoy")),
                Target.at_most("RSS at most 0.5 x Envoy", 0.5, ours("rss_x_envoy")),
                Target.at_most(
                    "a head that was not seen before at most 2 x one that was (CPU)",
                    2,
                    ratio(rounds, "cpu_us", sidecar.NEW_HEADS, sidecar.NAME),
                ),
            ],
            notes=[*([] if binary else [envoy.MISSING]), PRIVATE_NOTE],
        )
    ]


def _entries(environment: Environment, app_port: int, binary: str | None) -> dict[str, Entry]:
    ours, new_heads = _sidecar(environment, app_port), _sidecar(environment, app_port)
    entries = {
        sidecar.NAME: ours,
        sidecar.NEW_HEADS: Entry(new_heads.command, load.never_the_same(new_heads.probe)),
    }
    if binary is not None:
        port = free_port()
        command = envoy.command(binary, port, app_port=app_port)
        entries[envoy.NAME] = Entry(command, load.liveness(port))
    return entries


def _sidecar(environment: Environment, app_port: int) -> Entry:
    port = free_port()
    command = sidecar.for_http_probes(
        environment, port, healthcheck_port=free_port(), app_port=app_port
    )
    return Entry(command, load.liveness(port))
