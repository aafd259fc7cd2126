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
# What there is to say of each pod, by the name of the metric: the lines before its samples.
FAMILIES = {
    "probes_total": family("probes_total", "counter", "Probes answered, by result."),
    "probe_success": family(
        "probe_success",
        "gauge",
        "Whether the app passed the last probe: 1 or 0; none for TLS that was passed through.",
    ),
    "probe_duration_seconds": family(
        "probe_duration_seconds", "histogram", "Time from a probe's request to its result."
    ),
    "probe_deadline_seconds": family(
        "probe_deadline_seconds",
        "gauge",
        "How long the app has for its answer: timeoutSeconds less 50 ms.",
    ),
    "connections_open": family(
        "connections_open", "gauge", "Connections that callers hold at this moment."
    ),
    "connections_refused_total": family(
        "connections_refused_total",
        "counter",
        "Connections closed without an answer to make room, at the limit on connections.",
    ),
}


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
    lines = {name: list(head) for name, head in FAMILIES.items()}
    for name, line in pod_samples(tallies, connections, connections_refused):
        lines[name].append(line)
    return encoded(
        [
            *build_info("build_info", "The version of the sidecar; always 1."),
            *(line for one in lines.values() for line in one),
            *log_lines_dropped("log_lines_dropped_total", lines_lost, lines_left_out),
        ]
    )


def pod_samples(
    tallies: Iterable[Tally],
    connections: int,
    connections_refused: int,
    pod: str = "",
    *,
    with_buckets: bool = True,
) -> Iterator[tuple[str, str]]:
    """The samples of one pod, each with the name of its family.

    ``pod`` are the labels that tell it from others, as `joined` has them; the rest is as in
    `render`. Durations are in seconds.
    """
    for tally in tallies:
        names = {"target": tally.target, "kinds": tally.kinds, "containers": tally.containers}
        labels = ",".join(filter(None, (pod, joined(names))))
        for result, count in tally.counts.items():
            yield "probes_total", sample("probes_total", f'{labels},result="{result.value}"', count)
        if (succeeded := tally.has_succeeded) is not None:
            yield "probe_success", sample("probe_success", labels, int(succeeded))
        if tally.deadline is not None:
            yield "probe_deadline_seconds", sample("probe_deadline_seconds", labels, tally.deadline)
        name = "probe_duration_seconds"
        bounds = list(zip(_BOUNDS, accumulate(tally.buckets), strict=True))
        for bound, count in bounds if with_buckets else bounds[-1:]:
            yield name, sample(f"{name}_bucket", f'{labels},le="{bound}"', count)
        yield name, sample(f"{name}_count", labels, bounds[-1][1])
        yield name, sample(f"{name}_sum", labels, tally.seconds)
    yield "connections_open", sample("connections_open", pod, connections)
    name = "connections_refused_total"
    yield name, sample(name, pod, connections_refused)
