"""Pods as users write them, and as a mesh's injector leaves them."""

import copy
import json
from typing import Any

from tests.net.meshes import APP_USER, ISTIO

from .command import osm_healthcheck

APP = "e2e.local/app:1"
MESH = "e2e.local/mesh:1"
"""Holds a real Envoy and the real istio-iptables."""
PROXY_CONFIG = "/etc/envoy.json"
PORTS = tuple(port + shift for shift in (0, 1000) for port in (7070, 8080, 8443, 9090))
"""Of the app; those of a second one in the pod are shifted."""
ISTIO_IPTABLES = [*"/istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -b * -x".split(), ""]
"""Istio's init container, but for the ports that are left alone."""
Manifest = dict[str, Any]


def container(name: str = "app", *arguments: str, **fields: Any) -> Manifest:
    """A container that runs the tests' app; see programs/apps/app."""
    return {
        "name": name,
        "image": APP,
        "command": ["/app", *arguments],
        "securityContext": {"runAsUser": APP_USER},
        **fields,
    }


def pod(name: str, *containers: Manifest, **fields: Any) -> Manifest:
    """A pod of one's containers, quick to end."""
    spec = {"terminationGracePeriodSeconds": 1, "containers": list(containers), **fields}
    metadata = {"name": name, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def deployment(manifest: Manifest) -> Manifest:
    """A Deployment of one such pod, with the pod's name and labels."""
    labels = manifest["metadata"]["labels"]
    template = {"metadata": {"labels": labels}, "spec": manifest["spec"]}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    metadata = {"name": manifest["metadata"]["name"]}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def http_get(path: str = "/", port: int = 8080, *, scheme: str = "HTTP", **fields: Any) -> Manifest:
    """A probe that asks every second."""
    action = {"path": path, "port": port, "scheme": scheme}
    return {"httpGet": action, "periodSeconds": 1, **fields}


def tcp_socket(port: int = 7070, **fields: Any) -> Manifest:
    """A probe that connects every second."""
    return {"tcpSocket": {"port": port}, "periodSeconds": 1, **fields}


def grpc(port: int = 9090, **fields: Any) -> Manifest:
    """A probe that asks for the health of a gRPC server every second."""
    return {"grpc": {"port": port}, "periodSeconds": 1, **fields}


def with_mesh(manifest: Manifest) -> Manifest:
    """What Istio's injector makes of a pod: its rules, made by istio-iptables, and its proxy.

    The arguments are those of manifests/charts/istio-control/istio-discovery/files/
    injection-template.yaml, the annotation's ports among them.
    """
    manifest = copy.deepcopy(manifest)
    template = manifest
    for field in ("jobTemplate", "template"):
        template = template["spec"].get(field, template)
    annotations = template["metadata"].get("annotations", {})
    excluded = annotations.get("traffic.sidecar.istio.io/excludeInboundPorts", "")
    excluded = ",".join(filter(None, ("15090,15021,15020", excluded)))
    rules = {
        "name": "istio-init",
        "image": MESH,
        "command": [*ISTIO_IPTABLES, "-d", excluded],
        "securityContext": {
            "runAsUser": 0,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]},
        },
    }
    proxy = {
        "name": "istio-proxy",
        "image": MESH,
        "restartPolicy": "Always",
        "command": ["envoy", "-c", PROXY_CONFIG, "--concurrency", "1", "--disable-hot-restart"],
        "securityContext": {"runAsUser": ISTIO.user, "runAsGroup": ISTIO.user},
    }
    spec = template["spec"]
    spec["initContainers"] = [rules, proxy, *spec.get("initContainers", [])]
    return manifest


def with_us(manifest: Manifest, *options: str) -> Manifest:
    """What `osm-healthcheck inject` makes of it."""
    arguments = ("--mesh", "none", "--image-pull-policy", "IfNotPresent", *options)
    injected: Manifest = json.loads(
        osm_healthcheck("inject", *arguments, stdin=json.dumps(manifest))
    )
    return injected
