"""`verify` and `diagnose` of a pod in a real mesh, with what kubectl says of it."""

import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from .build import program
from .command import PROGRAM, osm_healthcheck, osm_healthcheck_in
from .control_plane import ControlPlane
from .node import Node
from .pods import container, grpc, http_get, pod, tcp_socket, with_mesh, with_us
from .process import until
from .verdicts import Pod

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def meshed(whole: tuple[ControlPlane, Node]) -> Iterator[Pod]:
    cluster, _ = whole
    namespace = cluster.namespace("commands")
    app = container(
        livenessProbe=http_get("/live"), readinessProbe=tcp_socket(), startupProbe=grpc()
    )
    manifest = with_mesh(with_us(pod("shop", app)))
    cluster.kubectl.apply(manifest, namespace=namespace)
    cluster.kubectl.wait("pod/shop", "condition=Ready", namespace=namespace)
    yield Pod(cluster, namespace, "shop")
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def test_diagnose_through_a_port_forward(meshed: Pod, kube: ControlPlane) -> None:
    manifest = meshed("get", "pod", "shop", "-o", "yaml")
    ports = ("7070", "8080", "9090", "15901", "15904")
    with kube.kubectl.port_forward("pod/shop", *ports, namespace=meshed.namespace):
        text = osm_healthcheck("diagnose", "--sidecar", "127.0.0.1", stdin=manifest)
    assert text.count("agree") >= 3, text


def test_the_status_page_is_seen_through_a_port_forward_alone(
    meshed: Pod, kube: ControlPlane
) -> None:
    head, page = kube.kubectl.curl("pod/shop", 15904, "/", namespace=meshed.namespace)
    assert head.startswith("HTTP/1.1 200 OK")
    assert " passing" in page
    assert "app/liveness" in page
    address = meshed("get", "pod", "shop", "-o", "jsonpath={.status.podIP}")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://{address}:15904/", timeout=20)


def test_diagnose_forwards_the_ports_itself(meshed: Pod, kube: ControlPlane) -> None:
    path = f"{program('kubectl').parent}:{os.environ['PATH']}"
    asked = ("diagnose", "-n", meshed.namespace, "pod/shop")
    text = osm_healthcheck_in(kube.kubeconfig, *asked, PATH=path)
    assert text.endswith("all 3 verdicts agree\n"), text
    assert "app liveness: agree, success" in text
    assert "the sidecar's word alone: a port-forward itself takes every connection" in text


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("plain", (), "pod plain is not injected, there is nothing to compare"),
        (
            "agentless",
            ("--proxy", "node", "--no-init"),
            "nothing answers on port 15904 of pod agentless",
        ),
    ],
)
def test_diagnose_compares_nothing_where_no_sidecar_answers(
    meshed: Pod, kube: ControlPlane, name: str, options: tuple[str, ...], problem: str
) -> None:
    """A port-forward takes the connection all the same: that is no verdict of a sidecar."""
    manifest = pod(name, container(readinessProbe=tcp_socket()))
    if options:
        manifest = with_us(manifest, *options)
    kube.kubectl.apply(manifest, namespace=meshed.namespace)
    running = "jsonpath={.status.phase}=Running"
    kube.kubectl.wait(f"pod/{name}", running, namespace=meshed.namespace)
    path = f"{program('kubectl').parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [*PROGRAM, "diagnose", "-n", meshed.namespace, f"pod/{name}"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "KUBECONFIG": str(kube.kubeconfig), "PATH": path},
    )
    assert (done.returncode, done.stdout) == (2, "")
    look = f"see osm-healthcheck verify -n {meshed.namespace} pod/{name}"
    assert done.stderr == f"osm-healthcheck diagnose: {problem}: {look}\n"
    kube.kubectl("delete", "pod", name, "--namespace", meshed.namespace, "--wait=false")


def test_verify_says_yes_and_then_what_is_wrong(meshed: Pod, kube: ControlPlane) -> None:
    manifest = meshed("get", "pod", "shop", "-o", "yaml")
    # Our own startup probe is asked before the sidecar listens: that is not held against it.
    events = meshed("get", "events", "-o", "yaml")
    assert "✗" not in osm_healthcheck("verify", stdin=f"{manifest}---\n{events}")
    meshed("exec", "shop", "-c", "app", "--", "/app", "ask", "http://127.0.0.1:8080/close")
    said = "Readiness probe failed: HTTP probe failed with statuscode: 404"
    until(lambda: meshed.messages("Unhealthy")["app", said], said)
    meshed("wait", "pod/shop", "--for=condition=Ready=false")
    text = osm_healthcheck_in(kube.kubeconfig, "verify", "-n", meshed.namespace, status=1)
    assert f"✗ event app: {said}" in text
    assert "the app refuses connections on that port" in text
    # What a forwarded port cannot tell, the sidecar can.
    path = f"{program('kubectl').parent}:{os.environ['PATH']}"
    asked = ("diagnose", "-n", meshed.namespace, "pod/shop")
    text = osm_healthcheck_in(kube.kubeconfig, *asked, PATH=path)
    assert "app readiness: agree, failure" in text
    assert "; 1 of 3 fail at the app: the mesh is not to blame" in text
