"""The proof for lifecycle hooks: through the mesh the kubelet's request gets what it gets without.

Any status is a success for the kubelet, and only a request without an answer fails.
"""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
import yaml

from tests.io.wire import parse, read_to_end

from .app import ANY, HTTP, HTTPS
from .meshed_pod import MeshedPod, meshed_pod
from .meshes import ISTIO, OSM, Mesh
from .namespaces import PATIENCE
from .pod_manifest import Manifest, container

HOOKS = {
    "postStart": {"httpGet": {"path": "/start", "port": HTTPS, "scheme": "HTTPS"}},
    "preStop": {"httpGet": {"path": "stop?now", "port": HTTP}},
}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "shop"},
    "spec": {"containers": [{"name": "web", "image": "web", "lifecycle": HOOKS}]},
}
SICK = 503


@pytest.fixture(scope="module")
def injected() -> Manifest:
    """The pod after ``osm-healthcheck inject``."""
    done = subprocess.run(
        [sys.executable, "-m", "osm_healthcheck", "inject", "--mesh", "none"],
        input=json.dumps(POD),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "whoever reaches port 15904 can call web.lifecycle.postStart" in done.stderr
    document: Manifest = yaml.safe_load(done.stdout)
    return document


@pytest.fixture
def here() -> Iterator[MeshedPod]:
    with meshed_pod() as made:
        yield made


def run(here: MeshedPod, document: Manifest, hook: str, host: str) -> int | None:
    """The status that the kubelet gets for a hook by HTTP; ``None`` where it gets no answer."""
    action = container(document, "web")["lifecycle"][hook]["httpGet"]
    assert action.get("scheme", "HTTP") == "HTTP"
    path = "/" + action["path"].removeprefix("/")
    with here.node.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.settimeout(PATIENCE)
        try:
            sock.connect((host, action["port"]))
            sock.sendall(
                f"GET {path} HTTP/1.1\r\nHost: a\r\nUser-Agent: kube-lifecycle/1.36\r\n"
                "Accept: */*\r\nAccept-Encoding: gzip\r\n\r\n".encode()
            )
            raw, orderly = read_to_end(sock)
        except OSError:
            return None
    return parse(raw, orderly).status if raw else None


@pytest.mark.parametrize("mesh", [OSM, ISTIO], ids=str)
def test_a_hook_in_a_mesh(here: MeshedPod, mesh: Mesh, injected: Manifest) -> None:
    pod = here.pod.ipv4
    here.app.start(ANY, SICK)
    assert run(here, POD, "preStop", pod) == SICK  # without a mesh
    here.intercept(mesh, "nft")
    assert run(here, POD, "preStop", pod) is None  # the problem
    here.bypass(injected)
    here.start_sidecar(injected)
    for host in here.addresses:
        for hook in HOOKS:
            assert run(here, injected, hook, host) == SICK
    here.app.kill()
    for host in here.addresses:
        for hook in HOOKS:
            assert run(here, injected, hook, host) is None
