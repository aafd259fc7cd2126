"""The injector as its manifest installs it: pods, called by the API server through a Service."""

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from .command import osm_healthcheck
from .control_plane import ControlPlane
from .node import Node
from .pods import container, deployment, http_get, pod
from .process import NotYetError, until
from .verdicts import Pod
from .webhook import MANIFEST, NAME, is_injected, objects, wait_until_in_force

pytestmark = pytest.mark.e2e

_NAMESPACE = "osm-healthcheck"
_DEPLOYMENT = "deployment/osm-healthcheck-injector"
_HEAD = re.compile(
    r"HTTP/1\.1 200 OK\n"
    r"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\n"
    r"Content-Length: (\d+)\n"
    r"Content-Type: text/plain; charset=utf-8"
)
_UNWELL = "HTTP probe failed with statuscode: 503"


@pytest.fixture(scope="module")
def installed(whole: tuple[ControlPlane, Node]) -> Iterator[ControlPlane]:
    """A cluster with `kubectl apply -f deploy/osm-healthcheck.yaml`, and the injector ready."""
    cluster, _ = whole
    _install(cluster)
    yield cluster
    cluster.kubectl("delete", "--wait=false", "--ignore-not-found", "-f", str(MANIFEST))


def _install(cluster: ControlPlane) -> None:
    cluster.kubectl("apply", "-f", str(MANIFEST))
    _wait_for_rollout(cluster)
    wait_until_in_force(cluster.kubectl)  # kube-proxy, too, has to hear of the replicas


def _wait_for_rollout(cluster: ControlPlane) -> None:
    status = ("rollout", "status", _DEPLOYMENT, "--timeout=300s")
    cluster.kubectl(*status, "--namespace", _NAMESPACE, seconds=310)


def test_a_namespace_is_labelled(installed: ControlPlane) -> None:
    """What is created there is injected, and what there is to say comes where somebody reads it."""
    kubectl = installed.kubectl
    installed.namespace("labelled")
    kubectl("label", "namespace", "labelled", "istio-injection=enabled")
    app = container(livenessProbe=http_get(port=8443, scheme="HTTPS"), readinessProbe=http_get())
    items = [deployment(pod("deployed", app)), pod("bare", app)]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    applied = kubectl.run("apply", "--namespace", "labelled", "-f", "-", stdin=text)
    assert applied.returncode == 0, applied.stderr
    # The Deployment's pod was created by a controller, and nobody saw what was said to that.
    [said] = applied.stderr.splitlines()
    warning = "TLS is passed through to the app for app.livenessProbe"
    assert said.startswith("Warning: osm-healthcheck: ")
    assert warning in said
    kubectl.wait("deployment/deployed", "condition=Available", namespace="labelled")
    kubectl.wait("pod/bare", "condition=Ready", namespace="labelled")
    for name in ("deployed", "bare"):
        found = Pod(installed, "labelled", name).get()
        assert is_injected(found)
        probes = found["spec"]["containers"][0]
        asked = [probes[kind]["httpGet"]["port"] for kind in ("livenessProbe", "readinessProbe")]
        assert asked == [15901, 15902]
        about = ("--namespace", "labelled", "--selector", f"app={name}", "-o", "yaml")
        verified = osm_healthcheck("verify", stdin=kubectl("get", "pod", *about))
        assert "✗" not in verified
        assert (warning in verified) is (name == "deployed")
    kubectl("delete", "namespace", "labelled", "--wait=false")


def test_by_hand(installed: ControlPlane) -> None:
    """`kubectl port-forward` and `curl -i`, as OSM's documentation shows of its control plane."""
    for path, text in (
        ("/health/alive", "Service is alive"),
        ("/health/ready", "Service is ready"),
    ):
        head, body = installed.kubectl.curl(_DEPLOYMENT, 9091, path, namespace=_NAMESPACE)
        found = _HEAD.match(head)
        assert found, head
        assert (int(found[1]), body) == (len(text), text)
    head, body = installed.kubectl.curl(
        *(_DEPLOYMENT, 9090, "/healthz", "--insecure"), namespace=_NAMESPACE
    )
    assert head.startswith("HTTP/1.1 200 OK\n")
    assert body == "Health OK"


def test_replicas_are_replaced_and_no_pod_is_refused(installed: ControlPlane) -> None:
    """By kube-proxy, which learns of a replica's end when that has long been told to go."""
    kubectl = installed.kubectl
    installed.namespace("rolled")
    kubectl("label", "namespace", "rolled", "istio-injection=enabled")
    manifest = json.dumps(pod("asked", container(livenessProbe=http_get())))
    before = _replicas(installed)
    kubectl("rollout", "restart", _DEPLOYMENT, "--namespace", _NAMESPACE)
    asked = 0

    def rolled_out() -> bool:
        nonlocal asked
        create = ("create", "--dry-run=server", "--namespace", "rolled", "-o", "json", "-f", "-")
        assert is_injected(json.loads(kubectl(*create, stdin=manifest)))
        asked += 1
        return len(_replicas(installed)) == 2 and not _replicas(installed) & before

    until(rolled_out, "the new replicas are there and the old ones gone", 300)
    assert asked > 5
    kubectl("delete", "namespace", "rolled", "--wait=false")


def _replicas(cluster: ControlPlane) -> set[str]:
    path = f"/api/v1/namespaces/{_NAMESPACE}/pods"
    return {one["metadata"]["name"] for one in cluster.api(path)["items"]}


def test_one_that_is_not_ready(installed: ControlPlane) -> None:
    """Alive, and unable to admit: nothing carries its CA any more."""
    kubectl = installed.kubectl
    kubectl("delete", "mutatingwebhookconfiguration", NAME)

    def rows() -> list[list[str]]:
        text = kubectl("get", "pod", "--namespace", _NAMESPACE, "--no-headers")
        return [line.split()[1:3] for line in text.splitlines()]

    until(lambda: rows() == [["0/1", "Running"]] * 2, "no replica is ready")
    name = f"pod/{_replicas(installed).pop()}"
    described = ("describe", name, "--namespace", _NAMESPACE)
    said = f"spec.containers{{injector}}: Readiness probe failed: {_UNWELL}\n"
    until(lambda: said in kubectl(*described), said)
    head, body = kubectl.curl(name, 9091, "/health/ready", namespace=_NAMESPACE)
    assert head.startswith("HTTP/1.1 503 Service Unavailable\n")
    assert body.startswith(f"Service is not ready: there is no MutatingWebhookConfiguration {NAME}")
    _install(installed)
    until(lambda: rows() == [["1/1", "Running"]] * 2, "every replica is ready again")


def test_one_that_is_not_alive(kube: ControlPlane) -> None:
    """What makes certificates is not as it was installed: trying again would not help."""
    [found] = objects("Deployment")
    spec: dict[str, Any] = found["spec"]["template"]["spec"]
    spec["serviceAccountName"] = "default"
    [injector] = spec["containers"]
    broken = {"name": "broken", "configMap": {"name": "broken"}}
    spec["volumes"] = [*spec.get("volumes", []), broken]
    mount = {"name": "broken", "mountPath": "/opt/injector"}
    injector["volumeMounts"] = [*injector.get("volumeMounts", []), mount]
    del injector["startupProbe"]
    injector["livenessProbe"] |= {"initialDelaySeconds": 5, "periodSeconds": 1}
    namespace = kube.namespace("not-alive")
    may = ("create", "rolebinding", "all", "--clusterrole=admin", "--namespace", namespace)
    kube.kubectl(*may, f"--serviceaccount={namespace}:default")
    files = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "broken"},
        "data": {"cryptography.py": ""},
    }
    kube.kubectl.apply(files, namespace=namespace)
    kube.kubectl.apply(pod("not-alive") | {"spec": spec}, namespace=namespace)
    not_alive = Pod(kube, namespace, "not-alive")
    # Not always x3: on a busy machine it is asked before it listens, and again after its restart.
    about = r"kubelet +spec\.containers\{injector\}: "
    lines = (
        rf"Unhealthy +\S+ \(x\d+ over \S+\) +{about}Liveness probe failed: {_UNWELL}\n",
        rf"Killing +.*{about}Container injector failed liveness probe, will be restarted\n",
    )
    described = not_alive.describe
    with contextlib.suppress(NotYetError):  # then what there is instead is told
        until(lambda: all(re.search(line, described()) for line in lines), "both events")
    text = described()
    assert all(re.search(line, text) for line in lines), text
    kube.kubectl("delete", "namespace", namespace, "--wait=false")
