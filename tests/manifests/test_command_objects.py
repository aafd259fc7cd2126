"""Files or objects of a cluster: which of both an argument is, and objects as manifests."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from osm_healthcheck.cluster.resources import resource_named
from tests.manifests.test_command import GOOD, run

# What PyYAML leaves bare, and go-yaml reads as a number or a boolean.
_WORDS = ("12e5", "1e3", ".5e3", "+1e3", "1.e5", "08", "0o17", "y", "n")
_PATH = "/apis/apps/v1/namespaces/bookstore/deployments/web"


def _deployment() -> dict[str, Any]:
    labels = {"app": "web", **{f"axis-{number}": word for number, word in enumerate(_WORDS)}}
    container = {
        "name": "app",
        "image": "app",
        "env": [{"name": "n", "value": word} for word in _WORDS],
        "livenessProbe": {"tcpSocket": {"port": 80}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": {**labels, "y": "n"}},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[str]:
    """A file that names an API server which has one Deployment."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == _PATH
            value = _deployment() if found else {"kind": "Status", "message": "not found"}
            body = json.dumps(value).encode()
            self.send_response(200 if found else 403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [
                {"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
            ],
            "users": [{"name": "u", "user": {}}],
        }
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(config))
        yield str(path)
        server.shutdown()
        thread.join()


def test_strings_of_an_object_stay_strings(kubeconfig: str) -> None:
    done = run(
        *("inject", "--mesh", "istio", "--kubeconfig", kubeconfig, "-n", "bookstore", "deploy/web")
    )
    assert done.returncode == 0, done.stderr
    assert 'deployment "web" injected: 1 probe' in done.stderr
    as_json = run("uninject", "-o", "json", text=done.stdout)  # reads YAML as go-yaml does
    assert json.loads(as_json.stdout) == _deployment()
    assert yaml.safe_load(done.stdout)["metadata"] == _deployment()["metadata"]


def test_a_suffix_of_a_kind_is_its_group() -> None:
    for name in ("deploy", "Deployment", "deployments.apps", "deployments.v1.apps", "pods.v1."):
        assert resource_named(name), name
    for name in ("deployment.yaml", "deploy.yml", "pod.json", "pods.apps", "deploy.", "job.apps"):
        assert resource_named(name) is None, name


@pytest.mark.parametrize(
    ("command", "name"),
    [("inject", "deployment.yaml"), ("verify", "deploy/typo.yaml"), ("diagnose", "pod.json")],
)
def test_a_file_that_is_not_there_is_no_object(command: str, name: str, tmp_path: Path) -> None:
    done = run(command, name, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{name}: cannot be read: No such file or directory" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-n", "d", "deploy.yaml"], "either files, as deploy.yaml, or a cluster, as -n says"),
        (["-n", "d", "top.yaml"], "either files, as top.yaml, or a cluster, as -n says"),
        (["-n", "d", "none.yaml"], "either files, as none.yaml, or a cluster, as -n says"),
        (["-n", "d", "-f", "deploy.yaml"], "either files, as deploy.yaml, or a cluster"),
        (["--context", "c", "-f", "deploy"], "either files, as deploy, or a cluster, as --context"),
        (["deploy/web", "-f", "pod/x"], "objects of a cluster, as deploy/web, or files, as pod/x"),
        (["deploy", "top.yaml"], "objects of a cluster, as deploy, or files, as top.yaml"),
        (["-n", "d"], "-n, --context and --kubeconfig are of a cluster: name its objects"),
        (["--context", "c"], "name its objects, as deploy/web"),
    ],
)
def test_files_and_a_cluster_are_not_read_together(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    for name in ("deploy.yaml", "top.yaml"):
        (tmp_path / name).write_text(GOOD)
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "none")}
    done = run("inject", *arguments, text=GOOD, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
