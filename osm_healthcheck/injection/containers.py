"""The containers that injection adds to a pod."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from osm_healthcheck.injection.pods import INIT_CONTAINER, SIDECAR, Container, Manifest, Pod
from osm_healthcheck.probes.constants import HEALTHCHECK_PORT, HEALTHZ_PATH, ProbeKind

PROBES_VARIABLE = "OSM_HEALTHCHECK_PROBES"
ALLOW_FROM_VARIABLE = "OSM_HEALTHCHECK_ALLOW_FROM"
POD_IP_VARIABLE = "POD_IP"
SIDECAR_ARGUMENTS = ("--verbosity", "info")
DEFAULT_USER = 15904
_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
# at most 15 characters: IsValidPortName
_PORT_NAMES = {
    **{kind.port: f"osm-{kind.value}" for kind in ProbeKind},
    HEALTHCHECK_PORT: "osm-healthcheck",
}


@dataclass(frozen=True, slots=True)
class Images:
    """What our containers run; ``pull_policy`` empty leaves it to the cluster."""

    sidecar: str
    init: str
    pull_policy: str = ""


def sidecar_container(
    variables: Mapping[str, str],
    images: Images,
    mode: Literal["native", "container"],
    user: int | None,
    resources: Manifest,
    ports: Sequence[Manifest] = (),
) -> Manifest:
    """The container that answers the probes which ``variables`` declare, as user ``user``.

    ``ports`` are its entries of ``ports``, as ``container_ports`` makes them.
    """
    healthz = {"path": HEALTHZ_PATH, "port": HEALTHCHECK_PORT, "scheme": "HTTP"}
    container: Manifest = {
        "name": SIDECAR,
        "image": images.sidecar,
        **_pull_policy(images),
        "command": ["/osm-healthcheck"],
        "args": list(SIDECAR_ARGUMENTS),
        **({"restartPolicy": "Always"} if mode == "native" else {}),
        "env": [
            *({"name": name, "value": value} for name, value in variables.items()),
            {"name": POD_IP_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "startupProbe": {"httpGet": dict(healthz), "periodSeconds": 1, "failureThreshold": 60},
        "livenessProbe": {"httpGet": dict(healthz), "failureThreshold": 3},
        **({"ports": list(ports)} if ports else {}),
        **({"resources": resources} if resources else {}),
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


def container_ports(ports: Iterable[int], pod: Pod) -> list[Manifest]:
    """The entries of ``ports`` for those of 15901-15904 that the sidecar of ``pod`` serves.

    A name that a port of another container has is left out: a Service or NetworkPolicy that names
    it means that one, and takes the first that it finds.
    """
    taken = [port.get("name") for container in pod.containers for port in container.ports()]
    return [
        {
            **({"name": name} if (name := _PORT_NAMES[port]) not in taken else {}),
            "containerPort": port,
            "protocol": "TCP",  # its default, and a key of the list for server-side apply
        }
        for port in ports
    ]


def init_container(ports: Sequence[int], images: Images, resources: Manifest) -> Manifest:
    """The container that installs the bypass for ``ports`` and ends."""
    return {
        "name": INIT_CONTAINER,
        "image": images.init,
        **_pull_policy(images),
        "command": ["/init.sh"],
        "args": ["install", "--ports", ",".join(map(str, ports))],
        **({"resources": resources} if resources else {}),
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
    return _json(declaration).replace("$", "\\u0024")


def environment_of(container: Container) -> dict[str, object]:
    """The variables of a container that have a plain value."""
    entries = container.value.get("env")
    return {
        str(entry.get("name")): entry.get("value")
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict)
    }


def _pull_policy(images: Images) -> Manifest:
    return {"imagePullPolicy": images.pull_policy} if images.pull_policy else {}
