"""The webhook beside what else admits pods: limits, quotas, policies, other webhooks; and gone."""

import itertools
import json
import threading
from typing import Any

import pytest

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.pods import pods_in
from tests.io.injector import HEALTH, injector
from tests.io.tls import authority
from tests.io.wire import get

from .control_plane import ControlPlane
from .other_webhook import other_webhook
from .process import until
from .webhook import NAME, configuration, created, installed, is_injected, pod

pytestmark = pytest.mark.e2e

_MESH = "healthcheck.openservicemesh.io/mesh"
_ISTIO = {_MESH: "istio"}


_numbers = itertools.count()


@pytest.fixture
def namespace(cluster: ControlPlane, request: pytest.FixtureRequest) -> str:
    """A namespace of a test's own, with the labels that the test is given as a parameter."""
    metadata = {"name": f"beside-{next(_numbers)}", "labels": getattr(request, "param", {})}
    cluster.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    return str(metadata["name"])


def _containers(found: Any) -> dict[str, Any]:
    [one] = pods_in(found, Validation())
    return {container.name: container.value for container in one.containers}


def _create(cluster: ControlPlane, namespace: str, asked: dict[str, Any]) -> Any:
    return created(cluster.kubectl, asked, "-n", namespace, "--dry-run=server")


@pytest.mark.parametrize("reinvocation", ["Never", "IfNeeded"])
def test_limit_range_and_a_webhook_behind_us(
    cluster: ControlPlane, namespace: str, reinvocation: str
) -> None:
    """Defaults for our container stay when we are asked once more, for a container that came."""
    limits = [{"type": "Container", "default": {"cpu": "500m"}, "max": {"cpu": "1"}}]
    kind = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "limits"}}
    cluster.kubectl.apply({**kind, "spec": {"limits": limits}}, namespace=namespace)
    with (
        installed(cluster, reinvocationPolicy=reinvocation),
        other_webhook(cluster, "z-other"),
    ):
        found = _with_added(cluster, namespace)
    assert found["osm-healthcheck"]["resources"]["limits"]["cpu"] == "500m"
    assert found["app"]["livenessProbe"]["httpGet"]["port"] == 15901
    port = found["added"]["readinessProbe"]["httpGet"]["port"]
    assert port == (15902 if reinvocation == "IfNeeded" else 8080)


def test_a_webhook_in_front_of_us(cluster: ControlPlane, namespace: str) -> None:
    with installed(cluster), other_webhook(cluster, "0-a"):
        found = _with_added(cluster, namespace)
    assert found["added"]["readinessProbe"]["httpGet"]["port"] == 15902


def _with_added(cluster: ControlPlane, namespace: str) -> dict[str, Any]:
    """The containers of a pod once the other webhook is in force."""
    asked = pod(labels={**_ISTIO, "other": "yes"})
    until(
        lambda: "added" in _containers(_create(cluster, namespace, asked)),
        "the other webhook is called",
    )
    return _containers(_create(cluster, namespace, asked))


def test_quota_counts_our_container(cluster: ControlPlane, namespace: str) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "quota"}}
    hard = {"requests.memory": "100Mi"}
    cluster.kubectl.apply({**quota, "spec": {"hard": hard}}, namespace=namespace)
    asked = pod("large", labels=_ISTIO)
    asked["spec"]["containers"][0]["resources"] = {"requests": {"memory": "64Mi"}}
    status = {"status": {"hard": hard, "used": {"requests.memory": "0"}}}  # no controller is here
    cluster.kubectl(
        *("patch", "resourcequota", "quota", "-n", namespace, "--subresource=status"),
        *("--type=merge", "-p", json.dumps(status)),
    )
    text = json.dumps(asked)
    options = ("create", "-n", namespace, "--dry-run=server", "-f", "-")

    def refused() -> str:
        done = cluster.kubectl.run(*options, stdin=text)
        return done.stderr if done.returncode else ""

    with installed(cluster):
        until(refused, "the quota is known")
        assert "exceeded quota: quota, requested: requests.memory=128Mi" in refused()


@pytest.mark.parametrize(
    "namespace", [{"pod-security.kubernetes.io/enforce": "restricted"}], indirect=True
)
def test_pod_security_restricted_takes_what_we_add(cluster: ControlPlane, namespace: str) -> None:
    asked = pod("restricted")
    asked["spec"]["securityContext"] = {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    asked["spec"]["containers"][0]["securityContext"] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    with installed(cluster):
        for mesh in ("istio", "kuma", "linkerd", "consul"):
            asked["metadata"]["labels"] = {_MESH: mesh}
            assert is_injected(_create(cluster, namespace, asked))


def _wait_for_code(cluster: ControlPlane, asked: str, code: int) -> None:
    options = ("create", "--dry-run=server", "-f", "-")
    until(
        lambda: cluster.kubectl.run(*options, stdin=asked).returncode == code,
        f"kubectl create ends with {code}",
    )


def test_fail_and_ignore_with_us_gone(cluster: ControlPlane) -> None:
    asked = json.dumps(pod("asked", labels=_ISTIO))
    plain = json.dumps(pod("plain"))
    options = ("create", "--dry-run=server", "-o", "json", "-f", "-")
    with injector() as one:
        address = one.address  # and nobody listens there any more
    for policy in ("Fail", "Ignore"):
        ca = authority().cert_pem.bytes()
        cluster.kubectl.apply(configuration(address, ca, failurePolicy=policy))
        try:
            _wait_for_code(cluster, asked, int(policy == "Fail"))
            done = cluster.kubectl.run(*options, stdin=asked)
            if policy == "Fail":
                assert 'failed calling webhook "pod.healthcheck.openservicemesh.io"' in done.stderr
            else:
                assert not is_injected(json.loads(done.stdout))
            # what is not selected does not notice
            assert cluster.kubectl.run(*options, stdin=plain).returncode == 0
        finally:
            cluster.kubectl("delete", "mutatingwebhookconfiguration", NAME)


def test_sigterm_under_load_of_an_api_server_fails_no_admission(cluster: ControlPlane) -> None:
    """One entry calls the replica that ends, until its configuration names the other one."""
    end, failures, answered = threading.Event(), list[str](), list[int]()

    def admissions() -> None:
        while not end.is_set():
            try:
                asked = pod("asked", labels=_ISTIO)
                assert is_injected(created(cluster.kubectl, asked, "--dry-run=server"))
                answered.append(1)
            except Exception as error:
                failures.append(str(error))

    with injector() as staying, installed(cluster, "--drain", "15") as leaving:
        threads = [threading.Thread(target=admissions) for _ in range(3)]
        for one in threads:
            one.start()
        try:
            until(lambda: len(answered) > 5, "some are answered")
            leaving.popen.terminate()
            leaving.wait_for("ending")
            assert get(leaving.address, HEALTH, "/health/ready").status == 503
            # as the endpoints of a Service lose a replica that is not ready
            ca = authority().cert_pem.bytes()
            cluster.kubectl.apply(configuration(staying.address, ca))
            assert leaving.wait() == 0
            had = len(answered)
            until(lambda: len(answered) > had + 5, "some more are answered")
        finally:
            end.set()
            for one in threads:
                one.join()
    assert not failures
