"""Node mode on a real node: what containerd lists, its namespaces, and the verdicts."""

import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from .cases import CASES, Case
from .control_plane import ControlPlane
from .node import Node
from .pods import with_mesh, with_us
from .process import Process, until
from .verdicts import READY, RESTARTED, Pod

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

_STATUS = "127.0.0.1:9092"
_SAME = {"httpGet", "HTTPS, passed through", "tcpSocket", "grpc", "hung (SIGSTOP)"}
_CASES = [replace(case, options=()) for case in CASES if case.name in _SAME]


def _says(path: str) -> str:
    """What the agent says of itself; empty while it does not."""
    try:
        with urllib.request.urlopen(f"http://{_STATUS}{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


@pytest.fixture(scope="module")
def agent(whole: tuple[ControlPlane, Node]) -> Iterator[Process]:
    """The agent, on the node and in no pod: of a DaemonSet it would be the one container."""
    log = whole[1].folder / "agent.log"
    arguments = ("-m", "osm_healthcheck", "node", "--status", _STATUS)
    process = Process(log, Path(sys.executable), *arguments)
    try:
        process.wait_until(lambda: _says("/health/ready"))
        yield process
    finally:
        process.end()


@pytest.mark.parametrize("told", _CASES, ids=[case.name for case in _CASES])
def test_the_kubelet_concludes_what_it_would_without_a_mesh(
    agent: Process, kube: ControlPlane, machine: Node, told: Case
) -> None:
    name = told.manifest["metadata"]["name"]
    namespace = kube.namespace(f"node-{name}")
    injected = with_us(told.manifest, "--mesh", "istio", "--proxy", "node")
    names = [one["name"] for one in injected["spec"]["containers"]]
    assert names == [one["name"] for one in told.manifest["spec"]["containers"]]
    kube.kubectl.apply(with_mesh(injected), namespace=namespace)
    pod = Pod(kube, namespace, name)
    try:
        assert pod.wait_for_verdict() == READY, pod("events")
        before = pod.failures(*told.probe)
        assert told.fault is not None
        told.fault(pod, machine)
        assert pod.wait_for_verdict(other_than=READY) == RESTARTED, pod("events")
        assert pod.failures(*told.probe) - before == 3
    finally:
        kube.kubectl("delete", "namespace", namespace, "--wait=false")
    until(lambda: namespace not in _says("/debug/pods"), "the pod's sockets are closed")
