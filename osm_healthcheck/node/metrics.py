"""``/metrics`` of the agent, by namespace and pod, in Prometheus' text format.

What is counted is bounded: the declared probes of at most as many pods as the node has.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, exposition
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from osm_healthcheck.server.process_metrics import build_info, log_lines_dropped

if TYPE_CHECKING:
    from osm_healthcheck.node.agent import NodeAgent

CONTENT_TYPE = exposition.CONTENT_TYPE_PLAIN_0_0_4
_PREFIX = "osm_healthcheck_node"
_POD = ("namespace", "pod")
_PROBE = (*_POD, "target", "kinds", "containers")


def render(agent: "NodeAgent") -> bytes:
    """The state of the agent as a scrape's body."""
    registry = CollectorRegistry()
    registry.register(_Snapshot(agent))
    return exposition.generate_latest(registry)


class _Snapshot(Collector):
    def __init__(self, agent: "NodeAgent") -> None:
        self._agent = agent

    def collect(self) -> Iterator[Metric]:
        agent = self._agent
        yield build_info(_PREFIX)
        yield log_lines_dropped(_PREFIX, agent.log)
        yield GaugeMetricFamily(
            "osm_healthcheck_node_pods", "Pods whose ports are open.", value=len(agent.served)
        )
        yield GaugeMetricFamily(
            "osm_healthcheck_node_pods_not_served",
            "Pods that declare probes and could not be served.",
            value=len(agent.refused),
        )
        yield GaugeMetricFamily(
            "osm_healthcheck_node_runtime_available",
            "Whether the pods of the node are known: the container runtime answered last time.",
            value=int(agent.is_available),
        )
        probes = CounterMetricFamily(
            "osm_healthcheck_probes", "Probes answered, by result.", labels=(*_PROBE, "result")
        )
        success = GaugeMetricFamily(
            "osm_healthcheck_probe_success",
            "Whether the app passed the last probe: 1 or 0; none for TLS that was passed through.",
            labels=_PROBE,
        )
        durations = HistogramMetricFamily(
            "osm_healthcheck_probe_duration_seconds",
            "Time from a probe's request to its result; of a whole node without buckets.",
            labels=_PROBE,
        )
        deadlines = GaugeMetricFamily(
            "osm_healthcheck_probe_deadline_seconds",
            "How long the app has for its answer: timeoutSeconds less 50 ms.",
            labels=_PROBE,
        )
        connections = GaugeMetricFamily(
            "osm_healthcheck_connections_open",
            "Connections that callers hold at this moment.",
            labels=_POD,
        )
        refused = CounterMetricFamily(
            "osm_healthcheck_connections_refused",
            "Connections closed without an answer to make room, at the limit on connections.",
            labels=_POD,
        )
        for served in agent.served.values():
            names = (served.pod.namespace, served.pod.name)
            connections.add_metric(names, len(served.server.limiter))
            refused.add_metric(names, served.server.limiter.refused)
            for tally in served.server.results.tallies():
                labels = (*names, tally.target, tally.kinds, tally.containers)
                for result, count in tally.counts.items():
                    probes.add_metric((*labels, result.value), count)
                durations.add_metric(labels, [("+Inf", sum(tally.buckets))], tally.seconds)
                if tally.deadline is not None:
                    deadlines.add_metric(labels, tally.deadline)
                if (succeeded := tally.has_succeeded) is not None:
                    success.add_metric(labels, int(succeeded))
        yield from (probes, success, durations, deadlines, connections, refused)
