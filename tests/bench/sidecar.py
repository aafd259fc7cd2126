"""The sidecar's own command lines, as the measurements start it."""

import json
from collections.abc import Mapping

from tests.bench.environment import Environment

NAME = "osm-healthcheck"
# The same server, asked by somebody who wants it to parse every head anew.
NEW_HEADS = f"{NAME}, never the same head twice"


def for_tcp_checks(environment: Environment, port: int, *, app_port: int) -> list[str]:
    """Return the sidecar of a pod whose one container has a tcpSocket liveness probe."""
    probes = {"app": {"livenessProbe": {"tcpSocket": {"port": app_port}}}}
    return environment.python.command(
        "osm_healthcheck",
        *("--bind", "127.0.0.1"),
        *("--healthcheck-port", str(port)),
        *("--probes", json.dumps(probes)),
    )


def for_http_probes(
    environment: Environment, port: int, *, healthcheck_port: int, app_port: int
) -> list[str]:
    """Return the sidecar of a pod whose one container has an httpGet liveness probe."""
    return environment.python.command(
        "osm_healthcheck",
        *("--bind", "127.0.0.1"),
        *("--healthcheck-port", str(healthcheck_port)),
        *("--liveness-port", str(port)),
        *("--liveness", f"http://:{app_port}/liveness"),
    )


def for_pod(
    environment: Environment, port: int, *, liveness_port: int, probes: Mapping[str, object]
) -> list[str]:
    """Return the sidecar of a pod that declares ``probes``: those of each container."""
    return environment.python.command(
        "osm_healthcheck",
        *("--bind", "127.0.0.1"),
        *("--healthcheck-port", str(port)),
        *("--liveness-port", str(liveness_port)),
        *("--probes", json.dumps(probes)),
    )
