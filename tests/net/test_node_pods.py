"""Node mode among many pods: what each runtime tells of them, and what one does to the others."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from .container_runtime import CONTAINERD, CRI_O, CRI_O_WITH_PAUSE, FakeRuntime, fake_runtime
from .namespaces import PATIENCE, Namespace, need
from .node_programs import APP, CHECK, LIVENESS, PROBES, agent, ask, pods, status, until
from .program import Program

_GOOD = b"HTTP/1.1 200 "
_SLOW = {"app": {"livenessProbe": {"httpGet": {"port": APP}, "timeoutSeconds": PATIENCE}}}


@pytest.fixture
def listing(tmp_path: Path) -> Iterator[FakeRuntime]:
    with fake_runtime(tmp_path / "cri.sock") as running:
        yield running


@contextmanager
def bare_pods(count: int, prefix: str) -> Iterator[list[Namespace]]:
    """Pods that only they themselves can reach, with an app that takes every connection."""
    need("ip", root=True)
    found = [Namespace(f"{prefix}-{number}", "127.0.0.1", "") for number in range(count)]
    with ExitStack() as stack:
        for pod in found:
            stack.callback(pod.close)
            subprocess.run(["ip", "netns", "add", pod.name], check=True)
            pod.run("ip", "link", "set", "lo", "up")
            listening = stack.enter_context(pod.socket(socket.AF_INET))
            listening.bind(("127.0.0.1", APP))
            listening.listen(1024)
        yield found


def test_what_containerd_and_crio_tell_of_pods_of_any_address_family(
    listing: FakeRuntime,
) -> None:
    with pods(3) as (first, second, third):
        listing.add("containerd", first[0], PROBES, told=CONTAINERD)
        listing.add("crio", second[0], PROBES, told=CRI_O, addresses=(second[0].ipv4,))
        six = third[0]
        six.run("ip", "address", "del", f"{six.ipv4}/24", "dev", "eth0")
        listing.add("six", six, PROBES, told=CRI_O_WITH_PAUSE, addresses=(six.ipv6,))
        with agent(listing):
            for (pod, node), address in (
                (first, first[0].ipv4),
                (first, first[0].ipv6),
                (second, second[0].ipv4),
                (third, six.ipv6),
            ):
                assert ask(node, address, 15904, CHECK).startswith(_GOOD), pod.name
                assert ask(node, address, 15901, LIVENESS).startswith(_GOOD), pod.name


def test_another_namespace_at_the_same_path_is_another_pods(listing: FakeRuntime) -> None:
    """A file of the same name, and as soon as the first is let go an inode of the same number."""
    with agent(listing) as program:
        for number in range(3):
            with bare_pods(1, "again") as [pod]:
                listing.add(f"pod{number}", pod, PROBES)
                until(partial(_is_served, pod))
                listing.pods.clear()
            until(partial(_are_released, program, number + 1))


def _is_served(pod: Namespace) -> bool:
    return ask(pod, "127.0.0.1", 15904, CHECK).startswith(_GOOD)


def _are_released(program: Program, count: int) -> bool:
    return sum("pod released" in line for line in program.lines) == count


def test_a_pod_that_stalls_costs_its_own_probes_alone(listing: FakeRuntime) -> None:
    """Its app takes connections and says nothing; more callers wait than it may have."""
    with pods(1) as [(calm, node)], bare_pods(1, "stalled") as [stalled]:
        listing.add("calm", calm, PROBES)
        listing.add("stalled", stalled, _SLOW, addresses=("127.0.0.1",))
        with agent(listing), ExitStack() as stack:
            waiting = []
            for _ in range(100):
                caller = stack.enter_context(stalled.socket(socket.AF_INET))
                caller.connect(("127.0.0.1", 15901))
                caller.sendall(LIVENESS)
                waiting.append(caller)
            for _ in range(50):
                assert ask(node, calm.ipv4, 15904, CHECK).startswith(_GOOD)
                assert ask(node, calm.ipv4, 15901, LIVENESS).startswith(_GOOD)
            waiting[-1].setblocking(False)
            with pytest.raises(BlockingIOError):
                waiting[-1].recv(1)


def test_a_pod_that_cannot_be_used_is_tried_less_and_less_often(
    listing: FakeRuntime, tmp_path: Path
) -> None:
    """However often the runtime is asked, as it is after each new file of a namespace."""
    folder = tmp_path / "namespaces"
    folder.mkdir()
    with agent(listing, "--namespaces", str(folder)):
        listing.add("pod", Namespace("nowhere", "127.0.0.1", ""), PROBES)
        listing.statuses.clear()
        listing.calls.clear()
        (folder / "new").touch()
        until(lambda: listing.calls.count("ListPodSandbox") > 40)
        assert 1 <= listing.calls.count("PodSandboxStatus") < 20


@pytest.mark.slow
def test_250_pods_in_one_process(listing: FakeRuntime) -> None:
    with bare_pods(250, "many") as many:
        for pod in many:
            listing.add(pod.name, pod, PROBES, addresses=("127.0.0.1",))
        with agent(listing) as first:
            _ask_all(many)
            before = len(list(Path(f"/proc/{first.process.pid}/fd").iterdir()))
            first.end()
        with agent(listing) as again:  # after a crash
            _ask_all(many)
            descriptors = Path(f"/proc/{again.process.pid}/fd")
            assert abs(len(list(descriptors.iterdir())) - before) < 10
            assert "osm_healthcheck_node_pods 250\n" in status(again, "/metrics")
            listing.pods.clear()
            until(partial(_are_released, again, len(many)))
            until(lambda: len(list(descriptors.iterdir())) < 50)


def _ask_all(many: list[Namespace]) -> None:
    wrong = [pod.name for pod in many if not ask(pod, "127.0.0.1", 15904, CHECK).startswith(_GOOD)]
    assert wrong == []
