"""The chart, as Helm installs, upgrades and uninstalls it on a real API server."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from .control_plane import ControlPlane
from .helm import CHART, helm
from .webhook import NAME

pytestmark = pytest.mark.e2e

_NAMESPACE = "chart"
_CA = base64.b64encode(b"a CA").decode()


@pytest.fixture
def release(cluster: ControlPlane) -> Iterator[None]:
    """The namespace of the release, empty."""
    metadata = {"name": _NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    cluster.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    yield
    cluster.kubectl("delete", "mutatingwebhookconfiguration", NAME, "--ignore-not-found")


@pytest.fixture(params=["v3", "v4"])
def version(request: pytest.FixtureRequest) -> str:
    """Of Helm."""
    return str(request.param)


def _run(version: str, cluster: ControlPlane, *arguments: str) -> str:
    return helm(cluster, _NAMESPACE, *arguments, version=version)


def test_install_upgrade_uninstall(version: str, cluster: ControlPlane, release: None) -> None:
    said = _run(version, cluster, "install", "hc", str(CHART))
    assert f"kubectl -n {_NAMESPACE} rollout status deployment/osm-healthcheck-injector" in said
    entries = cluster.kubectl.get("mutatingwebhookconfiguration", NAME)["webhooks"]
    assert all("caBundle" not in one["clientConfig"] for one in entries)
    operations = [
        {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": _CA}
        for index, _ in enumerate(entries)
    ]
    configuration = ("mutatingwebhookconfiguration", NAME)
    cluster.kubectl("patch", *configuration, "--type=json", "-p", json.dumps(operations))
    # what the injector has written stays when the chart changes the same objects
    _run(version, cluster, "upgrade", "hc", str(CHART), "--set", "webhook.timeoutSeconds=7")
    entries = cluster.kubectl.get(*configuration)["webhooks"]
    assert {one["clientConfig"]["caBundle"] for one in entries} == {_CA}
    assert {one["timeoutSeconds"] for one in entries} == {7}
    # and entries that go take nothing of the others along
    _run(version, cluster, "upgrade", "hc", str(CHART), "--set", "webhook.meshes={linkerd}")
    entries = cluster.kubectl.get(*configuration)["webhooks"]
    assert {one["clientConfig"].get("caBundle") for one in entries} == {_CA}
    assert not [one for one in entries if one["name"].startswith("kuma-injection")]
    _run(version, cluster, "uninstall", "hc")
    assert cluster.kubectl.run("get", *configuration).returncode == 1
    left = cluster.kubectl.get("all,secrets,serviceaccounts,roles,pdb", "-n", _NAMESPACE)["items"]
    assert [one["kind"] for one in left if one["metadata"]["name"] != "default"] == []


@pytest.mark.parametrize("values", sorted((CHART / "ci").iterdir()), ids=lambda path: path.stem)
def test_what_is_rendered_with_other_values_is_accepted(
    version: str, cluster: ControlPlane, release: None, values: Path
) -> None:
    given = ("--kube-version", "1.30.0", "--values", str(values))
    text = _run(version, cluster, "template", "hc", str(CHART), *given)
    # of what is no part of Kubernetes, the API server has no schema here
    known = [
        one
        for one in yaml.safe_load_all(text)
        if one and not one["apiVersion"].startswith("monitoring.coreos.com/")
    ]
    cluster.kubectl(
        *("apply", "-n", _NAMESPACE, "--dry-run=server", "--validate=strict", "-f", "-"),
        stdin=yaml.safe_dump_all(known),
    )
