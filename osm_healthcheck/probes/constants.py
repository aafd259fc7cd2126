"""The wire contract: the ports, paths and headers that Open Service Mesh gave its probes.

They come from OSM's ``pkg/models`` and ``pkg/constants`` and are what a rewritten manifest
holds, so they never change.
"""

from enum import StrEnum

HEALTHCHECK_PORT = 15904
LIVENESS_PORT = 15901
READINESS_PORT = 15902
STARTUP_PORT = 15903

HEALTHCHECK_PATH = "/osm-healthcheck"
HEALTHZ_PATH = "/healthz"
METRICS_PATH = "/metrics"
STATUS_PATH = "/"

# the annotation by which a pod declares its probes to node mode, as JSON
DECLARED_PROBES = "healthcheck.openservicemesh.io/declared-probes"

ORIGINAL_TCP_PORT = "Original-Tcp-Port"
ORIGINAL_GRPC_PORT = "Original-Grpc-Port"
ORIGINAL_GRPC_SERVICE = "Original-Grpc-Service"

# What node mode takes of one pod. Ten containers with three probes each have some 6 KiB; all pods
# of the node wait while it is read.
MAX_NODE_DECLARATION_BYTES = 32 * 1024
# Of each, once it has been asked, 10 kB are held, and a scrape has five lines or so.
MAX_NODE_DECLARED = 64


class ProbeKind(StrEnum):
    """Which of a container's three probes.

    ``field`` is the field of a container that holds it, such as ``livenessProbe``; ``path`` is that
    of a rewritten ``httpGet`` probe, such as ``/osm-liveness-probe``.
    """

    LIVENESS = "liveness"
    READINESS = "readiness"
    STARTUP = "startup"

    def __init__(self, name: str) -> None:
        self.field = f"{name}Probe"
        self.path = f"/osm-{name}-probe"

    @property
    def port(self) -> int:
        """The port that a rewritten ``httpGet`` probe of this kind asks by default."""
        return _PORTS[self]


_PORTS = {
    ProbeKind.LIVENESS: LIVENESS_PORT,
    ProbeKind.READINESS: READINESS_PORT,
    ProbeKind.STARTUP: STARTUP_PORT,
}
