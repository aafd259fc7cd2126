"""Node mode on a real node: the chart's DaemonSet beside containerd, and the kubelet's verdicts."""

import http.client
import json
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import yaml

from .cases import CASES, Case
from .control_plane import ControlPlane
from .helm import CHART, helm
from .node import Node
from .pods import Manifest, container, http_get, pod, tcp_socket, with_mesh, with_us
from .process import until
from .verdicts import READY, RESTARTED, Pod

pytestmark = pytest.mark.e2e

_NAMESPACE = "osm-healthcheck-node"
_NAME = "daemonset/osm-healthcheck-node"
_STATUS = 9092
_SAME = {"httpGet", "HTTPS, passed through", "tcpSocket", "grpc", "hung (SIGSTOP)"}
_CASES = [replace(case, options=()) for case in CASES if case.name in _SAME]


@dataclass(frozen=True)
class Agent:
    """The DaemonSet, on a cluster of one node."""

    cluster: ControlPlane

    def install(self, **values: str) -> None:
        """Apply the DaemonSet as the chart renders it with ``values`` of ``node``; wait for it."""
        options = ["--show-only", "templates/node.yaml", "--kube-version", "1.30.0"]
        for name, value in {"enabled": "true", **values}.items():
            options += ["--set", f"node.{name}={value}"]
        text = helm(self.cluster, _NAMESPACE, "template", "hc", str(CHART), *options)
        self.cluster.kubectl.apply(*yaml.safe_load_all(text), namespace=_NAMESPACE)
        self.wait_until_rolled_out()

    def pods(self) -> list[Any]:
        """Its pods that are not ending."""
        path = f"/api/v1/namespaces/{_NAMESPACE}/pods"
        found = self.cluster.api(path, labelSelector="app.kubernetes.io/component=node")["items"]
        return [one for one in found if "deletionTimestamp" not in one["metadata"]]

    def status(self, container: str) -> Any:
        """The status of one of its containers."""
        [found] = self.pods()
        statuses = found["status"]["containerStatuses"]
        return next(one for one in statuses if one["name"] == container)

    def metrics(self) -> str:
        """Its samples, by namespace and pod."""
        [found] = self.pods()
        url = f"http://{found['status']['podIP']}:{_STATUS}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())

    def log(self) -> str:
        """What it has logged, for who reads that a test failed."""
        return self.cluster.kubectl("logs", _NAME, "-n", _NAMESPACE, "--all-containers")

    def wait_until_rolled_out(self) -> None:
        """Wait until every pod is of the newest template, and ready."""
        status = ("rollout", "status", _NAME, "-n", _NAMESPACE, "--timeout=300s")
        self.cluster.kubectl(*status, seconds=310)


@pytest.fixture(scope="module")
def agent(whole: tuple[ControlPlane, Node]) -> Iterator[Agent]:
    """The DaemonSet, as the chart makes it, ready."""
    cluster, _ = whole
    label = {"pod-security.kubernetes.io/enforce": "privileged"}
    metadata = {"name": _NAMESPACE, "labels": label}
    cluster.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    running = Agent(cluster)
    running.install()
    yield running
    cluster.kubectl("delete", "namespace", _NAMESPACE, "--wait=false")


@pytest.mark.parametrize("told", _CASES, ids=[case.name for case in _CASES])
def test_the_kubelet_concludes_what_it_would_without_a_mesh(
    agent: Agent, kube: ControlPlane, machine: Node, told: Case
) -> None:
    injected = with_us(told.manifest, "--mesh", "istio", "--proxy", "node")
    _check_verdicts(agent, kube, machine, told, injected)


def _check_verdicts(
    agent: Agent, kube: ControlPlane, machine: Node, told: Case, injected: Manifest
) -> None:
    """In a mesh the pod of ``told`` gets Ready and, once it is ill, is restarted."""
    name = told.manifest["metadata"]["name"]
    namespace = kube.namespace(f"node-{name}")
    names = [one["name"] for one in injected["spec"]["containers"]]
    assert names == [one["name"] for one in told.manifest["spec"]["containers"]]
    assert "initContainers" not in injected["spec"]
    kube.kubectl.apply(with_mesh(injected), namespace=namespace)
    found = Pod(kube, namespace, name)
    try:
        assert found.wait_for_verdict() == READY, agent.log()
        until(lambda: f'namespace="{namespace}"' in agent.metrics(), "the pod is on the page")
        before = found.failures(*told.probe)
        assert told.fault is not None
        told.fault(found, machine)
        assert found.wait_for_verdict(other_than=READY) == RESTARTED, agent.log()
        assert found.failures_at_least(before + 3, *told.probe) - before == 3
    finally:
        kube.kubectl("delete", "namespace", namespace, "--wait=false")
    until(lambda: f'namespace="{namespace}"' not in agent.metrics(), "the pod is released")


@pytest.fixture(scope="module")
def served(agent: Agent, whole: tuple[ControlPlane, Node]) -> Iterator[list[Pod]]:
    """Some pods that the agent serves, Ready."""
    cluster, _ = whole
    namespace = cluster.namespace("node-served")
    app = container(livenessProbe=http_get(failureThreshold=60), readinessProbe=tcp_socket())
    manifests = [pod(f"shop-{number}", app) for number in range(3)]
    options = ("--mesh", "istio", "--proxy", "node")
    cluster.kubectl.apply(*(with_us(one, *options) for one in manifests), namespace=namespace)
    pods = [Pod(cluster, namespace, one["metadata"]["name"]) for one in manifests]
    for one in pods:
        assert one.wait_for_verdict() == READY, agent.log()
    yield pods
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def _ask(address: str) -> str:
    """One check of the app at an address: the status, or what went wrong."""
    connection = http.client.HTTPConnection(address, 15904, timeout=10)
    try:
        connection.request("GET", "/osm-healthcheck", headers={"Original-Tcp-Port": "7070"})
        return str(connection.getresponse().status)
    except OSError as error:
        return repr(error)
    finally:
        connection.close()


@contextmanager
def _asked_all_the_time(pods: list[Pod]) -> Iterator[list[str]]:
    """Ask each pod on and on; the answers."""
    answers: list[str] = []
    over = threading.Event()

    def work(address: str) -> None:
        while not over.wait(0.01):
            answers.append(_ask(address))

    addresses = [one.get()["status"]["podIP"] for one in pods]
    threads = [threading.Thread(target=work, args=(address,)) for address in addresses]
    for one in threads:
        one.start()
    try:
        yield answers
    finally:
        over.set()
        for one in threads:
            one.join()


def _refused(pods: list[Pod]) -> list[Counter[str]]:
    """The failures that the kubelet has told of, but for those of a machine that is too busy."""
    late = ("deadline exceeded", "statuscode: 504")
    return [
        Counter(
            {
                message: count
                for (_, message), count in one.messages("Unhealthy").items()
                if not any(word in message for word in late)
            }
        )
        for one in pods
    ]


def test_a_rolling_update_fails_no_probe(agent: Agent, served: list[Pod]) -> None:
    [before] = agent.pods()
    failed = _refused(served)
    change = {"spec": {"template": {"metadata": {"annotations": {"changed": "yes"}}}}}
    with _asked_all_the_time(served) as answers:
        until(lambda: len(answers) > 100, "pods are asked")
        patch = ("patch", _NAME, "-n", _NAMESPACE, "-p", json.dumps(change))
        agent.cluster.kubectl(*patch)
        agent.wait_until_rolled_out()
        until(lambda: len(agent.pods()) == 1, "the one before is ending")
        count = len(answers)
        until(lambda: len(answers) > count + 100, "pods are asked afterwards")
    [after] = agent.pods()
    assert after["metadata"]["name"] != before["metadata"]["name"]
    assert set(answers) == {"200"}
    assert _refused(served) == failed


@pytest.mark.parametrize("container", ["node", "sockets"])
def test_a_killed_agent_serves_every_pod_again(
    agent: Agent, served: list[Pod], machine: Node, container: str
) -> None:
    before = agent.status(container)
    addresses = [one.get()["status"]["podIP"] for one in served]
    machine.signal(before["containerID"], "KILL")

    def is_restarted() -> bool:
        return bool(agent.status(container)["restartCount"] > before["restartCount"])

    until(is_restarted, "it is restarted")
    # more of each than were made ahead
    for _ in range(20):
        until(lambda: {_ask(one) for one in addresses} == {"200"}, "all pods answer again")
    until(lambda: all(one.verdict() == READY for one in served), "all pods are Ready")


def test_where_the_mesh_has_no_annotation_the_agent_installs_the_bypass(
    agent: Agent, kube: ControlPlane, machine: Node
) -> None:
    """Last in this file: from here on the agent does that for all pods."""
    agent.install(bypass="true")
    told = replace(_CASES[0], manifest=pod("bypassed", *_CASES[0].manifest["spec"]["containers"]))
    injected = with_us(told.manifest, "--mesh", "none", "--no-init", "--proxy", "node")
    annotations = injected["metadata"]["annotations"]
    assert {one.partition("/")[0] for one in annotations} == {"healthcheck.openservicemesh.io"}
    _check_verdicts(agent, kube, machine, told, injected)
