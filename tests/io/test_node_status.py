"""Node mode's own port: whoever scrapes it, or does not read, costs no pod its probes."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import uvloop
from prometheus_client.parser import text_string_to_metric_families

from osm_healthcheck.node.agent import NodeAgent, NodeSettings, ServedPod
from osm_healthcheck.node.pod import Pod
from osm_healthcheck.node.status import StatusServer
from osm_healthcheck.probes.declaration import read_declaration
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.probes.targets import targets_of
from osm_healthcheck.server.logs import Log
from osm_healthcheck.server.page import MAX_READERS, PAGE_SECONDS
from osm_healthcheck.server.pod_server import PodServer
from osm_healthcheck.server.results import Results, Tally, TargetResult
from osm_healthcheck.server.settings import PodSettings
from osm_healthcheck.wire.dial import Network
from osm_healthcheck.wire.lingering import LingeringSockets
from tests.io.sidecar import capture, http_probe, tcp_probe
from tests.io.wire import TIMEOUT, own_address, parse

PODS = 250  # whose page is 600 kB
PORT = 9092
PROBES = {
    "app": {
        "livenessProbe": http_probe(8080, "/l"),
        "readinessProbe": http_probe(8080, "/r"),
        "startupProbe": tcp_probe(8080),
    }
}


class Node:
    """An agent with pods that have been probed once. ``turns`` are those of somebody else."""

    def __init__(self) -> None:
        self.address = own_address()
        self.turns = 0
        self.looked_at: list[int] = []  # the turn in which each pod was looked at
        loop, log = asyncio.get_running_loop(), capture([])
        self.agent = NodeAgent(NodeSettings(), log, LingeringSockets(1))
        own = OwnPorts()
        targets = targets_of(read_declaration(json.dumps(PROBES), "probes", own))
        settings = PodSettings(targets=targets, ports=own, pod_ip="192.0.2.1")
        for number in range(PODS):
            server = PodServer(settings, Network(), 64, log, loop, self.agent.shared)
            server.results = Watched(log, self)
            for target in targets.all():
                server.results.record(target, TargetResult.SUCCESS, 0.01)
            name = f"pod-{number}"
            pod = Pod(name, "shop", name, b"", ("192.0.2.1",), "/x", None)  # type: ignore[arg-type]
            self.agent.served[name] = ServedPod(pod, server, loop.time())

    async def scrape(self, path: str = "/metrics") -> str:
        reader, writer = await asyncio.open_connection(self.address, PORT)
        with contextlib.closing(writer):
            writer.write(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path.encode())
            answer = parse(await reader.read(), True)
        assert (answer.status, answer.whole) == (200, True)
        return answer.body.decode()

    async def do_not_read(self) -> socket.socket:
        """A scrape that takes as little as it can, and reads none of it."""
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        sock.setblocking(False)
        await loop.sock_connect(sock, (self.address, PORT))
        await loop.sock_sendall(
            sock, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        return sock


class Watched(Results):
    """The results of a pod, which note when they are looked at."""

    def __init__(self, log: Log, node: Node) -> None:
        super().__init__(log)
        self._node = node

    def tallies(self) -> list[Tally]:
        self._node.looked_at.append(self._node.turns)
        return super().tallies()


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Node]:
    node = Node()

    async def count() -> None:
        while True:
            await asyncio.sleep(0)
            node.turns += 1

    async with asyncio.timeout(TIMEOUT), StatusServer(node.agent).listening(node.address, PORT):
        counting = asyncio.create_task(count())
        try:
            yield node
        finally:
            counting.cancel()


def run(test: Callable[[Node], Coroutine[Any, Any, None]]) -> None:
    async def with_a_node() -> None:
        async with serving() as node:
            await test(node)

    uvloop.run(with_a_node())


def test_of_a_scrape_no_turn_is_longer_than_a_pod() -> None:
    async def scrape(node: Node) -> None:
        page = await node.scrape()
        found = {one.name: one for one in text_string_to_metric_families(page)}
        assert [one.value for one in found["osm_healthcheck_node_pods"].samples] == [PODS]
        assert sum(one.value for one in found["osm_healthcheck_probes"].samples) == 3 * PODS
        assert len(set(node.looked_at)) == len(node.looked_at) == PODS

    run(scrape)


def test_many_scrapers_cost_what_one_a_second_costs() -> None:
    async def scrape(node: Node) -> None:
        started = time.monotonic()
        pages = await asyncio.gather(*(node.scrape() for _ in range(MAX_READERS)))
        for _ in range(20):
            pages.append(await node.scrape())
        assert len(set(pages)) <= 1 + (time.monotonic() - started) / PAGE_SECONDS
        assert len(node.looked_at) == PODS * len(set(pages))

    run(scrape)


def test_a_page_that_was_begun_is_made_for_others_though_its_reader_leaves() -> None:
    async def scrape(node: Node) -> None:
        leaving = await node.do_not_read()
        while not node.looked_at:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0)
        leaving.close()
        await node.scrape()
        assert len(node.looked_at) == PODS

    run(scrape)


def test_readers_that_do_not_read_make_room_for_others() -> None:
    async def scrape(node: Node) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            attackers = []
            for _ in range(MAX_READERS + 10):
                attackers.append(stack.enter_context(await node.do_not_read()))
                await node.scrape()
            for attacker in attackers[:10]:
                raw = b""
                with contextlib.suppress(ConnectionResetError):
                    while data := await loop.sock_recv(attacker, 1 << 16):
                        raw += data
                assert not parse(raw, True).whole

    run(scrape)


def test_what_is_asked_of_it_is_answered_with_one_line() -> None:
    async def ask(node: Node) -> None:
        reader, writer = await asyncio.open_connection(node.address, PORT)
        writer.write(b"POST /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = parse(await reader.read(), True)
        writer.close()
        assert (answer.status, answer.header("Allow")) == (405, "GET, HEAD")
        assert await node.scrape("/healthz") == "the agent is serving\n"
        assert len(json.loads(await node.scrape("/debug/pods"))["served"]) == PODS

    run(ask)
