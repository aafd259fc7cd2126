"""Stories of apps that stop answering, as tutorials on probes tell them, in a mesh with us.

They are under way at once: most of each is waiting for the kubelet.
"""

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from .cases import ask, stop
from .control_plane import ControlPlane
from .node import Node
from .pods import Manifest, container, deployment, pod, with_mesh, with_us
from .process import until
from .verdicts import READY, RESTARTED, Pod

pytestmark = pytest.mark.e2e

_EXEC = {"exec": {"command": ["cat", "/tmp/healthy"]}, "initialDelaySeconds": 5, "periodSeconds": 3}


def _started(kube: ControlPlane, namespace: str, manifest: Manifest) -> Pod:
    """A pod in a mesh with us, once it is Ready."""
    name = manifest["metadata"]["name"]
    kube.kubectl.apply(with_mesh(with_us(manifest)), namespace=namespace)
    kube.kubectl.wait(f"pod/{name}", "condition=Ready", namespace=namespace)
    return Pod(kube, namespace, name)


def _an_app_hangs(kube: ControlPlane, machine: Node, namespace: str) -> None:
    """It accepts and says nothing. Directly, the kubelet says that its time has run out."""
    probe = {
        "httpGet": {"path": "/health", "port": 8080},
        "initialDelaySeconds": 5,
        "periodSeconds": 5,
    }
    hung = _started(kube, namespace, pod("hung", container(livenessProbe=probe)))
    asked = "GET /health "
    until(lambda: asked in hung("logs", "hung", "-c", "app"), "it is asked")
    lines = [line for line in hung("logs", "hung", "-c", "app").splitlines() if asked in line]
    assert all(re.search(r" kube-probe/1\.\d+$", line) for line in lines)
    before = hung.failures("app", "Liveness")
    stop(hung, machine)
    assert hung.wait_for_verdict(other_than=READY) == RESTARTED
    assert hung.failures_at_least(before + 3, "app", "Liveness") - before == 3
    assert hung.messages("Unhealthy")["app", _failed("Liveness", 504)]
    killed = ("app", "Container app failed liveness probe, will be restarted")
    until(lambda: hung.messages("Killing")[killed] == 1, "it is killed")
    assert hung.restarts()["app"] == 1


def _one_of_three_replicas(kube: ControlPlane, machine: Node, namespace: str) -> None:
    """By an exec probe, which is left as it is."""
    app = container(
        command=["/app"],
        readinessProbe=_EXEC,
        livenessProbe={"httpGet": {"path": "/health", "port": 8080}},
        lifecycle={"postStart": {"exec": {"command": ["touch", "/tmp/healthy"]}}},
    )
    manifest = deployment(pod("three", app))
    manifest["spec"]["replicas"] = 3
    injected = with_us(manifest)
    [found] = injected["spec"]["template"]["spec"]["containers"]
    assert found["readinessProbe"] == app["readinessProbe"]
    assert found["livenessProbe"]["httpGet"]["port"] == 15901
    kube.kubectl.apply(with_mesh(injected), namespace=namespace)
    kube.kubectl.wait("deployment/three", "condition=Available", namespace=namespace)
    three = Pod(kube, namespace, "three")

    def described() -> str:
        return " ".join(three("describe", "deployment", "three").split())

    all_of_them = "3 desired | 3 updated | 3 total | 3 available | 0 unavailable"
    until(lambda: all_of_them in described(), all_of_them)
    name = three.get()["metadata"]["name"]
    three("exec", name, "-c", "app", "--", "rm", "/tmp/healthy")
    but_one = "3 desired | 3 updated | 3 total | 2 available | 1 unavailable"
    until(lambda: but_one in described(), but_one)
    row = three("get", "pod", name, "--no-headers").split()
    # The app's, the proxy's and ours: as a native sidecar each counts.
    assert row[1:3] == ["2/3", "Running"]
    three("exec", name, "-c", "app", "--", "touch", "/tmp/healthy")
    until(lambda: all_of_them in described(), all_of_them)


def _a_page_is_gone(kube: ControlPlane, machine: Node, namespace: str) -> None:
    """Readiness notices first, and the Service has no endpoint; the restart brings both back."""
    get = {"httpGet": {"port": 8080, "path": "/"}}
    app = container(
        readinessProbe={**get, "failureThreshold": 1, "periodSeconds": 1},
        livenessProbe={**get, "failureThreshold": 3, "periodSeconds": 6},
    )
    page = _started(kube, namespace, pod("page", app))
    spec = {"selector": {"app": "page"}, "ports": [{"port": 80, "targetPort": 8080}]}
    head = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "page"}}
    kube.kubectl.apply(head | {"spec": spec}, namespace=namespace)

    def endpoints() -> list[bool]:
        found = json.loads(page("get", "endpointslices", "-o", "json"))["items"]
        return [one["conditions"]["ready"] for of in found for one in of["endpoints"] or []]

    until(lambda: endpoints() == [True], "the page is served")
    ask("/ill?status=403")(page, machine)
    until(lambda: endpoints() == [False], "the Service has no endpoint")
    assert not any(page.restarts().values())
    assert page.messages("Unhealthy")["app", _failed("Readiness", 403)]
    assert page.wait_for_verdict(other_than=READY) == RESTARTED
    assert page.failures_at_least(3, "app", "Liveness") == 3
    assert page.messages("Unhealthy")["app", _failed("Liveness", 403)]
    until(lambda: endpoints() == [True], "the page is served again")


def _failed(kind: str, status: int) -> str:
    return f"{kind} probe failed: HTTP probe failed with statuscode: {status}"


Story = Callable[[ControlPlane, Node, str], None]
_STORIES: dict[str, Story] = {
    "an-app-hangs": _an_app_hangs,
    "one-of-three-replicas": _one_of_three_replicas,
    "a-page-is-gone": _a_page_is_gone,
}


@pytest.fixture(scope="module")
def told(whole: tuple[ControlPlane, Node]) -> Iterator[dict[str, Future[None]]]:
    """Each story in a namespace of its own."""
    cluster, machine = whole
    with ThreadPoolExecutor() as executor:
        yield {
            name: executor.submit(story, cluster, machine, cluster.namespace(name))
            for name, story in _STORIES.items()
        }
    for name in _STORIES:
        cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize("name", _STORIES)
def test_story(told: dict[str, Future[None]], name: str) -> None:
    told[name].result()
