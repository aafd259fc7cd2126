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
from osm_healthcheck.server.metrics import FAMILIES, pod_samples

if TYPE_CHECKING:
    from osm_healthcheck.node.agent import NodeAgent


async def render(agent: "NodeAgent") -> bytes:
    """The state of the agent as a scrape's body."""
    lines = {name: list(head) for name, head in FAMILIES.items()}
    pages = [_of_the_agent(agent)]
    for served in list(agent.served.values()):
        pod = joined({"namespace": served.pod.namespace, "pod": served.pod.name})
        server = served.server
        # Of a whole node without buckets: they would be two lines of three.
        open_now, refused = len(server.limiter), server.limiter.refused
        tallies = server.results.tallies()
        for name, line in pod_samples(tallies, open_now, refused, pod, with_buckets=False):
            lines[name].append(line)
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
