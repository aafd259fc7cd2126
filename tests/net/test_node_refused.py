"""Pods that node mode cannot serve: what they cost those that it serves."""

import asyncio
import json
import socket
from collections.abc import Iterable
from typing import Any

import pytest

from osm_healthcheck.node import agent as agent_module
from osm_healthcheck.node.agent import NodeAgent, NodeSettings
from osm_healthcheck.node.network_namespace import NetworkNamespace
from osm_healthcheck.node.pod import ListeningSockets, Pod
from osm_healthcheck.probes.constants import MAX_NODE_DECLARED
from osm_healthcheck.wire.lingering import LingeringSockets
from tests.io.sidecar import capture, tcp_probe

from .namespaces import need

PODS = 20


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time a test sets. ``turns`` are counted while one waits."""

    now = 0.0
    turns = 0

    def time(self) -> float:
        """The time that timers are held against."""
        return self.now

    async def wait(self, turns: int) -> None:
        """Let the others have so many turns."""
        for _ in range(turns):
            await asyncio.sleep(0)
            self.turns += 1


class Watched(NetworkNamespace):
    """The namespace of the test, which notes in which turn its ports were asked for."""

    def __init__(self, loop: Clock) -> None:
        super().__init__("/proc/thread-self/ns/net")
        self._loop = loop
        self.asked: list[int] = []

    async def listen(self, ports: Iterable[int]) -> ListeningSockets:
        self.asked.append(self._loop.turns)
        return await super().listen(ports)


def test_ports_that_are_taken_are_tried_in_turns_and_declarations_are_read_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    need(root=True)
    read: list[str] = []
    read_all_declared: Any = agent_module.read_all_declared  # type: ignore[attr-defined]

    def count(text: str, *arguments: object) -> object:
        read.append(text)
        return read_all_declared(text, *arguments)

    monkeypatch.setattr(agent_module, "read_all_declared", count)
    declared = json.dumps({"app": {"livenessProbe": tcp_probe(8080)}}).encode()

    async def serve(loop: Clock) -> list[Watched]:
        agent = NodeAgent(NodeSettings(), capture([]), LingeringSockets(1))
        networks = [Watched(loop) for _ in range(PODS)]
        for number, network in enumerate(networks):
            name = f"pod-{number}"
            agent.found(Pod(name, "shop", name, declared, ("127.0.0.1",), "/x", network))
        running = asyncio.create_task(agent.run())
        for _ in range(60):
            # whatever else happens on the node
            agent.found(
                Pod("other", "shop", "other", b"no JSON", ("127.0.0.1",), "/x", networks[0])
            )
            await loop.wait(5 * PODS)
            loop.now += 0.5
        running.cancel()
        assert len(agent.refused) == PODS + 1
        return networks

    with (
        socket.create_server(("0.0.0.0", 15904)),  # as an app of all pods would
        asyncio.Runner(loop_factory=Clock) as runner,
    ):
        loop = runner.get_loop()
        assert isinstance(loop, Clock)
        networks = runner.run(serve(loop))
    # after 0, 1, 3, 7, 15 and 25 s
    assert [len(one.asked) for one in networks] == [6] * PODS
    for turns in zip(*(one.asked for one in networks), strict=True):
        assert len(set(turns)) == PODS
    assert read.count(declared.decode()) == PODS
    for one in networks:
        one.close()


@pytest.mark.parametrize(("containers", "is_served"), [(MAX_NODE_DECLARED, True), (700, False)])
def test_of_one_pod_only_so_many_probes_are_answered(containers: int, is_served: bool) -> None:
    need(root=True)
    lines: list[dict[str, Any]] = []
    declared = {f"a{number}": {"livenessProbe": tcp_probe(8080)} for number in range(containers)}

    async def serve() -> bool:
        agent = NodeAgent(NodeSettings(), capture(lines), LingeringSockets(1))
        network = NetworkNamespace("/proc/thread-self/ns/net")
        text = json.dumps(declared).encode()
        agent.found(Pod("pod", "shop", "web", text, ("127.0.0.1",), "/x", network))
        agent.listed()
        running = asyncio.create_task(agent.run())
        await agent.has_begun.wait()
        running.cancel()
        served = agent.served.copy()
        agent.gone("pod")
        network.close()
        return bool(served)

    assert asyncio.run(serve()) is is_served
    if not is_served:
        assert "more than 64 probes and lifecycle hooks are declared" in lines[0]["reason"]
