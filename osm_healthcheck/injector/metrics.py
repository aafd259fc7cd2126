"""``/metrics`` of the injector: how admissions came out, how long they took, the certificate."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, exposition

from osm_healthcheck import __version__

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """The counters of one injector, in a registry of their own."""

    content_type = exposition.CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self) -> None:
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
        Gauge(
            "osm_healthcheck_injector_info",
            "1, with the version.",
            ("version",),
            registry=self._registry,
        ).labels(__version__).set(1)

    def render(self) -> bytes:
        """The body of a scrape."""
        return exposition.generate_latest(self._registry)
