"""Probes that a mesh has rewritten itself: their forms, by which they are recognised.

A manifest that is read from a cluster has them. To rewrite them once more would make the sidecar
ask the mesh's proxy, which asks the app.
"""

import re
from typing import cast

from osm_healthcheck.injection.manifest_probe import handler_name
from osm_healthcheck.injection.pods import Container, Manifest, Pod
from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.probes.hooks import LifecycleHook

# istio: pilot/cmd/pilot-agent/status/server.go, FormatProberURL
_ISTIO_PATHS = {
    ProbeKind.LIVENESS: "livez",
    ProbeKind.READINESS: "readyz",
    ProbeKind.STARTUP: "startupz",
}
_ISTIO_HOOKS = {LifecycleHook.POST_START: "poststartz", LifecycleHook.PRE_STOP: "prestopz"}
_ISTIO_PORT = ("status.sidecar.istio.io/port", 15020)
# kuma: pkg/plugins/runtime/k8s/probes/probe_converter.go; older ones have virtual probes
_KUMA_PATH = re.compile(r"/((tcp|grpc)/)?[0-9]+(/.*)?", re.DOTALL)
_KUMA_PORTS = (
    ("kuma.io/application-probe-proxy-port", 9000),
    ("kuma.io/virtual-probes-port", 9000),
)
_KUMA_PROXY = "kuma-sidecar"
# consul-k8s: connect-inject/webhook/mesh_webhook.go, overwriteProbes: the container's index on top
_CONSUL_PORTS = {
    ProbeKind.LIVENESS: 20300,
    ProbeKind.READINESS: 20400,
    ProbeKind.STARTUP: 20500,
}
_CONSUL_PROXIES = ("consul-dataplane", "envoy-sidecar")


def rewriting_mesh(probe: object, pod: Pod, container: Container, kind: ProbeKind) -> str:
    """The mesh that has rewritten ``probe``: ``Istio``, ``Kuma``, ``Consul``, or empty."""
    if handler_name(probe) != "httpGet":
        return ""
    action = cast("dict[str, Manifest]", probe)["httpGet"]
    port, path = action.get("port"), str(action.get("path") or "/")
    if type(port) is not int or action.get("host"):
        return ""
    istio_path = f"/app-health/{container.name}/{_ISTIO_PATHS[kind]}"
    if path == istio_path and port == _port(pod, *_ISTIO_PORT):
        return "Istio"
    kuma_ports = [_port(pod, *one) for one in _KUMA_PORTS]
    if pod.container(_KUMA_PROXY) and port in kuma_ports and _KUMA_PATH.fullmatch(path):
        return "Kuma"
    first = _CONSUL_PORTS[kind]
    if first <= port < first + len(pod.containers) and any(map(pod.container, _CONSUL_PROXIES)):
        return "Consul"
    return ""


def mesh_of_hook(value: Manifest, pod: Pod, container: Container, hook: LifecycleHook) -> str:
    """The mesh that has rewritten a lifecycle hook, ``Istio``, or empty: others leave them."""
    action = value.get("httpGet")
    if not isinstance(action, dict) or action.get("host"):
        return ""
    path = f"/app-lifecycle/{container.name}/{_ISTIO_HOOKS[hook]}"
    return (
        "Istio"
        if (action.get("path"), action.get("port")) == (path, _port(pod, *_ISTIO_PORT))
        else ""
    )


def _port(pod: Pod, annotation: str, default: int) -> int:
    """The port that an annotation of the pod names, or the mesh's default."""
    text = str(pod.annotations.get(annotation, ""))
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,4}", text) else default
