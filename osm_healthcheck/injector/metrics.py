"""``/metrics`` of the injector: how admissions came out, how long they took, the certificate."""

import sys
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from osm_healthcheck import __version__
from osm_healthcheck.server.logs import Log

_PREFIX = "osm_healthcheck_injector"

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """The counters of one injector, in a registry of their own.

    ``log`` and ``connections_refused`` are asked at each scrape.
    """

    content_type = exposition.CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, log: Log, connections_refused: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self.admissions = Counter(
            "osm_healthcheck_injector_admissions",
            "Pods that were admitted, by mesh and by what it came to.",
            ("mesh", "outcome"),
            registry=self._registry,
        )
        self.seconds = Histogram(
            "osm_healthcheck_injector_admission_duration_seconds",
            "Time from a whole request to its answer.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.refused = Counter(
            "osm_healthcheck_injector_requests_refused",
            "Requests that are no AdmissionReview, by status code.",
            ("code",),
            registry=self._registry,
        )
        self.certificate_expiry = Gauge(
            "osm_healthcheck_injector_certificate_expiry_timestamp_seconds",
            "When the certificate in use expires, in Unix time.",
            registry=self._registry,
        )
        self.ready = Gauge(
            "osm_healthcheck_injector_ready",
            "1 where pods can be admitted, 0 where not.",
            registry=self._registry,
        )
        self._registry.register(_Process(log, connections_refused))

    def render(self) -> bytes:
        """The body of a scrape."""
        return exposition.generate_latest(self._registry)


class _Process(Collector):
    def __init__(self, log: Log, connections_refused: Callable[[], int]) -> None:
        self._log = log
        self._connections_refused = connections_refused

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            f"{_PREFIX}_build_info",
            "The version; always 1.",
            labels=("version", "python_version"),
        )
        build.add_metric((__version__, ".".join(map(str, sys.version_info[:3]))), 1)
        yield build
        dropped = CounterMetricFamily(
            f"{_PREFIX}_log_lines_dropped",
            "Log lines that standard error did not take, or past the limit on their rate.",
            labels=("reason",),
        )
        dropped.add_metric(("not_written",), self._log.lines_lost)
        dropped.add_metric(("rate_limit",), self._log.lines_left_out)
        yield dropped
        yield CounterMetricFamily(
            f"{_PREFIX}_connections_refused",
            "Connections closed without an answer to make room, at the limit on connections.",
            value=self._connections_refused(),
        )
