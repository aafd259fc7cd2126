"""The webhook as a real API server calls it: which pods, what kubectl says, and beside others."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from osm_healthcheck import __version__
from osm_healthcheck.cli.injector import read_arguments
from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.pods import pods_in
from tests.io.injector import Injector
from tests.manifests.test_golden import _documents as documents

from .command import osm_healthcheck
from .control_plane import ControlPlane
from .webhook import (
    MANIFEST,
    beside,
    calls,
    created,
    installed,
    is_injected,
    objects,
    pod,
)

pytestmark = pytest.mark.e2e

_MESH = "healthcheck.openservicemesh.io/mesh"
_INJECT = "healthcheck.openservicemesh.io/inject"
# by which annotation a pod shows for which mesh it was injected
_SIGNS = {
    "istio": "traffic.sidecar.istio.io/excludeInboundPorts",
    "kuma": "traffic.kuma.io/exclude-inbound-ports",
    "linkerd": "config.linkerd.io/skip-inbound-ports",
    "consul": "consul.hashicorp.com/transparent-proxy-exclude-inbound-ports",
}
_ISTIO = {"istio-injection": "enabled"}
_REV = {"istio.io/rev": "canary"}
_KUMA = {"kuma.io/sidecar-injection": "enabled"}
_LINKERD = {"linkerd.io/inject": "enabled"}
_CONSUL = {"consul.hashicorp.com/connect-inject": "true"}
_OUT_OF_ISTIO = {"sidecar.istio.io/inject": "false"}
_IN_ISTIO = {"sidecar.istio.io/inject": "true"}
# The namespace's labels, the pod's labels, the pod's annotations, and the mesh: empty for none of
# ours. What Istio's and Kuma's own entries select is in their charts.
_SELECTED: list[tuple[dict[str, str], dict[str, str], dict[str, str], str]] = [
    ({}, {}, {}, ""),
    (_ISTIO, {}, {}, "istio"),
    (_ISTIO, _OUT_OF_ISTIO, {}, ""),
    (_ISTIO, {}, _OUT_OF_ISTIO, ""),
    (_ISTIO, _IN_ISTIO, _OUT_OF_ISTIO, "istio"),
    (_ISTIO, _REV, {}, "istio"),
    (_REV, {}, {}, "istio"),
    (_REV, _OUT_OF_ISTIO, {}, ""),
    (_REV | {"istio-injection": "disabled"}, {}, {}, ""),
    ({"istio-injection": "disabled"}, _IN_ISTIO, {}, ""),
    ({}, _IN_ISTIO, {}, "istio"),
    ({}, _REV, {}, "istio"),
    ({}, _REV | _IN_ISTIO, {}, "istio"),
    ({}, _REV | _OUT_OF_ISTIO, {}, ""),
    (_KUMA, {}, {}, "kuma"),
    ({"kuma.io/sidecar-injection": "true"}, {}, {}, "kuma"),
    (_KUMA, {"kuma.io/sidecar-injection": "disabled"}, {}, ""),
    (_KUMA, _KUMA, {}, "kuma"),
    ({}, _KUMA, {}, "kuma"),
    ({"kuma.io/sidecar-injection": "disabled"}, _KUMA, {}, "kuma"),
    ({}, {}, _LINKERD, "linkerd"),
    ({}, {}, {"linkerd.io/inject": "ingress"}, "linkerd"),
    ({}, {}, {"linkerd.io/inject": "disabled"}, ""),
    ({}, {}, _CONSUL, "consul"),
    ({}, {}, {"consul.hashicorp.com/connect-inject": "false"}, ""),
    # two meshes: the first one
    (_ISTIO | _KUMA, {}, {}, "istio"),
    (_ISTIO, {}, _LINKERD, "istio"),
    (_KUMA, {}, _CONSUL, "kuma"),
    ({}, {}, _LINKERD | _CONSUL, "linkerd"),
    # our own label: the pod's, then the namespace's
    ({_MESH: "linkerd"}, {}, {}, "linkerd"),
    ({_MESH: "consul"}, {}, {}, "consul"),
    ({_MESH: "none"}, {}, {}, "none"),
    ({_MESH: "linkerd"} | _ISTIO, {}, _CONSUL, "linkerd"),
    ({_MESH: "linkerd"} | _ISTIO, {_MESH: "kuma"}, {}, "kuma"),
    (_ISTIO, {_MESH: "none"}, {}, "none"),
    ({}, {_MESH: "istio"}, {}, "istio"),
    # those who do not want it
    (_ISTIO, {}, {_INJECT: "disabled"}, ""),
    (_ISTIO, {}, {_INJECT: "Disabled"}, ""),
    ({_MESH: "none"}, {_MESH: "none"}, {_INJECT: "disabled"}, ""),
]


@pytest.fixture(scope="module")
def running(cluster: ControlPlane) -> Iterator[Injector]:
    with installed(cluster) as one:
        yield one


def _namespace(name: str, **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def _mesh_of(found: dict[str, Any]) -> str:
    """For which mesh a pod was injected; empty where it was not."""
    annotations = found["metadata"].get("annotations", {})
    shown = [mesh for mesh, name in _SIGNS.items() if name in annotations]
    assert len(shown) <= 1
    return shown[0] if shown else "none" if is_injected(found) else ""


def _in(found: dict[str, Any], namespace: str) -> dict[str, Any]:
    return found | {"metadata": found["metadata"] | {"namespace": namespace}}


def test_each_pod_is_selected_by_one_entry_or_none(
    cluster: ControlPlane, running: Injector
) -> None:
    names = [f"selected-{number}" for number in range(len(_SELECTED))]
    cases = list(zip(names, _SELECTED, strict=True))
    cluster.kubectl.apply(*[_namespace(name, **labels) for name, (labels, *_) in cases])
    pods = [
        _in(pod(labels=labels, annotations=annotations), name)
        for name, (_, labels, annotations, _) in cases
    ]
    before = calls(running)
    text = "\n---\n".join(map(json.dumps, pods))
    answer = cluster.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=text)
    found = {one["metadata"]["namespace"]: _mesh_of(one) for one in documents(answer)}
    assert found == {name: case[3] for name, case in cases}
    # none was called by two entries
    assert calls(running) - before == len([case for case in _SELECTED if case[3]])


@pytest.mark.parametrize(
    ("what", "probes", "called"),
    [
        ("tcp", {"readinessProbe": {"tcpSocket": {"port": 1}}}, True),
        ("grpc", {"startupProbe": {"grpc": {"port": 1}}}, True),
        ("exec", {"livenessProbe": {"exec": {"command": ["true"]}}}, False),
        ("nothing", {}, False),
        ("start-hook", {"lifecycle": {"postStart": {"httpGet": {"port": 1}}}}, True),
        ("stop-hook", {"lifecycle": {"preStop": {"httpGet": {"port": 1}}}}, True),
        ("exec-hook", {"lifecycle": {"preStop": {"exec": {"command": ["true"]}}}}, False),
    ],
)
def test_only_pods_that_ask_over_the_network_are_sent_to_us(
    cluster: ControlPlane, running: Injector, what: str, probes: dict[str, Any], called: bool
) -> None:
    asked = pod(what, labels={_MESH: "istio"})
    asked["spec"]["containers"] = [{"name": "app", "image": "app:1", **probes}]
    before = calls(running)
    created(cluster.kubectl, asked, "--dry-run=server")
    assert calls(running) - before == called


def test_native_sidecars_host_networks_and_static_pods(
    cluster: ControlPlane, running: Injector
) -> None:
    label = {_MESH: "istio"}
    sidecar = pod("sidecar", labels=label)
    [container] = sidecar["spec"]["containers"]
    sidecar["spec"] = {
        "containers": [{"name": "main", "image": "main:1"}],
        "initContainers": [{**container, "restartPolicy": "Always"}],
    }
    static = pod("static", labels=label, annotations={"kubernetes.io/config.mirror": "x"})
    static["spec"]["nodeName"] = "node"
    host = pod("host", labels=label, hostNetwork=True)
    found = {}
    for one in (sidecar, host):
        answer = created(cluster.kubectl, one, "--dry-run=server")
        found[one["metadata"]["name"]] = is_injected(answer)
    assert found == {"sidecar": True, "host": False}
    # a mirror pod may be created by a node alone, but our webhook would be asked before that
    before = calls(running)
    done = cluster.kubectl.run("create", "--dry-run=server", "-f", "-", stdin=json.dumps(static))
    assert done.returncode == 0 or "node" in done.stderr
    assert calls(running) == before


@pytest.mark.parametrize("namespace", ["kube-system", "kube-public", "kube-node-lease"])
def test_the_clusters_own_namespaces_are_left_out(
    cluster: ControlPlane, running: Injector, namespace: str
) -> None:
    asked = _in(pod(labels={_MESH: "istio"}), namespace)
    assert not is_injected(created(cluster.kubectl, asked, "--dry-run=server"))


def test_a_created_pod_is_what_a_dry_run_shows_and_verify_finds_right(
    cluster: ControlPlane, running: Injector
) -> None:
    asked = pod("stored", labels={_MESH: "istio"})
    dry = created(cluster.kubectl, asked, "--dry-run=server")
    created(cluster.kubectl, asked)
    stored = cluster.kubectl.get("pod", "stored")
    assert stored["spec"] == dry["spec"]
    assert stored["metadata"]["annotations"] == dry["metadata"]["annotations"]
    pods = pods_in(stored, Validation())
    assert [one.name for one in pods[0].containers] == ["osm-healthcheck", "app"]
    stored.pop("status")
    assert "✗" not in osm_healthcheck("verify", stdin=json.dumps(stored))
    cluster.kubectl("delete", "pod", "stored", "--grace-period=0", "--force")


def test_kubectl_prints_the_warnings(cluster: ControlPlane, running: Injector) -> None:
    asked = pod("warned", labels={_MESH: "istio"}, port="http")
    done = cluster.kubectl.run("create", "--dry-run=server", "-f", "-", stdin=json.dumps(asked))
    assert done.returncode == 0
    assert done.stderr.splitlines()[0] == (
        'Warning: osm-healthcheck: app.livenessProbe.httpGet.port: Invalid value: "http": '
        "container app has no port of that name; it has no named ports"
    )


def test_many_long_warnings_come_through(cluster: ControlPlane, running: Injector) -> None:
    asked = pod("many", labels={_MESH: "istio"})
    name = "n" * 60
    asked["spec"]["containers"] = [
        {**asked["spec"]["containers"][0], "name": f"{name}-{number}", "ports": [], **more}
        for number in range(30)
        for more in [{"livenessProbe": {"httpGet": {"port": "p" * 15}}}]
    ]
    done = cluster.kubectl.run("create", "--dry-run=server", "-f", "-", stdin=json.dumps(asked))
    assert done.returncode == 0
    warnings = [line for line in done.stderr.splitlines() if line.startswith("Warning: ")]
    assert warnings[-1].startswith("Warning: osm-healthcheck: there is more")
    assert len(warnings) > 10


def test_deny_in_the_words_of_the_api_server(cluster: ControlPlane, running: Injector) -> None:
    with beside(cluster, "deny", "--on-invalid", "deny"):
        asked = pod("denied", labels={"deny": "yes"}, port="http")
        done = cluster.kubectl.run("create", "--dry-run=server", "-f", "-", stdin=json.dumps(asked))
    assert done.returncode == 1
    assert done.stderr.startswith("The request is invalid: ")
    assert (
        'denied the request: Pod "denied" is invalid: spec.containers[0].livenessProbe.httpGet.port'
        ': Invalid value: "http": container app has no port of that name'
    ) in done.stderr


def test_the_api_server_takes_the_whole_manifest_and_the_command_its_options(
    cluster: ControlPlane,
) -> None:
    """Every object of the manifest, by a strict dry run; and what the container is told."""
    text = MANIFEST.read_text()
    cluster.kubectl.apply(*objects("Namespace"))
    cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)
    [deployment] = objects("Deployment")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    told = [one for one in container["args"] if "certificate" not in one and "webhook" not in one]
    options, settings = read_arguments([*told, "--certificate", "."])
    assert (settings.port, settings.health_port) == (9090, 9091)
    assert (options.cpu, options.memory) == ("10m", "64Mi")
    assert options.image.endswith(f":{__version__}")
    assert options.init_image is None  # its name follows from the sidecar's
