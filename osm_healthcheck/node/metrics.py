"""``/metrics`` of the agent, by namespace and pod, in Prometheus' text format.

What is counted is bounded: the declared probes of at most as many pods as the node has. Of a whole
node they are many lines: after each pod, the others' probes have their turn.
"""

import asyncio
from typing import TYPE_CHECKING

from osm_healthcheck.server.exposition import (
    build_info,
    encoded,
    family,
    joined,
    log_lines_dropped,
    sample,
)

if TYPE_CHECKING:
    from osm_healthcheck.node.agent import NodeAgent, ServedPod

_FAMILIES = {
    "probes_total": family("probes_total", "counter", "Probes answered, by result."),
    "probe_success": family(
        "probe_success",
        "gauge",
        "Whether the app passed the last probe: 1 or 0; none for TLS that was passed through.",
    ),
    "probe_duration_seconds": family(
        "probe_duration_seconds",
        "histogram",
        "Time from a probe's request to its result; of a whole node without buckets.",
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


async def render(agent: "NodeAgent") -> bytes:
    """The state of the agent as a scrape's body."""
    lines = {name: list(head) for name, head in _FAMILIES.items()}
    pages = [_of_the_agent(agent)]
    for served in list(agent.served.values()):
        _add(served, lines)
        await asyncio.sleep(0)
    for one in lines.values():
        pages.append(encoded(one))
        await asyncio.sleep(0)
    return b"".join(pages)


def _of_the_agent(agent: "NodeAgent") -> bytes:
    log = agent.log
    lines = [
        *build_info("node_build_info", "The version; always 1."),
        *log_lines_dropped("node_log_lines_dropped_total", log.lines_lost, log.lines_left_out),
    ]
    for name, value, text in (
        ("node_pods", len(agent.served), "Pods whose ports are open."),
        (
            "node_pods_not_served",
            len(agent.refused),
            "Pods that declare probes and could not be served.",
        ),
        (
            "node_runtime_available",
            int(agent.is_available),
            "Whether the pods of the node are known: the container runtime answered last time.",
        ),
    ):
        lines += (*family(name, "gauge", text), sample(name, "", value))
    name = "node_pod_not_served"
    lines += family(name, "gauge", "Always 1, for each pod that could not be served.")
    for full_name in {one.full_name for one in agent.refused.values()}:
        namespace, _, pod = full_name.partition("/")
        lines.append(sample(name, joined({"namespace": namespace, "pod": pod}), 1))
    return encoded(lines)


def _add(served: "ServedPod", lines: dict[str, list[str]]) -> None:
    """Add what is known of one pod to the lines of each family."""

    def add(name: str, labels: str, value: float) -> None:
        lines[name].append(sample(name, labels, value))

    names = {"namespace": served.pod.namespace, "pod": served.pod.name}
    limiter = served.server.limiter
    add("connections_open", joined(names), len(limiter))
    add("connections_refused_total", joined(names), limiter.refused)
    for tally in served.server.results.tallies():
        labels = joined(
            {
                **names,
                "target": tally.target,
                "kinds": tally.kinds,
                "containers": tally.containers,
            }
        )
        for result, count in tally.counts.items():
            add("probes_total", f'{labels},result="{result.value}"', count)
        if (succeeded := tally.has_succeeded) is not None:
            add("probe_success", labels, int(succeeded))
        if tally.deadline is not None:
            add("probe_deadline_seconds", labels, tally.deadline)
        count = sum(tally.buckets)
        name = "probe_duration_seconds"
        lines[name] += (
            sample(f"{name}_bucket", f'{labels},le="+Inf"', count),
            sample(f"{name}_count", labels, count),
            sample(f"{name}_sum", labels, tally.seconds),
        )
