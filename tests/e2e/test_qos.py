"""Injection keeps a pod's QoS class, and a pod with resources of its own valid."""

import json
from itertools import product
from typing import Any

import pytest

from osm_healthcheck.injection.inject import inject
from osm_healthcheck.injection.resources import Resources
from tests.manifests.strategies import injection

from .control_plane import ControlPlane

pytestmark = pytest.mark.e2e

_OF_POD: tuple[Any, ...] = (
    None,
    {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": 1, "memory": "1024Mi"}},
    {"limits": {"cpu": "1", "memory": "200M"}},
    {"limits": {"memory": "16Mi"}},
    {"requests": {"cpu": "20m", "memory": "32Mi"}},
    {"requests": {"memory": "32Mi"}, "limits": {"cpu": "1"}},
)
_OF_CONTAINER: tuple[Any, ...] = (
    None,
    {"requests": {"cpu": "10m"}},
    {"requests": {"cpu": "0.01", "memory": "16Mi"}, "limits": {"cpu": "10m", "memory": "16384Ki"}},
)


def _pod(of_pod: Any, of_container: Any) -> dict[str, Any]:
    container = {"name": "app", "image": "app:1", "livenessProbe": {"tcpSocket": {"port": 80}}}
    spec = {
        "containers": [container | ({"resources": of_container} if of_container else {})],
        **({"resources": of_pod} if of_pod else {}),
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec}


@pytest.mark.parametrize(("of_pod", "of_container"), [*product(_OF_POD, _OF_CONTAINER)])
def test_the_class_stays_and_the_pod_is_valid(
    cluster: ControlPlane, of_pod: Any, of_container: Any
) -> None:
    def created(manifest: object) -> Any:
        arguments = ("create", "--dry-run=server", "--validate=strict", "-o", "json", "-f", "-")
        return json.loads(cluster.kubectl(*arguments, stdin=json.dumps(manifest)))

    manifest = _pod(of_pod, of_container)
    before = created(manifest)
    asked = (Resources(), Resources(cpu="200m", memory="96Mi"))
    for mesh, sidecar, resources in product(("none", "istio"), ("native", "container"), asked):
        how = injection(mesh, sidecar=sidecar, resources=resources)
        after = created(inject(manifest, how).manifest)
        if before["status"]["qosClass"] == "BestEffort":
            continue  # the sidecar asks for memory, as it must
        assert after["status"]["qosClass"] == before["status"]["qosClass"]
