"""inject --proxy node: rewritten probes and an annotation, and nothing added to the pod."""

import copy
import json
import subprocess
import sys
from typing import Any

import pytest

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.pods import pods_in
from osm_healthcheck.injection.uninject import uninject
from osm_healthcheck.mesh.annotations import MESHES
from osm_healthcheck.probes.constants import DECLARED_PROBES
from osm_healthcheck.probes.declaration import read_declaration
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.verification.findings import Mark
from osm_healthcheck.verification.verify import Context, verify
from tests.manifests.strategies import VERSION

from .manifests import HTTP, TCP, after, app, pod, warnings

MANIFEST = pod(app(livenessProbe=HTTP, readinessProbe=TCP), app("other", startupProbe=TCP))
INJECT = [sys.executable, "-m", "osm_healthcheck", "inject", "--proxy", "node"]


def findings(manifest: Any) -> list[tuple[Mark, str, str]]:
    [found] = pods_in(manifest, Validation())
    context = Context(VERSION, tuple(MESHES.values()))
    return [(one.mark, one.subject, one.text) for one in verify(found, context)]


def test_nothing_is_added_but_annotations() -> None:
    injected = after(MANIFEST, "istio", proxy="node")
    assert injected["spec"].keys() == MANIFEST["spec"].keys()
    for before, now in zip(
        MANIFEST["spec"]["containers"], injected["spec"]["containers"], strict=True
    ):
        assert now.keys() == before.keys()
    annotations = injected["metadata"]["annotations"]
    assert annotations["traffic.sidecar.istio.io/excludeInboundPorts"] == "15901,15904"
    declared = json.loads(annotations[DECLARED_PROBES])
    assert declared == {
        "app": {"livenessProbe": HTTP, "readinessProbe": TCP},
        "other": {"startupProbe": TCP},
    }
    assert len(read_declaration(annotations[DECLARED_PROBES], "it", OwnPorts())) == 3


def test_it_asks_what_a_sidecar_would_be_asked() -> None:
    with_node = after(MANIFEST, "istio", proxy="node")["spec"]["containers"]
    with_sidecar = after(MANIFEST, "istio")["spec"]["containers"]
    assert with_node == with_sidecar


def test_it_is_undone_and_done_again() -> None:
    injected = after(MANIFEST, "linkerd", proxy="node")
    assert after(injected, "linkerd", proxy="node") == injected
    assert uninject(injected, VERSION).manifest == MANIFEST
    # the other way of answering takes the place of this one
    assert after(injected, "linkerd") == after(MANIFEST, "linkerd")
    assert after(after(MANIFEST, "linkerd"), "linkerd", proxy="node") == injected


def test_a_native_sidecar_that_starts_first_is_served_too() -> None:
    first = app("first", restartPolicy="Always", livenessProbe=HTTP)
    injected = after(pod(app(), init=[first]), "istio", proxy="node", sidecar="container")
    [container] = injected["spec"]["initContainers"]
    assert container["livenessProbe"]["httpGet"]["port"] == 15901


@pytest.mark.parametrize("name", ["kata", "kata-qemu", "gvisor", "runsc"])
def test_a_sandbox_of_its_own_is_left_alone(name: str) -> None:
    manifest = pod(app(livenessProbe=HTTP), runtimeClassName=name)
    assert after(manifest, "istio", proxy="node") == manifest
    [line] = warnings(manifest, "istio", proxy="node")
    assert f'left alone: its runtimeClassName "{name}"' in line
    assert after(manifest, "istio") != manifest
    manifest["spec"]["runtimeClassName"] = "nvidia"
    assert after(manifest, "istio", proxy="node") != manifest


@pytest.mark.parametrize(
    ("probes", "said"),
    [
        ([HTTP] * 65, "it has 65 probes and lifecycle hooks, and node mode takes 64"),
        (
            [{"httpGet": {"port": 8080, "httpHeaders": [{"name": "A", "value": "x" * 800}]}}] * 41,
            "its probes are longer than the 32768 bytes of node mode",
        ),
    ],
    ids=["many", "long"],
)
def test_more_than_the_agent_takes_is_left_alone(probes: list[Any], said: str) -> None:
    containers = [app(f"c{number}", livenessProbe=one) for number, one in enumerate(probes)]
    manifest = pod(*containers)
    assert after(manifest, "istio", proxy="node") == manifest
    assert any(said in line for line in warnings(manifest, "istio", proxy="node"))
    fallback = after(manifest, "istio", proxy="node", node_fallback="sidecar")
    assert "initContainers" in fallback["spec"]
    fits = pod(*containers[:20])
    assert DECLARED_PROBES in after(fits, "istio", proxy="node")["metadata"]["annotations"]


def test_hooks_that_are_left_do_not_count_among_what_the_agent_takes() -> None:
    stop = {"preStop": {"httpGet": {"path": "/", "port": 8080}}}
    manifest = pod(*(app(f"c{n}", livenessProbe=HTTP, lifecycle=stop) for n in range(33)))
    assert after(manifest, "istio", proxy="node") == manifest
    left = after(manifest, "istio", proxy="node", hooks="leave")
    assert DECLARED_PROBES in left["metadata"]["annotations"]


def test_verify_knows_it() -> None:
    injected = after(MANIFEST, "istio", proxy="node")
    found = findings(injected)
    assert {mark for mark, _, _ in found} == {Mark.GOOD}
    assert (Mark.GOOD, "port 15904", "to be served by the node's osm-healthcheck") in found
    told = "its declared probes are the originals"
    assert (Mark.GOOD, "the node's osm-healthcheck", told) in found


def test_verify_finds_what_is_wrong_with_it() -> None:
    less = copy.deepcopy(after(MANIFEST, "istio", proxy="node"))
    less["metadata"]["annotations"][DECLARED_PROBES] = (
        '{"app":{"readinessProbe":{"tcpSocket":{"port":8080}}}}'
    )
    wrong = {subject for mark, subject, _ in findings(less) if mark is Mark.WRONG}
    assert {"port 15901", "the node's osm-healthcheck"} == wrong
    gone = copy.deepcopy(after(MANIFEST, "istio", proxy="node"))
    del gone["metadata"]["annotations"][DECLARED_PROBES]
    wrong = {subject for mark, subject, _ in findings(gone) if mark is Mark.WRONG}
    assert {"port 15904"} <= wrong


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--mesh", "none"], "nothing in the pod keeps a redirect off"),
        (["--mesh", "consul"], "consul takes what the node's process asks the app"),
        (["--mesh", "istio", "--allow-from", "10.0.0.0/8"], "no sidecar is added"),
    ],
)
def test_where_it_cannot_work_it_is_refused(options: list[str], reason: str) -> None:
    done = subprocess.run(
        [*INJECT, *options], input="", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr


@pytest.mark.parametrize(
    "options", [["--no-init"], ["--node-fallback", "sidecar", "--allow-from", "10.0.0.0/8"]]
)
def test_where_something_else_does_it_it_is_taken(options: list[str]) -> None:
    allowed = [*INJECT, "--mesh", "none", *options]
    assert subprocess.run(allowed, input="", capture_output=True, check=False).returncode == 0
