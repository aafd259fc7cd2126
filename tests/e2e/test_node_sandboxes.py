"""Node mode beside a real containerd, in which pods come and go: nothing is left of them.

``E2E_SANDBOXES`` says how many pods; 1,000 take ten minutes.
"""

import http.client
import os
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from .process import Process, until
from .sandboxes import Sandboxes, sandboxes

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

_COUNT = int(os.environ.get("E2E_SANDBOXES", "40"))
_AT_ONCE = 20
# files of calls to the runtime and of ours, which come and go; one that a pod left would be _COUNT
_CALLS = 10
_STATUS = "127.0.0.1:9093"
_PROBES = {"app": {"readinessProbe": {"tcpSocket": {"port": 8080}}}}


@dataclass(frozen=True)
class _Agent:
    process: Process

    def pods(self) -> int:
        """How many pods it serves."""
        with urllib.request.urlopen(f"http://{_STATUS}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return next(
            int(float(line.partition(" ")[2]))
            for line in lines
            if line.startswith("osm_healthcheck_node_pods ")
        )

    def descriptors(self) -> int:
        """How many files it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandboxes]:
    if "E2E_CGROUP" not in os.environ:
        pytest.skip("a container runtime needs the namespaces that .ci/e2e makes")
    folder = tmp_path_factory.mktemp("sandboxes")
    with sandboxes(folder, os.environ["E2E_CGROUP"]) as running:
        yield running


@pytest.fixture(scope="module")
def agent(runtime: Sandboxes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Agent]:
    log = tmp_path_factory.mktemp("agent") / "agent.log"
    arguments = ("-m", "osm_healthcheck", "node", "--runtime", runtime.socket, "--status", _STATUS)
    process = Process(log, Path(sys.executable), *arguments)
    try:
        process.wait_until(lambda: '"started"' in log.read_text())
        yield _Agent(process)
    finally:
        process.end()


def _check(address: str) -> int:
    """The status of a check of a port on which nothing listens."""
    connection = http.client.HTTPConnection(address, 15904, timeout=10)
    connection.request("GET", "/osm-healthcheck", headers={"Original-Tcp-Port": "8080"})
    return connection.getresponse().status


def test_pods_come_and_go_and_leave_nothing(runtime: Sandboxes, agent: _Agent) -> None:
    namespaces = set(Path("/run/netns").iterdir())  # of pods that were here before, and may end
    before = 0
    with ThreadPoolExecutor(4) as pool:
        for first in range(0, _COUNT, _AT_ONCE):
            names = [f"pod-{first + number}" for number in range(_AT_ONCE)]
            made = list(pool.map(lambda name: runtime.run(name, _PROBES), names))
            until(lambda: agent.pods() == _AT_ONCE, "all pods are served")
            assert {_check(one) for one in pool.map(runtime.address, made)} == {404}
            list(pool.map(runtime.remove, made))
            until(lambda: agent.pods() == 0, "all pods are released")
            before = before or agent.descriptors()
            assert agent.descriptors() < before + _CALLS
            until(lambda: set(Path("/run/netns").iterdir()) <= namespaces, "no namespace is left")


def test_while_containerd_starts_anew_pods_are_served(runtime: Sandboxes, agent: _Agent) -> None:
    made = [runtime.run("before", _PROBES)]
    address = runtime.address(made[0])
    until(lambda: agent.pods() == 1, "the pod is served")
    runtime.restart()
    assert _check(address) == 404
    made.append(runtime.run("after", _PROBES))
    until(lambda: agent.pods() == 2, "the pod that came since is served too")
    assert {_check(runtime.address(one)) for one in made} == {404}
    for one in made:
        runtime.remove(one)
    until(lambda: agent.pods() == 0, "all pods are released")
