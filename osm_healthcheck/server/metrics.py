"""The text of ``/metrics`` of the sidecar: the results in Prometheus' text format."""

from collections.abc import Iterable, Iterator
from itertools import accumulate

from osm_healthcheck.server.exposition import (
    build_info,
    encoded,
    family,
    joined,
    log_lines_dropped,
    sample,
)
from osm_healthcheck.server.results import LATENCY_BUCKETS, Tally

_BOUNDS = (*map(str, LATENCY_BUCKETS), "+Inf")


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
    lines = [
        *build_info("build_info", "The version of the sidecar; always 1."),
        *family("probes_total", "counter", "Probes answered, by result."),
        *_counts(by_target),
        *family(
            "probe_success",
            "gauge",
            "Whether the app passed the last probe: 1 or 0; none for TLS that was passed through.",
        ),
        *_successes(by_target),
        *family(
            "probe_duration_seconds", "histogram", "Time from a probe's request to its result."
        ),
        *_durations(by_target),
        *family(
            "probe_deadline_seconds",
            "gauge",
            "How long the app has for its answer: timeoutSeconds less 50 ms.",
        ),
        *_deadlines(by_target),
        *family("connections_open", "gauge", "Connections that callers hold at this moment."),
        sample("connections_open", "", connections),
        *family(
            "connections_refused_total",
            "counter",
            "Connections closed without an answer to make room, at the limit on connections.",
        ),
        sample("connections_refused_total", "", connections_refused),
        *log_lines_dropped("log_lines_dropped_total", lines_lost, lines_left_out),
    ]
    return encoded(lines)


def _counts(by_target: Iterable[tuple[str, Tally]]) -> Iterator[str]:
    for labels, tally in by_target:
        for result, count in tally.counts.items():
            yield sample("probes_total", f'{labels},result="{result.value}"', count)


def _successes(by_target: Iterable[tuple[str, Tally]]) -> Iterator[str]:
    for labels, tally in by_target:
        if (succeeded := tally.has_succeeded) is not None:
            yield sample("probe_success", labels, int(succeeded))


def _deadlines(by_target: Iterable[tuple[str, Tally]]) -> Iterator[str]:
    for labels, tally in by_target:
        if tally.deadline is not None:
            yield sample("probe_deadline_seconds", labels, tally.deadline)


def _durations(by_target: Iterable[tuple[str, Tally]]) -> Iterator[str]:
    for labels, tally in by_target:
        total = 0
        for bound, total in zip(_BOUNDS, accumulate(tally.buckets), strict=True):
            yield sample("probe_duration_seconds_bucket", f'{labels},le="{bound}"', total)
        yield sample("probe_duration_seconds_count", labels, total)
        yield sample("probe_duration_seconds_sum", labels, tally.seconds)


def _labels(tally: Tally) -> str:
    return joined({"target": tally.target, "kinds": tally.kinds, "containers": tally.containers})
