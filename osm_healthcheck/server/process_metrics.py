"""What ``/metrics`` of the injector and of node mode say of their process, in Prometheus' form."""

import sys

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from osm_healthcheck import __version__
from osm_healthcheck.server.logs import Log


def build_info(prefix: str) -> GaugeMetricFamily:
    """``<prefix>_build_info``: always 1, with the versions of this program and of Python."""
    family = GaugeMetricFamily(
        f"{prefix}_build_info",
        "The version; always 1.",
        labels=("version", "python_version"),
    )
    family.add_metric((__version__, ".".join(map(str, sys.version_info[:3]))), 1)
    return family


def log_lines_dropped(prefix: str, log: Log) -> CounterMetricFamily:
    """``<prefix>_log_lines_dropped_total``, by reason."""
    family = CounterMetricFamily(
        f"{prefix}_log_lines_dropped",
        "Log lines that standard error did not take, or past the limit on their rate.",
        labels=("reason",),
    )
    family.add_metric(("not_written",), log.lines_lost)
    family.add_metric(("rate_limit",), log.lines_left_out)
    return family
