"""`verify` and `inject` as they read an API server: whom they ask for what, and who they are."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from .command import PROGRAM, osm_healthcheck
from .control_plane import ControlPlane

pytestmark = pytest.mark.e2e
pytest.importorskip("kubernetes")

_PROXY = {"name": "istio-proxy", "image": "istio/proxyv2:1"}
_EXEC = """\
import base64, json, os, sys
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
if not info["spec"]["cluster"]["server"].startswith("https://"):
    sys.exit("no cluster")
if os.environ["LOGGED_IN"] != "yes":
    sys.exit("log in first")
names = {{"clientCertificateData": "admin.crt", "clientKeyData": "admin.key"}}
status = {{key: open("{folder}/" + name).read() for key, name in names.items()}}
print(json.dumps({{"apiVersion": info["apiVersion"], "kind": "ExecCredential", "status": status}}))
"""


def _pod(name: str, *more: Any, app: str = "") -> dict[str, Any]:
    probe = {"httpGet": {"path": "/live", "port": 8080}}
    container = {"name": "web", "image": "web:1", "livenessProbe": probe}
    metadata = {"name": name, "labels": {"app": app or name}}
    spec = {"containers": [container, *more]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _injected(manifest: Any) -> Any:
    text = osm_healthcheck("inject", "--mesh", "istio", "-o", "json", stdin=json.dumps(manifest))
    return json.loads(text)


@pytest.fixture(scope="module")
def bookstore(cluster: ControlPlane) -> ControlPlane:
    """Pods side by side: two of a Deployment, injected; one that is not; one in no mesh."""
    kubectl = cluster.kubectl
    for name in ("bookstore", "osm-system"):
        kubectl("create", "namespace", name)
    kubectl("label", "namespace", "osm-system", "istio-injection=enabled")
    template = _pod("web", app="web")
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {key: template[key] for key in ("metadata", "spec")},
        },
    }
    pods = [_injected(_pod(f"web-{number}", _PROXY, app="web")) for number in (0, 1)]
    kubectl.apply(
        deployment, *pods, _pod("forgotten", _PROXY), _pod("plain"), namespace="bookstore"
    )
    controller = {"name": "osm-controller", "image": "osm-controller:1"}
    control_plane = _pod("osm-controller", _PROXY)
    control_plane["spec"]["containers"][0] = controller
    kubectl.apply(control_plane, namespace="osm-system")
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}
    status = {"name": "web", "ready": False, "restartCount": 0, "image": "", "imageID": ""}
    patch = {"status": {"containerStatuses": [status | {"state": waiting}]}}
    kubectl(
        *("patch", "pod", "web-1", "-n", "bookstore", "--subresource=status"),
        *("--type=merge", "-p", json.dumps(patch)),
    )
    return cluster


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def _verified(done: subprocess.CompletedProcess[str]) -> dict[str, list[str]]:
    """What is wrong with each pod."""
    assert done.stderr == ""
    return {
        one["resource"]: [f"{c['subject']}: {c['text']}" for c in one["checks"] if not one["ok"]]
        if not one["ok"]
        else []
        for one in json.loads(done.stdout)
    }


def test_a_namespace_a_workload_labels_and_all_of_it(bookstore: ControlPlane) -> None:
    config = str(bookstore.kubeconfig)
    asked = ("verify", "--failed", "-o", "json")
    found = _verified(_run(*asked, "-n", "bookstore", KUBECONFIG=config))
    pulling = "web: has not been started: ImagePullBackOff: not found"
    forgotten = found["Pod bookstore/forgotten"]
    assert found == {"Pod bookstore/web-1": [pulling], "Pod bookstore/forgotten": forgotten}
    assert forgotten[0] == "pod: is not injected"
    done = _run("verify", "deploy/web", "-n", "bookstore", "--kubeconfig", config)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("2 pods: something is wrong with 1 of them (")
    assert "  ✗ web: has not been started: ImagePullBackOff: not found\n" in done.stdout
    plain = _run("verify", "-A", "-l", "app in (plain)", KUBECONFIG=config)
    assert (plain.returncode, plain.stdout.count("✓ pod: is in no mesh")) == (0, 1)
    everywhere = _verified(_run(*asked, "-A", KUBECONFIG=config))
    controller = everywhere.pop("Pod osm-system/osm-controller")
    assert everywhere == found
    assert controller[0].startswith("istio-proxy: is a proxy (istio/proxyv2:1)")
    assert controller[1].startswith("namespace: osm-system is listed for istio's injection")


def test_inject_shows_what_would_change(bookstore: ControlPlane) -> None:
    config = str(bookstore.kubeconfig)
    bookstore.kubectl("label", "namespace", "bookstore", "istio-injection=enabled", "--overwrite")
    done = _run("inject", "--diff", "-n", "bookstore", "deploy/web", KUBECONFIG=config)
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["--- a/deployment/web", "+++ b/deployment/web"]
    assert any(line.startswith("+") and "/osm-liveness-probe" in line for line in lines)
    # the mesh shows on the Namespace, which is no part of the output
    assert any("traffic.sidecar.istio.io/excludeInboundPorts" in line for line in lines)
    assert "Namespace" not in done.stdout
    done = _run("inject", "-n", "bookstore", "deploy/web", KUBECONFIG=config)
    assert "unchanged" not in bookstore.kubectl("apply", "-f", "-", stdin=done.stdout)
    assert "15901" in bookstore.kubectl("get", "deploy", "web", "-n", "bookstore", "-o", "yaml")
    done = _run("inject", "--diff", "-n", "bookstore", "deploy/none", KUBECONFIG=config)
    assert (done.returncode, done.stdout) == (2, "")
    assert 'deployments.apps "none" not found' in done.stderr
    done = _run("inject", "--in-place", "deploy/web", KUBECONFIG=config)
    assert "--in-place needs files, not objects of a cluster" in done.stderr


def test_what_is_not_there_is_said_in_the_api_servers_words(bookstore: ControlPlane) -> None:
    config = str(bookstore.kubeconfig)
    for arguments, words in (
        (["deploy/none"], 'deployments.apps "none" not found in namespace "default"\n'),
        (
            ["--kubeconfig", "/none"],
            "/none: there is no such file; --kubeconfig or KUBECONFIG names",
        ),
        (["--context", "none"], "there is no context none; there are e2e"),
        (["-n", "none"], 'namespaces "none" not found\n'),
        (["-n", "a", "no/file"], "no: is no file, and no kind that has pods: po, deploy, "),
        (["-n", "a", "deploy/x", "-l", "a=b"], "x is named: leave -l out"),
    ):
        done = _run("verify", *arguments, KUBECONFIG=config)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    done = _run("verify", "-n", "default", KUBECONFIG=config)
    assert (done.returncode, done.stderr) == (0, "No pods found in namespace default.\n")
    done = _run("verify", "-A", KUBECONFIG="/none")
    assert done.returncode == 2
    assert "/none" in done.stderr


def _kubeconfig(folder: Path, cluster: ControlPlane, user: dict[str, Any], **context: str) -> str:
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"].append({"name": "other", "user": user})
    added = {"cluster": "e2e", "user": "other", **context}
    config["contexts"].append({"name": "other", "context": added})
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def test_an_exec_plugin_says_who_we_are(bookstore: ControlPlane, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(_EXEC.format(folder=bookstore.logs))
    version = "client.authentication.k8s.io/v1"
    command = {"apiVersion": version, "command": sys.executable, "args": [str(plugin)]}
    more = {"provideClusterInfo": True, "interactiveMode": "Never"}
    config = _kubeconfig(tmp_path, bookstore, {"exec": command | more}, namespace="bookstore")
    arguments = ("verify", "--context", "other", "--kubeconfig", config, "pod", "plain")
    done = _run(*arguments, LOGGED_IN="yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Pod bookstore/plain\n")
    done = _run(*arguments, LOGGED_IN="no")
    assert done.returncode == 2
    assert "log in first" in done.stderr


def test_who_may_not_read_pods_is_told_so(bookstore: ControlPlane, tmp_path: Path) -> None:
    kubectl = bookstore.kubectl
    kubectl("create", "serviceaccount", "reader", "-n", "bookstore")
    token = kubectl("create", "token", "reader", "-n", "bookstore").strip()
    config = _kubeconfig(tmp_path, bookstore, {"token": token}, namespace="bookstore")
    arguments = ("verify", "--context", "other", "--kubeconfig", config)
    done = _run(*arguments)
    assert done.returncode == 2
    assert 'cannot list resource "pods" in API group "" in the namespace "bookstore"' in done.stderr
    # who may read pods alone is told what is left out
    kubectl("create", "role", "pods", "-n", "bookstore", "--verb=get,list", "--resource=pods")
    account = "--serviceaccount=bookstore:reader"
    kubectl("create", "rolebinding", "pods", "-n", "bookstore", "--role=pods", account)
    done = _run(*arguments, "pod/plain")
    assert done.returncode == 0
    assert 'without events: events is forbidden: User "system:serviceaccount:' in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="the folder of a pod's service account takes root")
def test_in_a_pod_the_service_account_is_taken(bookstore: ControlPlane, tmp_path: Path) -> None:
    kubectl = bookstore.kubectl
    kubectl("create", "serviceaccount", "viewer", "-n", "bookstore")
    kubectl(
        "create",
        "clusterrolebinding",
        "v",
        "--clusterrole=cluster-admin",
        "--serviceaccount=bookstore:viewer",
    )
    account = tmp_path / "kubernetes.io" / "serviceaccount"
    account.mkdir(parents=True)
    (account / "token").write_text(kubectl("create", "token", "viewer", "-n", "bookstore").strip())
    (account / "namespace").write_text("bookstore")
    shutil.copy(bookstore.authority_file, account / "ca.crt")
    script = (
        "mount -t tmpfs none /run; mkdir -p /run/secrets; "
        f'mount --bind {tmp_path} /run/secrets; exec "$@"'
    )
    host, port = bookstore.url.removeprefix("https://").split(":")
    service = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    done = subprocess.run(
        ["unshare", "-m", "sh", "-ec", script, "sh", *PROGRAM, "verify", "pod/plain"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, **service, "HOME": str(tmp_path), "KUBECONFIG": ""},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Pod bookstore/plain\n")
