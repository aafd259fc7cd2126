"""What befalls a pod besides its app: no verdict changes, but for the gap that the docs name."""

import subprocess
from collections.abc import Iterator

import pytest

from .control_plane import ControlPlane
from .node import Node
from .pods import container, http_get, pod, with_mesh, with_us
from .process import until
from .verdicts import READY, RESTARTED, Pod

pytestmark = pytest.mark.e2e

_PATIENT = http_get("/live", failureThreshold=10)
"""A probe that outlasts the restart of what answers it."""


@pytest.fixture
def meshed(kube: ControlPlane, request: pytest.FixtureRequest, machine: Node) -> Iterator[Pod]:
    """A pod in a mesh with us, Ready; parametrized by options of inject."""
    options = getattr(request, "param", ())
    name = request.node.name.removeprefix("test_").translate(str.maketrans("_[]", "---")).strip("-")
    namespace = kube.namespace(name)
    app = container(
        "app", "-linger", "6s", livenessProbe=_PATIENT, readinessProbe=http_get("/ready")
    )
    manifest = pod("shop", app, terminationGracePeriodSeconds=15)
    kube.kubectl.apply(with_mesh(with_us(manifest, *options)), namespace=namespace)
    kube.kubectl.wait("pod/shop", "condition=Ready", namespace=namespace)
    yield Pod(kube, namespace, "shop")
    kube.kubectl("delete", "namespace", namespace, "--wait=false")


def _asked(meshed: Pod, path: str) -> int:
    """How often the kubelet's question has reached the app."""
    log = meshed("logs", "shop", "-c", "app")
    return sum(f"GET {path} " in line and "kube-probe/" in line for line in log.splitlines())


def _wait_for_more(meshed: Pod, path: str, more: int = 3) -> None:
    before = _asked(meshed, path)
    until(lambda: _asked(meshed, path) >= before + more, f"{more} more probes of {path}")


def _said_to_refuse(meshed: Pod) -> int:
    """How often a failure was said to be the app's, which serves: 503, it refuses connections.

    A probe that times out on a busy machine is no more than that, and what the sidecar itself
    refuses while it is away is the gap that the docs name.
    """
    messages = meshed.messages("Unhealthy")
    return sum(count for (_, message), count in messages.items() if "statuscode: 503" in message)


@pytest.mark.parametrize("killed", ["osm-healthcheck", "istio-proxy"])
def test_a_killed_container(meshed: Pod, machine: Node, kube: ControlPlane, killed: str) -> None:
    """The sidecar, or Envoy: it is back, the app lives, and nobody says that it did not."""
    before = _said_to_refuse(meshed)
    machine.signal(meshed.container_id(killed), "KILL")
    until(lambda: meshed.restarts()[killed] == 1, f"{killed} is restarted")
    _wait_for_more(meshed, "/live")
    _wait_for_more(meshed, "/ready")
    kube.kubectl.wait("pod/shop", "condition=Ready", namespace=meshed.namespace)
    assert meshed.restarts() == {one: int(one == killed) for one in meshed.restarts()}
    assert _said_to_refuse(meshed) == before


def test_containerd_is_restarted(meshed: Pod, machine: Node, kube: ControlPlane) -> None:
    before = _said_to_refuse(meshed)
    machine.restart_containerd()
    _wait_for_more(meshed, "/live", more=5)
    kube.kubectl.wait("pod/shop", "condition=Ready", namespace=meshed.namespace)
    assert not any(meshed.restarts().values())
    assert _said_to_refuse(meshed) == before
    meshed("exec", "shop", "-c", "app", "--", "/app", "ask", "http://127.0.0.1:8080/ill")
    assert meshed.wait_for_verdict(other_than=READY) == RESTARTED


@pytest.mark.parametrize("meshed", [(), ("--sidecar", "container")], indirect=True)
def test_a_deleted_pod_is_probed_to_its_end(meshed: Pod) -> None:
    """Its readiness probes reach the app as long as it serves: the sidecar outlasts it."""
    argv = ("logs", "--follow", "shop", "-c", "app")
    with subprocess.Popen(meshed.argv(*argv), stdout=subprocess.PIPE, text=True) as log:
        assert log.stdout is not None
        assert "/ready" in log.stdout.readline() + log.stdout.readline()
        meshed("delete", "pod", "shop", "--wait=false")
        lines = log.stdout.read().splitlines()
    last = lines[lines.index("terminated") :]
    assert sum("GET /ready " in line for line in last) >= 2


def test_the_service_loses_and_regains_the_pod(meshed: Pod, kube: ControlPlane) -> None:
    service = {"selector": {"app": "shop"}, "ports": [{"port": 80, "targetPort": 8080}]}
    head = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"}}
    kube.kubectl.apply(head | {"spec": service}, namespace=meshed.namespace)

    def ready() -> list[bool]:
        path = f"/apis/discovery.k8s.io/v1/namespaces/{meshed.namespace}/endpointslices"
        slices = kube.api(path, labelSelector="kubernetes.io/service-name=shop")["items"]
        return [one["conditions"]["ready"] for of in slices for one in of["endpoints"] or []]

    ask = ("exec", "shop", "-c", "app", "--", "/app", "ask", "http://127.0.0.1:8080")
    until(lambda: ready() == [True], "the pod is an endpoint")
    meshed(*ask[:-1], f"{ask[-1]}/ill")
    until(lambda: ready() == [False], "the Service loses the pod")
    meshed(*ask[:-1], f"{ask[-1]}/well")
    until(lambda: ready() == [True], "the Service regains the pod")
    assert not any(meshed.restarts().values())
