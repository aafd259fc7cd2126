"""The containers that injection adds to a pod."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from osm_healthcheck.injection.pods import INIT_CONTAINER, SIDECAR, Container, Manifest, Pod
from osm_healthcheck.probes.constants import HEALTHCHECK_PORT, HEALTHZ_PATH

PROBES_VARIABLE = "OSM_HEALTHCHECK_PROBES"
DEFAULT_USER = 15904
_MEMORY = "64Mi"
_CPU = "10m"
# A limit so low would make the start last for seconds; a Guaranteed pod must name one.
_GUARANTEED_CPU = "100m"


@dataclass(frozen=True, slots=True)
class Images:
    """What our containers run; ``pull_policy`` empty leaves it to the cluster."""

    sidecar: str
    init: str
    pull_policy: str = ""


def sidecar_container(
    declaration: object,
    images: Images,
    mode: Literal["native", "container"],
    user: int | None,
    *,
    guaranteed: bool,
) -> Manifest:
    """The container that answers the probes in ``declaration``, as user ``user``."""
    healthz = {"path": HEALTHZ_PATH, "port": HEALTHCHECK_PORT, "scheme": "HTTP"}
    container: Manifest = {
        "name": SIDECAR,
        "image": images.sidecar,
        **_pull_policy(images),
        "command": ["/osm-healthcheck"],
        "args": ["--verbosity", "info"],
        **({"restartPolicy": "Always"} if mode == "native" else {}),
        "env": [
            {"name": PROBES_VARIABLE, "value": environment_value(declaration)},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "startupProbe": {"httpGet": dict(healthz), "periodSeconds": 1, "failureThreshold": 60},
        "livenessProbe": {"httpGet": dict(healthz), "failureThreshold": 3},
        "resources": _resources(guaranteed=guaranteed),
        "securityContext": {
            **({"runAsUser": user} if user is not None else {}),
            "runAsNonRoot": True,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return container


def init_container(ports: Sequence[int], images: Images, *, guaranteed: bool) -> Manifest:
    """The container that installs the bypass for ``ports`` and ends."""
    return {
        "name": INIT_CONTAINER,
        "image": images.init,
        **_pull_policy(images),
        "command": ["/init.sh"],
        "args": ["install", "--ports", ",".join(map(str, ports))],
        "resources": _resources(guaranteed=guaranteed),
        "securityContext": {
            "runAsUser": 0,
            "runAsNonRoot": False,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def environment_value(declaration: object) -> str:
    """JSON for the value of an environment variable of a container.

    A dollar sign is written as an escape: the kubelet would take ``$(NAME)`` for a reference.
    """
    text = json.dumps(declaration, ensure_ascii=False, separators=(",", ":"))
    return text.replace("$", "\\u0024")


def is_guaranteed(pod: Pod) -> bool:
    """Whether the pod has the QoS class Guaranteed: every container's limits are its requests.

    As ``pkg/apis/core/v1/helper/qos`` counts, for CPU and memory, init containers included.
    """
    return bool(pod.containers) and all(_has_equal_limits(one) for one in pod.containers)


def environment_of(container: Container) -> dict[str, object]:
    """The variables of a container that have a plain value."""
    entries = container.value.get("env")
    return {
        str(entry.get("name")): entry.get("value")
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict)
    }


def _has_equal_limits(container: Container) -> bool:
    resources = container.value.get("resources")
    if not isinstance(resources, dict):
        return False
    limits, requests = resources.get("limits"), resources.get("requests")
    if not isinstance(limits, dict) or not isinstance(requests or {}, dict):
        return False
    # a request that is left out is the limit
    return all(
        limits.get(name) is not None
        and str((requests or {}).get(name, limits[name])) == str(limits[name])
        for name in ("cpu", "memory")
    )


def _resources(*, guaranteed: bool) -> Manifest:
    if guaranteed:
        equal = {"cpu": _GUARANTEED_CPU, "memory": _MEMORY}
        return {"requests": equal, "limits": dict(equal)}
    return {"requests": {"cpu": _CPU, "memory": _MEMORY}, "limits": {"memory": _MEMORY}}


def _pull_policy(images: Images) -> Manifest:
    return {"imagePullPolicy": images.pull_policy} if images.pull_policy else {}
