"""The text of ``/metrics``: the results in Prometheus' text format, version 0.0.4.

It is written out here because a pod pays for it: prometheus-client takes 14 ms of the event loop
for the 64 targets of a full page, 1.6 MB, and 32 ms for the first scrape. The tests read every page
with that library's parser. Names and units are those of Prometheus' guide to naming.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-format-details
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from osm_healthcheck import __version__
from osm_healthcheck.server.results import LATENCY_BUCKETS, Tally

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "osm_healthcheck_"
_BOUNDS = (*map(str, LATENCY_BUCKETS), "+Inf")
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def render(
    tallies: Iterable[Tally],
    *,
    connections: int,
    connections_refused: int,
    lines_lost: int,
    lines_left_out: int,
) -> bytes:
    """The state of the sidecar as a scrape's body.

    Args:
        tallies: the results of each target.
        connections: those that are open now.
        connections_refused: those that were closed for the limit on connections.
        lines_lost: log lines that could not be written.
        lines_left_out: log lines past the limits on their number.
    """
    by_target = [(_labels(tally), tally) for tally in tallies]
    python = ".".join(map(str, sys.version_info[:3]))
    build = _join({"version": __version__, "python_version": python})
    lines = [
        *_family("build_info", "gauge", "The version of the sidecar; always 1."),
        _sample("build_info", build, 1),
        *_family("probes_total", "counter", "Probes answered, by result."),
        *_counts(by_target),
        *_family(
            "probe_success",
            "gauge",
            "Whether the app passed the last probe: 1 or 0; none for TLS that was passed through.",
        ),
        *_successes(by_target),
        *_family(
            "probe_duration_seconds", "histogram", "Time from a probe's request to its result."
        ),
        *_durations(by_target),
        *_family(
            "probe_deadline_seconds",
            "gauge",
            "How long the app has for its answer: timeoutSeconds less 50 ms.",
        ),
        *_deadlines(by_target),
        *_family("connections_open", "gauge", "Connections that callers hold at this moment."),
        _sample("connections_open", "", connections),
        *_family(
            "connections_refused_total",
            "counter",
            "Connections closed without an answer to make room, at the limit on connections.",
        ),
        _sample("connections_refused_total", "", connections_refused),
        *_family(
            "log_lines_dropped_total",
            "counter",
            "Log lines that standard error did not take, or past the limit on their rate.",
        ),
        _sample("log_lines_dropped_total", _join({"reason": "not_written"}), lines_lost),
        _sample("log_lines_dropped_total", _join({"reason": "rate_limit"}), lines_left_out),
        "",
    ]
    return "\n".join(lines).encode("utf-8", "backslashreplace")


def _counts(by_target: Iterable[tuple[str, Tally]]) -> Iterator[str]:
    for labels, tally in by_target:
        for result, count in tally.counts.items():
            yield _sample("probes_total", f'{labels},result="{result.value}"', count)


def _successes(by_target: Iterable[tuple[str, Tally]]) -> Iterator[str]:
    for labels, tally in by_target:
        if (succeeded := tally.has_succeeded) is not None:
            yield _sample("probe_success", labels, int(succeeded))


def _deadlines(by_target: Iterable[tuple[str, Tally]]) -> Iterator[str]:
    for labels, tally in by_target:
        if tally.deadline is not None:
            yield _sample("probe_deadline_seconds", labels, tally.deadline)


def _durations(by_target: Iterable[tuple[str, Tally]]) -> Iterator[str]:
    for labels, tally in by_target:
        total = 0
        for bound, total in zip(_BOUNDS, accumulate(tally.buckets), strict=True):
            yield _sample("probe_duration_seconds_bucket", f'{labels},le="{bound}"', total)
        yield _sample("probe_duration_seconds_count", labels, total)
        yield _sample("probe_duration_seconds_sum", labels, tally.seconds)


def _family(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {_PREFIX}{name} {text}", f"# TYPE {_PREFIX}{name} {kind}"


def _sample(name: str, labels: str, value: float) -> str:
    return f"{_PREFIX}{name}{{{labels}}} {value}" if labels else f"{_PREFIX}{name} {value}"


def _labels(tally: Tally) -> str:
    return _join({"target": tally.target, "kinds": tally.kinds, "containers": tally.containers})


def _join(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())
