"""Open Service Mesh itself, with our image in it: the examples of its documentation."""

import http.client
import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from . import osm
from .control_plane import ControlPlane
from .node import Node
from .pods import Manifest, container, pod, tcp_socket
from .process import until
from .verdicts import RESTARTED, Pod
from .whole_cluster import OURS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

_SHIFT = 14001 - 8080
"""The app's port is that of the examples."""


@pytest.fixture(scope="module")
def mesh(whole: tuple[ControlPlane, Node]) -> Iterator[ControlPlane]:
    """A cluster with Open Service Mesh and the namespace `shop` in it."""
    cluster, _ = whole
    with osm.installed(cluster, OURS["sidecar"], OURS["init"]):
        cluster.namespace("shop")
        osm.join(cluster, "shop")
        yield cluster
        cluster.kubectl("delete", "namespace", "shop", "--wait=false")


def _bookstore(**probes: Manifest) -> Manifest:
    arguments = ("-shift", str(_SHIFT))
    ports = [{"containerPort": 14001}]
    return osm.reachable(pod("bookstore", container("app", *arguments, ports=ports, **probes)))


def _http(path: str, scheme: str = "HTTP", **fields: Any) -> Manifest:
    return {"httpGet": {"path": path, "port": 14001, "scheme": scheme}, **fields}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            {
                "livenessProbe": _http("/liveness"),
                "readinessProbe": _http("/readiness"),
                "startupProbe": _http("/startup"),
            },
            {
                "livenessProbe": (15901, "/osm-liveness-probe"),
                "readinessProbe": (15902, "/osm-readiness-probe"),
                "startupProbe": (15903, "/osm-startup-probe"),
            },
        ),
        ({"livenessProbe": _http("/liveness", "HTTPS")}, {"livenessProbe": (15901, "/liveness")}),
        (
            {"livenessProbe": {"tcpSocket": {"port": 14001}}},
            {"livenessProbe": (15904, "/osm-healthcheck")},
        ),
    ],
    ids=["HTTP", "HTTPS", "TCP"],
)
def test_probes_before_and_after(
    mesh: ControlPlane, before: Manifest, after: dict[str, tuple[int, str]]
) -> None:
    """OSM's own rewriting, which every release of the sidecar has to fit."""
    text = mesh.kubectl(
        *("create", "--namespace", "shop", "--dry-run=server", "-o", "json", "-f", "-"),
        stdin=json.dumps(_bookstore(**before)),
    )
    [app, *others] = json.loads(text)["spec"]["containers"]
    found = {
        kind: (probe["httpGet"]["port"], probe["httpGet"]["path"])
        for kind, probe in app.items()
        if kind.endswith("Probe")
    }
    assert found == after
    for kind, probe in before.items():
        scheme = probe.get("httpGet", {}).get("scheme", "HTTP")
        assert app[kind]["httpGet"]["scheme"] == scheme
    # OSM adds the container for tcpSocket probes alone.
    sidecars = [one for one in others if one["name"] == "osm-healthcheck"]
    if "httpGet" in before["livenessProbe"]:
        assert not sidecars
    else:
        [header] = app["livenessProbe"]["httpGet"]["httpHeaders"]
        assert (header["name"].lower(), header["value"]) == ("original-tcp-port", "14001")
        [sidecar] = sidecars
        assert sidecar["command"] == ["/osm-healthcheck"]
        assert sidecar["image"] == OURS["sidecar"]


@pytest.fixture(scope="module")
def bookstore(mesh: ControlPlane) -> Pod:
    """A pod of the mesh whose probes are of every sort that OSM knows, Ready."""
    manifest = _bookstore(
        livenessProbe=_http("/liveness?full=1", periodSeconds=1),
        readinessProbe=tcp_socket(7070 + _SHIFT),
        startupProbe=_http("/startup", periodSeconds=1, failureThreshold=30),
    )
    mesh.kubectl.apply(manifest, namespace="shop")
    mesh.kubectl.wait("pod/bookstore", "condition=Ready", namespace="shop")
    return Pod(mesh, "shop", "bookstore")


def _get(mesh: ControlPlane, port: int, path: str, **headers: str) -> tuple[int, str, str]:
    """GET through `kubectl port-forward`: its status, server and body."""
    with (
        mesh.kubectl.port_forward("pod/bookstore", f":{port}", namespace="shop") as [local],
        closing(http.client.HTTPConnection("127.0.0.1", local, timeout=10)) as connection,
    ):
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Server", ""), answer.read().decode()


def test_by_hand(mesh: ControlPlane, bookstore: Pod) -> None:
    """`kubectl port-forward` and `curl -i`, as the documentation shows."""
    assert _get(mesh, 15901, "/osm-liveness-probe") == (200, "envoy", "books\n")
    assert _get(mesh, 15903, "/osm-startup-probe") == (200, "envoy", "")
    # On 15904 nobody is between: what answers is ours.
    for header in ("Original-Tcp-Port", "Original-Tcp-port", "Original-TCP-Port"):
        status, server, _ = _get(mesh, 15904, "/osm-healthcheck", **{header: "14001"})
        assert (status, server) == (200, "")
    assert _get(mesh, 15904, "/osm-healthcheck", **{"Original-Tcp-Port": "81"})[0] == 404
    assert _get(mesh, 15904, "/osm-healthcheck")[0] == 400


def test_what_envoy_holds(mesh: ControlPlane, bookstore: Pod) -> None:
    dump = json.loads(_get(mesh, 15000, "/config_dump")[2])
    clusters, listeners = {}, {}
    for section in dump["configs"]:
        for one in section.get("static_clusters", []) + section.get("dynamic_active_clusters", []):
            clusters[one["cluster"]["name"]] = one["cluster"]
        for one in section.get("static_listeners", []):
            listeners[one["listener"]["name"]] = one["listener"]
        for one in section.get("dynamic_listeners", []):
            listeners[one["name"]] = one["active_state"]["listener"]
    cluster = clusters["liveness_cluster"]
    assert cluster.get("type", "STATIC") == "STATIC"
    [endpoints] = cluster["load_assignment"]["endpoints"]
    [endpoint] = endpoints["lb_endpoints"]
    address = endpoint["endpoint"]["address"]["socket_address"]
    assert (address["address"], address["port_value"]) == ("127.0.0.1", 14001)
    listener = listeners["liveness_listener"]
    assert listener["address"]["socket_address"] == {"address": "0.0.0.0", "port_value": 15901}
    text = json.dumps(listener)
    for part in ("health_probes_http", "local_route", "/osm-liveness-probe", "prefix_rewrite"):
        assert part in text


def test_the_rules_in_the_pod(bookstore: Pod, machine: Node) -> None:
    pid = machine.process_of(bookstore.container_id("app"))
    argv = ["nsenter", "--target", str(pid), "--net", "iptables-save", "-t", "nat"]
    rules = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    for port in (15901, 15902, 15903, 15904):
        assert f"-A OSM_PROXY_INBOUND -p tcp -m tcp --dport {port} -j RETURN" in rules
    assert "-A OSM_PROXY_INBOUND -p tcp -j OSM_PROXY_IN_REDIRECT" in rules


def test_ill_and_restarted(mesh: ControlPlane, bookstore: Pod) -> None:
    """The failure events of the documentation, and the READY column of `kubectl get pod`."""
    ask = ("exec", "bookstore", "-c", "app", "--", "/app", "ask")
    bookstore(*ask, "http://127.0.0.1:14001/ill")
    assert bookstore.wait_for_verdict(other_than="Ready") == RESTARTED
    said = bookstore.messages("Unhealthy")
    assert said["app", "Liveness probe failed: HTTP probe failed with statuscode: 503"] == 3
    killed = ("app", "Container app failed liveness probe, will be restarted")
    assert bookstore.messages("Killing")[killed] == 1
    mesh.kubectl.wait("pod/bookstore", "condition=Ready", namespace="shop")
    # The port dies, and nothing else: a mesh alone would not notice.
    bookstore(*ask, "http://127.0.0.1:14001/close")
    refused = ("app", "Readiness probe failed: HTTP probe failed with statuscode: 404")
    until(lambda: bookstore.messages("Unhealthy")[refused], "the closed port is noticed")
