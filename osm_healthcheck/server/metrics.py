"""``/metrics``: the results in Prometheus' text format.

``prometheus-client`` is loaded by the first scrape, and not where nobody scrapes.
"""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, exposition
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from osm_healthcheck.server.logs import Log
from osm_healthcheck.server.results import LATENCY_BUCKETS, Tally

CONTENT_TYPE = exposition.CONTENT_TYPE_PLAIN_0_0_4
_LABELS = ("target", "kinds", "containers")


def render(tallies: Iterable[Tally], connections: int, log: Log) -> bytes:
    """The state of the sidecar as a scrape's body."""
    registry = CollectorRegistry()
    registry.register(_Snapshot(tuple(tallies), connections, log))
    return exposition.generate_latest(registry)


class _Snapshot(Collector):
    def __init__(self, tallies: tuple[Tally, ...], connections: int, log: Log) -> None:
        self._tallies = tallies
        self._connections = connections
        self._log = log

    def collect(self) -> Iterator[Metric]:
        results = CounterMetricFamily(
            "osm_healthcheck_probes", "Probes answered, by result.", labels=(*_LABELS, "result")
        )
        latency = HistogramMetricFamily(
            "osm_healthcheck_probe_duration_seconds",
            "Time from a probe's request to its result.",
            labels=_LABELS,
        )
        for tally in self._tallies:
            labels = (tally.target, tally.kinds, tally.containers)
            for result, count in tally.counts.items():
                results.add_metric((*labels, result.value), count)
            latency.add_metric(labels, _cumulative(tally.buckets), tally.seconds)
        yield results
        yield latency
        yield GaugeMetricFamily(
            "osm_healthcheck_connections_open",
            "Connections that callers hold at this moment.",
            value=self._connections,
        )
        dropped = CounterMetricFamily(
            "osm_healthcheck_log_lines_dropped", "Log lines not written.", labels=("reason",)
        )
        dropped.add_metric(("not_written",), self._log.lines_lost)
        dropped.add_metric(("rate_limit",), self._log.lines_left_out)
        yield dropped


def _cumulative(buckets: list[int]) -> list[tuple[str, float]]:
    total = 0
    found = []
    for bound, count in zip((*map(str, LATENCY_BUCKETS), "+Inf"), buckets, strict=True):
        total += count
        found.append((bound, float(total)))
    return found
