"""Open Service Mesh itself, with our image in it: the examples of its documentation."""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from . import osm
from .command import osm_healthcheck_in
from .control_plane import ControlPlane
from .node import Node
from .pods import (
    Manifest,
    container,
    deployment,
    http_get,
    pod,
    tcp_socket,
    with_mesh,
    with_us,
)
from .process import until
from .verdicts import Pod
from .whole_cluster import OURS

pytestmark = pytest.mark.e2e

_SHIFT = 14001 - 8080
_HTTPS_SHIFT = 14001 - 8443
"""The app's port is that of the examples: 14001."""
_APP = "bookstore-v1"
_UNWELL = "HTTP probe failed with statuscode: 503"
_THRICE = r" \(x[3-9] over \S+\)"
_SOMETIMES = r"( \(x\d+ over \S+\))?"


@pytest.fixture(scope="module")
def mesh(whole: tuple[ControlPlane, Node]) -> Iterator[ControlPlane]:
    """A cluster with Open Service Mesh and the namespace `shop` in it."""
    cluster, _ = whole
    with osm.installed(cluster, OURS["sidecar"], OURS["init"]):
        cluster.namespace("shop")
        osm.join(cluster, "shop")
        yield cluster
        cluster.kubectl("delete", "namespace", "shop", "--wait=false")


def _bookstore(name: str = _APP, *arguments: str, shift: int = _SHIFT, **probes: Any) -> Manifest:
    ports = [{"containerPort": 14001}]
    app = container(_APP, "-shift", str(shift), *arguments, ports=ports, **probes)
    return osm.reachable(pod(name, app))


def _http(path: str, scheme: str = "HTTP", **fields: Any) -> Manifest:
    action = {"path": path, "port": 14001, "scheme": scheme}
    return {"httpGet": action, "timeoutSeconds": 3, **fields}


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
def pods(mesh: ControlPlane) -> dict[str, Pod]:
    """Pods of the mesh that do what the documentation's do, the well ones Ready.

    The Deployment has probes of every sort that OSM knows; the others have one. The app of
    `startup` never comes to its end with starting.
    """
    manifests = {
        _APP: _bookstore(
            livenessProbe=_http("/liveness", periodSeconds=1),
            readinessProbe=tcp_socket(7070 + _SHIFT),
            startupProbe=_http("/startup", periodSeconds=1, failureThreshold=30),
        ),
        "readiness": _bookstore("readiness", readinessProbe=_http("/readiness", periodSeconds=1)),
        "startup": _bookstore(
            *("startup", "-startup", "1h"),
            startupProbe=_http("/startup", periodSeconds=1, failureThreshold=1000),
        ),
        "https": _bookstore(
            "https", shift=_HTTPS_SHIFT, livenessProbe=_http("/liveness", "HTTPS", periodSeconds=1)
        ),
    }
    applied = [deployment(one) if name == _APP else one for name, one in manifests.items()]
    mesh.kubectl.apply(*applied, namespace="shop")
    mesh.kubectl.wait(f"deployment/{_APP}", "condition=Available", namespace="shop")
    for name in ("readiness", "https"):
        mesh.kubectl.wait(f"pod/{name}", "condition=Ready", namespace="shop")
    return {name: Pod(mesh, "shop", name) for name in manifests}


def test_every_line_of_verify_is_true(mesh: ControlPlane, pods: dict[str, Pod]) -> None:
    """Pods of OSM, injected ones, broken ones and plain ones, side by side."""
    pytest.importorskip("kubernetes")
    namespace = mesh.namespace("beside")
    probed: dict[str, Any] = {"readinessProbe": http_get("/ready")}
    lost = container(**probed) | {"image": "e2e.local/none:1", "imagePullPolicy": "Never"}
    crashing = with_us(pod("crashing", container("app", "-no-such-option", **probed)))
    manifests = {
        "plain": pod("plain", container(**probed)),
        "injected": with_mesh(with_us(pod("injected", container(**probed)))),
        "forgotten": with_mesh(pod("forgotten", container(**probed))),
        "lost": with_us(pod("lost", lost)),
        "crashing": crashing,
        "homeless": pod("homeless", container(**probed), nodeSelector={"no": "node"}),
    }
    mesh.kubectl.apply(*manifests.values(), namespace=namespace)
    for name in ("plain", "injected"):
        mesh.kubectl.wait(f"pod/{name}", "condition=Ready", namespace=namespace)

    def reason(name: str) -> object:
        status = mesh.kubectl.get("pod", name, "-n", namespace)["status"]
        waiting = [one["state"].get("waiting", {}) for one in status.get("containerStatuses", [])]
        return [one.get("reason") for one in waiting]

    until(lambda: reason("lost") == ["ErrImageNeverPull"], "the image is looked for", 120)
    until(lambda: reason("crashing") == ["CrashLoopBackOff"], "the app crashes", 120)
    until(lambda: "forgotten" in mesh.kubectl("get", "events", "-n", namespace), "it is probed")
    names = {"crashing", "forgotten", "homeless", "lost"}
    broken = {f"Pod beside/{name}" for name in names} | {"Pod shop/startup"}
    found: set[str] = set()
    wrong: dict[str, list[str]] = {}

    def only_the_broken() -> bool:
        said = osm_healthcheck_in(mesh.kubeconfig, "verify", "-A", "-o", "json", status=1)
        wrong.clear()
        for one in json.loads(said):
            found.add(one["resource"])
            for check in one["checks"]:
                if check["result"] == "wrong":
                    line = f"{check['subject']}: {check['text']} → {check['advice']}"
                    wrong.setdefault(one["resource"], []).append(line)
        print(wrong)
        return wrong.keys() == broken and "CrashLoopBackOff" in wrong["Pod beside/crashing"][0]

    # What a liveness probe met while Envoy started counts for two of its periods and 10 s, and an
    # app that crashes is waited for only between its starts.
    until(only_the_broken, "what is well is said to be well")
    crash = wrong["Pod beside/crashing"]
    assert crash[0].startswith("app: is waiting: CrashLoopBackOff, it ended with Error (exit code ")
    assert crash[0].endswith("kubectl logs -n beside crashing -c app --previous")
    [alone] = wrong["Pod beside/lost"]
    assert alone.startswith("app: has not been started: ErrImageNeverPull: ")
    [homeless] = wrong["Pod beside/homeless"]
    assert homeless.startswith("scheduling: Unschedulable: 0/1 nodes are available: ")
    forgotten = wrong["Pod beside/forgotten"]
    assert forgotten[0].startswith("pod: is not injected")
    startup = wrong["Pod shop/startup"]
    assert all("Startup probe failed: " in one for one in startup), startup
    assert {"Pod beside/plain", "Pod beside/injected", "Pod shop/https"} <= found
    mesh.kubectl("delete", "namespace", namespace, "--wait=false")


def _curl(mesh: ControlPlane, what: str, port: int, path: str, *options: str) -> tuple[str, str]:
    return mesh.kubectl.curl(what, port, path, *options, namespace="shop")


@pytest.mark.parametrize(
    ("what", "port", "path"),
    [
        (f"deployment/{_APP}", 15901, "/osm-liveness-probe"),
        ("pod/readiness", 15902, "/osm-readiness-probe"),
    ],
)
def test_by_hand(mesh: ControlPlane, pods: dict[str, Pod], what: str, port: int, path: str) -> None:
    """`kubectl port-forward` and `curl -i`, as the documentation shows."""
    head, page = _curl(mesh, what, port, path)
    first, *headers = head.splitlines()
    assert first == "HTTP/1.1 200 OK"
    # The app's own, and Envoy's.
    assert {"content-type: text/plain; charset=utf-8", "server: envoy"} <= set(headers)
    assert page == "books\n"


def test_a_startup_probe_by_hand(mesh: ControlPlane, pods: dict[str, Pod]) -> None:
    head, _ = _curl(mesh, f"deployment/{_APP}", 15903, "/osm-startup-probe")
    assert head.startswith("HTTP/1.1 200 OK\n")
    head, page = _curl(mesh, "pod/startup", 15903, "/osm-startup-probe")
    assert head.startswith("HTTP/1.1 503 Service Unavailable\n")
    assert page == "not yet\n"


def test_https_by_hand(mesh: ControlPlane, pods: dict[str, Pod]) -> None:
    """Passed through: the certificate and the answer are the app's own."""
    head, page = _curl(mesh, "pod/https", 15901, "/liveness", "--insecure")
    assert head.startswith("HTTP/1.1 200 OK\n")
    assert "server: envoy" not in head
    assert page == "books\n"


@pytest.mark.parametrize("header", ["Original-Tcp-Port", "Original-Tcp-port", "Original-TCP-Port"])
def test_a_port_by_hand(mesh: ControlPlane, pods: dict[str, Pod], header: str) -> None:
    """On 15904 nobody is between: what answers is ours."""

    def asked(*headers: str) -> str:
        options = [word for one in headers for word in ("--header", one)]
        head, _ = _curl(mesh, f"deployment/{_APP}", 15904, "/osm-healthcheck", *options)
        assert "envoy" not in head
        return head.splitlines()[0]

    assert asked(f"{header}: 14001") == "HTTP/1.1 200 OK"
    assert asked(f"{header}: 81") == "HTTP/1.1 404 Not Found"
    assert asked() == "HTTP/1.1 400 Bad Request"


def _what_envoy_holds(mesh: ControlPlane, what: str) -> tuple[Manifest, Manifest]:
    """Its clusters and its listeners, by name."""
    dump = json.loads(_curl(mesh, what, 15000, "/config_dump")[1])
    clusters, listeners = {}, {}
    for section in dump["configs"]:
        for one in section.get("static_clusters", []) + section.get("dynamic_active_clusters", []):
            clusters[one["cluster"]["name"]] = one["cluster"]
        for one in section.get("static_listeners", []):
            listeners[one["listener"]["name"]] = one["listener"]
        for one in section.get("dynamic_listeners", []):
            listeners[one["name"]] = one["active_state"]["listener"]
    return clusters, listeners


@pytest.mark.parametrize("what", [f"deployment/{_APP}", "pod/https"])
def test_what_envoy_holds(mesh: ControlPlane, pods: dict[str, Pod], what: str) -> None:
    clusters, listeners = _what_envoy_holds(mesh, what)
    cluster = clusters["liveness_cluster"]
    assert cluster.get("type", "STATIC") == "STATIC"
    assert cluster["load_assignment"]["cluster_name"] == "liveness_cluster"
    [endpoints] = cluster["load_assignment"]["endpoints"]
    [endpoint] = endpoints["lb_endpoints"]
    address = endpoint["endpoint"]["address"]["socket_address"]
    assert (address["address"], address["port_value"]) == ("127.0.0.1", 14001)
    listener = listeners["liveness_listener"]
    assert listener["address"]["socket_address"] == {"address": "0.0.0.0", "port_value": 15901}
    [chain] = listener["filter_chains"]
    [filter_] = chain["filters"]
    settings = filter_["typed_config"]
    kind = settings["@type"].rpartition(".")[2]
    assert settings["access_log"]
    if what == "pod/https":
        assert (kind, settings["stat_prefix"]) == ("TcpProxy", "health_probes")
        assert settings["cluster"] == "liveness_cluster"
        return
    assert (kind, settings["stat_prefix"]) == ("HttpConnectionManager", "health_probes_http")
    [router] = settings["http_filters"]
    assert router["typed_config"]["@type"].rpartition(".")[2] == "Router"
    assert settings["route_config"]["name"] == "local_route"
    [host] = settings["route_config"]["virtual_hosts"]
    assert (host["name"], host["domains"]) == ("local_service", ["*"])
    [route] = host["routes"]
    assert route["match"] == {"prefix": "/osm-liveness-probe"}
    assert route["route"]["cluster"] == "liveness_cluster"
    assert route["route"]["prefix_rewrite"] == "/liveness"
    assert {"startup_listener", "liveness_listener"} <= listeners.keys()


def test_the_rules_in_the_pod(pods: dict[str, Pod], machine: Node) -> None:
    pid = machine.process_of(pods[_APP].container_id(_APP))
    argv = ["nsenter", "--target", str(pid), "--net", "iptables-save", "-t", "nat"]
    rules = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    for port in (15901, 15902, 15903, 15904):
        assert f"-A OSM_PROXY_INBOUND -p tcp -m tcp --dport {port} -j RETURN" in rules
    assert "-A OSM_PROXY_INBOUND -p tcp -j OSM_PROXY_IN_REDIRECT" in rules


def _tell(one: Pod, path: str) -> None:
    """Tell the app of a pod something, from within its own container."""
    name = one.get()["metadata"]["name"]
    one("exec", name, "-c", _APP, "--", "/app", "ask", f"http://127.0.0.1:14001{path}")


def _wait_until_described(one: Pod, reason: str, message: str, times: str) -> None:
    """Wait until `kubectl describe pod` lists an event of the app, as often as that."""
    about = re.escape(f"spec.containers{{{_APP}}}: {message}")
    line = re.compile(rf"{reason} +\S+{times} +kubelet +{about}\n")
    until(lambda: line.search(one.describe()), f"{reason} {message}")


def _row(one: Pod) -> list[str]:
    """NAME, READY, STATUS, RESTARTS… of `kubectl get pod`."""
    return one("get", "pod", "--no-headers", "--selector", f"app={one.name}").split()


def test_a_liveness_probe_fails(mesh: ControlPlane, pods: dict[str, Pod]) -> None:
    bookstore = pods[_APP]
    until(lambda: _row(bookstore)[1:3] == ["3/3", "Running"], "READY 3/3")
    before = int(_row(bookstore)[3])  # a machine that is too busy restarts it now and then
    _tell(bookstore, "/ill")
    until(lambda: int(_row(bookstore)[3]) > before, "it is restarted")
    killed = f"Container {_APP} failed liveness probe, will be restarted"
    _wait_until_described(bookstore, "Unhealthy", f"Liveness probe failed: {_UNWELL}", _THRICE)
    _wait_until_described(bookstore, "Killing", killed, _SOMETIMES)
    mesh.kubectl.wait(f"deployment/{_APP}", "condition=Available", namespace="shop")


def test_a_readiness_probe_fails(pods: dict[str, Pod]) -> None:
    """Two containers: the app's and Envoy."""
    readiness = pods["readiness"]
    until(lambda: _row(readiness)[1:3] == ["2/2", "Running"], "READY 2/2")
    _tell(readiness, "/ill")
    until(lambda: _row(readiness)[1:3] == ["1/2", "Running"], "READY 1/2")
    _wait_until_described(readiness, "Unhealthy", f"Readiness probe failed: {_UNWELL}", _SOMETIMES)


def test_a_startup_probe_fails(pods: dict[str, Pod]) -> None:
    startup = pods["startup"]
    said = f"Startup probe failed: {_UNWELL}"
    until(lambda: startup.messages("Unhealthy")[_APP, said], said)
    assert _row(startup)[1] == "1/2"


def test_a_startup_probe_meets_nobody(mesh: ControlPlane, machine: Node) -> None:
    """Envoy, killed again and again, is not started at once, and nobody listens on 15903.

    A pod of its own that is not probed often: of about 25 events a pod the kubelet keeps the rest
    to itself (client-go, tools/record/events_cache.go).
    """
    app = ("alone", "-startup", "1h")
    slow = _http("/startup", periodSeconds=5, failureThreshold=1000)
    mesh.kubectl.apply(_bookstore(*app, startupProbe=slow), namespace="shop")
    alone = Pod(mesh, "shop", "alone")
    until(lambda: _running(alone, _APP), "the app runs")
    address = alone.get()["status"]["podIP"]
    url, to = f"http://{address}:15903/osm-startup-probe", f"{address}:15903"
    said = f'Startup probe failed: Get "{url}": dial tcp {to}: connect: connection refused'

    killed = set()

    def met_nobody() -> int:
        if _running(alone, "envoy") and (envoy := alone.container_id("envoy")) not in killed:
            killed.add(envoy)
            machine.signal(envoy, "KILL")
        return alone.messages("Unhealthy")[_APP, said]

    until(met_nobody, said)
    _wait_until_described(alone, "Unhealthy", said, _SOMETIMES)


def _running(one: Pod, name: str) -> bool:
    statuses = one.get()["status"].get("containerStatuses", [])
    return any(of["name"] == name and "running" in of["state"] for of in statuses)


def test_a_port_dies(pods: dict[str, Pod]) -> None:
    """And nothing else: a mesh alone would not notice. The words are those of OSM's Go daemon."""
    _tell(pods[_APP], "/close")
    refused = (_APP, "Readiness probe failed: HTTP probe failed with statuscode: 404")
    until(lambda: pods[_APP].messages("Unhealthy")[refused], "the closed port is noticed")
