"""What inject and uninject make of manifests, as an API server takes them."""

import json
import subprocess
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import yaml

from osm_healthcheck.errors import InvalidInputError
from osm_healthcheck.injection.inject import inject
from osm_healthcheck.mesh.annotations import MESHES
from tests.manifests.strategies import injection
from tests.manifests.test_cases import CASES, EXPECTED
from tests.manifests.test_golden import _GOLDEN as GOLDEN
from tests.manifests.test_golden import _documents as documents

from .command import osm_healthcheck
from .control_plane import ControlPlane
from .kubectl import Kubectl

pytestmark = pytest.mark.e2e

_MODES = tuple(product(("native", "container"), ("passthrough", "request"), ("sidecar", "mesh")))
_WORKLOADS = {
    "Deployment": ("apps/v1", {}),
    "StatefulSet": ("apps/v1", {"serviceName": "shop"}),
    "DaemonSet": ("apps/v1", {}),
    "CronJob": ("batch/v1", {}),
}


def _pods_of_cases() -> Iterator[dict[str, Any]]:
    for name, case in CASES.items():
        spec = EXPECTED[name].get("input", case["input"])
        if isinstance(spec, dict) and "containers" in (spec := spec.get("spec", spec)):
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def _complete(manifest: Any) -> Any:
    """What a manifest of the tests leaves out and the API wants: names in small letters, images."""
    manifest = json.loads(json.dumps(manifest))
    manifest["metadata"]["name"] = manifest["metadata"]["name"].lower()
    manifest["metadata"].pop("namespace", None)
    if manifest["kind"] == "Pod":
        for container in (
            *manifest["spec"].get("containers", []),
            *(manifest["spec"].get("initContainers") or []),
        ):
            container.setdefault("image", "app:1")
    return manifest


def _manifests() -> list[Any]:
    inputs = [GOLDEN / name for name in ("deployment.yaml", "tricky.yaml", "jobs.json")]
    golden = [one for path in inputs for one in documents(path.read_text())]
    return [_complete(one) for one in (*_pods_of_cases(), *golden)]


def _refused(kubectl: Kubectl, manifests: list[Any]) -> dict[int, str]:
    """Which of the manifests the API server refuses, and how; a dry run of all of them at once."""
    text = "---\n".join(
        # Each under a name of its own, for kubectl says no more of it than that.
        json.dumps(one | {"metadata": one["metadata"] | {"name": f"number-{number}"}}) + "\n"
        for number, one in enumerate(manifests)
    )
    done = kubectl.run(
        *("create", "--dry-run=server", "--validate=strict", "-o", "name", "-f", "-"), stdin=text
    )
    accepted = {int(line.rpartition("-")[2]) for line in done.stdout.split()}
    return {number: done.stderr for number, _ in enumerate(manifests) if number not in accepted}


@pytest.fixture(scope="module")
def accepted(cluster: ControlPlane) -> list[Any]:
    """The manifests of tests/manifests that the API server takes as they are."""
    manifests = _manifests()
    refused = _refused(cluster.kubectl, manifests)
    return [one for number, one in enumerate(manifests) if number not in refused]


def test_most_manifests_are_accepted_before(accepted: list[Any]) -> None:
    assert len(accepted) > 0.7 * len(_manifests())


@pytest.mark.parametrize("mesh", MESHES)
def test_what_was_accepted_is_accepted_after(
    cluster: ControlPlane, accepted: list[Any], mesh: str
) -> None:
    injected = {}
    for manifest, (sidecar, https, proxy) in product(accepted, _MODES):
        how = injection(mesh, sidecar=sidecar, https=https, proxy=proxy)
        try:
            after = inject(manifest, how).manifest
        except InvalidInputError:  # says so before an API server could
            continue
        injected[json.dumps(after, sort_keys=True)] = after
    assert len(injected) > len(accepted) / 2
    manifests = list(injected.values())
    for number, why in _refused(cluster.kubectl, manifests).items():
        pytest.fail(f"{yaml.safe_dump(manifests[number])}{why}")


def _workload(kind: str) -> Any:
    """A workload with a probe of every sort, as a user writes it."""
    version, fields = _WORKLOADS[kind]
    container = {
        "name": "web",
        "image": "web:1",
        "ports": [{"name": "http", "containerPort": 8080}],
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 5},
        "readinessProbe": {"tcpSocket": {"port": "http"}},
        "startupProbe": {"grpc": {"port": 50051}},
        "lifecycle": {"preStop": {"httpGet": {"path": "/bye", "port": 8080}}},
    }
    pod: dict[str, Any] = {"containers": [container, {"name": "worker", "image": "worker:1"}]}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod}
    head = {"apiVersion": version, "kind": kind, "metadata": {"name": "web"}}
    if kind == "CronJob":
        pod["restartPolicy"] = "Never"
        job = {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": template}}}
        return head | {"spec": job}
    return head | {
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template, **fields}
    }


@pytest.mark.parametrize("mesh", [mesh for mesh in MESHES if mesh != "osm"])
@pytest.mark.parametrize("kind", _WORKLOADS)
def test_a_live_workload_is_injected_and_given_back(
    cluster: ControlPlane, kind: str, mesh: str
) -> None:
    kubectl, namespace = cluster.kubectl, f"{kind}-{mesh}".lower()
    kubectl("create", "namespace", namespace)

    def live() -> str:
        return kubectl("get", kind, "-o", "yaml", "--namespace", namespace)

    def apply(text: str) -> None:
        kubectl("apply", "--namespace", namespace, "--validate=strict", "-f", "-", stdin=text)

    apply(json.dumps(_workload(kind)))
    [before] = yaml.safe_load(live())["items"]
    apply(osm_healthcheck("inject", "--mesh", mesh, stdin=live()))
    [injected] = yaml.safe_load(live())["items"]
    assert '"path": "/osm-liveness-probe"' in json.dumps(injected)
    # A second time: nothing to roll out.
    apply(osm_healthcheck("inject", "--mesh", mesh, stdin=live()))
    [again] = yaml.safe_load(live())["items"]
    assert again["spec"] == injected["spec"]
    apply(osm_healthcheck("uninject", stdin=live()))
    [after] = yaml.safe_load(live())["items"]
    assert after["spec"] == before["spec"]


def test_what_kubectl_apply_has_not_brought_is_replaced(cluster: ControlPlane) -> None:
    """Of such an object apply deletes nothing: its tcpSocket would stay beside our httpGet."""
    kubectl, namespace = cluster.kubectl, "created"
    kubectl("create", "namespace", namespace)

    def live() -> str:
        return kubectl("get", "deployment", "-o", "yaml", "--namespace", namespace)

    def bring(verb: str, text: str) -> subprocess.CompletedProcess[str]:
        return kubectl.run(verb, "--namespace", namespace, "-f", "-", stdin=text)

    assert bring("create", json.dumps(_workload("Deployment"))).returncode == 0
    [before] = yaml.safe_load(live())["items"]
    injected = osm_healthcheck("inject", "--mesh", "istio", stdin=live())
    assert "may not specify more than 1 handler type" in bring("apply", injected).stderr
    assert bring("replace", injected).returncode == 0
    assert bring("replace", osm_healthcheck("uninject", stdin=live())).returncode == 0
    [after] = yaml.safe_load(live())["items"]
    assert after["spec"] == before["spec"]
