"""Probes that Open Service Mesh, osm-edge or FSM has rewritten: known by their form alone."""

from typing import cast

from osm_healthcheck.injection.manifest_probe import described, headers_of, own_port_of
from osm_healthcheck.injection.pods import Container, Manifest, Pod
from osm_healthcheck.injection.uninject import is_rewritten
from osm_healthcheck.probes.constants import (
    HEALTHCHECK_PATH,
    HEALTHCHECK_PORT,
    ORIGINAL_GRPC_PORT,
    ORIGINAL_TCP_PORT,
    ProbeKind,
)
from osm_healthcheck.probes.ports import OwnPorts, parse_port
from osm_healthcheck.verification.declared import served_ports
from osm_healthcheck.verification.findings import Finding, good, wrong
from osm_healthcheck.verification.status import mapping, status_of

# They serve 15901-15903 in the pods of Open Service Mesh, and of osm-edge and FSM.
SERVING_PROXIES = ("envoy", "sidecar")
_OWN = OwnPorts()
_AGAIN = "inject the manifest again"
_HTTP_PORT = "Original-Http-Port"  # osm-edge's
# pkg/constants/constants.go of FSM: its names begin otherwise than those of osm-edge
_FSM_INIT = "fsm-init"
_FSM_DAEMON = "fsm-healthcheck"


def other_injector(pod: Pod) -> str:
    """Which of the three has injected ``pod``; empty where none has."""
    if pod.container(_FSM_INIT) is not None:
        return "FSM"
    if pod.container("osm-init") is None and pod.container("envoy") is None:
        return ""
    return "osm-edge" if pod.container("sidecar") is not None else "Open Service Mesh"


def served_by(port: int, pod: Pod) -> str:
    """``served by CONTAINER``, or ``to be`` where that does not run; empty where nothing does.

    Of node mode a pod does not tell whether it runs.
    """
    name, ports = served_ports(pod)
    if port not in ports:
        names = (_FSM_DAEMON,) if port == HEALTHCHECK_PORT else SERVING_PROXIES
        name = next((one for one in names if pod.container(one) is not None), "")
        if not name:
            return ""
    runs = "running" in mapping(status_of(pod, name) or {}, "state")
    proxy = ", the mesh's proxy" if name in SERVING_PROXIES else ""
    return f"{'served' if runs else 'to be served'} by {name}{proxy}"


def rewritten_probe(probe: object, pod: Pod, container: Container, kind: ProbeKind) -> Finding:
    """Whether a probe on one of our ports has the form that its injector gives it."""
    subject = f"{container.name}.{kind.field}"
    port = own_port_of(probe, _OWN)
    asks = f"asks {described(probe)}"
    action = cast("dict[str, Manifest]", probe)["httpGet"]
    path = action.get("path")
    if pod.container(_FSM_INIT) is not None:
        path = str(path).replace("/fsm-", "/osm-", 1)
        probe = {"httpGet": {**action, "path": path}}
    if not is_rewritten(probe, pod, container, kind):
        return wrong(subject, f"{asks}, where nothing of that path is served", _AGAIN)
    headers = headers_of(action)
    names = (ORIGINAL_TCP_PORT, ORIGINAL_GRPC_PORT, _HTTP_PORT)
    named = [headers[name.lower()] for name in names if name.lower() in headers]
    if path == HEALTHCHECK_PATH and [one for one in named if not parse_port(one)]:
        return wrong(subject, f"{asks} with a header that is not a port", _AGAIN)
    if path == HEALTHCHECK_PATH and not named:
        return wrong(subject, f"{asks} without {ORIGINAL_TCP_PORT}", _AGAIN)
    is_check_endpoint = path == HEALTHCHECK_PATH and port == HEALTHCHECK_PORT
    if port != kind.port and not is_check_endpoint:
        return wrong(subject, f"{asks}, but {kind.value} probes are for {kind.port}", _AGAIN)
    return good(subject, f"{asks}{f' for port {named[0]}' if named else ''}")
