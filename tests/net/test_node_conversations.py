"""What agents, and the two processes of node mode, say to each other: where something fails."""

import asyncio
import contextlib
import json
import os
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from osm_healthcheck.node import handover as handover_module
from osm_healthcheck.node import messages
from osm_healthcheck.node.agent import NodeAgent, NodeSettings
from osm_healthcheck.node.cri import ContainerRuntime
from osm_healthcheck.node.handover import Handover, HandoverError, HandoverServer
from osm_healthcheck.node.handover_path import HandoverPath
from osm_healthcheck.node.pod_networks import PodNetworks
from osm_healthcheck.node.remote_networks import RemoteNetworks
from osm_healthcheck.node.socket_server import SocketServer
from osm_healthcheck.server.logs import TARGET_BURST, TARGET_PER_SECOND
from osm_healthcheck.wire.lingering import LingeringSockets
from tests.io.sidecar import capture

from .namespaces import PATIENCE, need

# of one line each, they do not fit into the buffer of a unix socket
_MANY = 1000


@contextlib.contextmanager
def no_file_left() -> Iterator[None]:
    """Let this process open nothing more."""
    free = os.dup(0)
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.asynccontextmanager
async def next_agent(path: HandoverPath) -> AsyncIterator[tuple[HandoverServer, socket.socket]]:
    """An agent that hands over, and its connection to the next one."""
    sock = path.listening()
    assert sock is not None
    server = HandoverServer(sock)
    caller = path.connection()
    assert caller is not None
    caller.settimeout(PATIENCE)
    with caller, contextlib.closing(server):
        yield server, caller


def test_a_pod_that_ends_in_the_middle_of_a_handover_is_left_out(tmp_path: Path) -> None:
    """Its number may be another file's at once, which is not the next agent's to have."""

    async def hand_over() -> None:
        path = HandoverPath(tmp_path / "handover.sock")
        with socket.create_server(("127.0.0.1", 0)) as stays:
            ends = socket.create_server(("127.0.0.1", 0))
            listening = {f"pod{number}": {"healthcheck": [stays]} for number in range(_MANY)}
            listening["last"] = {"healthcheck": [ends]}
            async with next_agent(path) as (server, caller):
                running = asyncio.create_task(server.run(lambda: listening, asyncio.Lock()))
                told = [await asyncio.to_thread(receive, caller)]
                ends.close()
                with socket.socket():  # takes the number
                    while told[-1]:
                        told.append(await asyncio.to_thread(receive, caller))
                assert told == [*[*listening][:-1], ""]
                caller.send(b"served\n")
                await running
                assert server.taken.is_set()

    asyncio.run(hand_over())


def receive(caller: socket.socket) -> str:
    """The pod of the next message, whose socket must listen; empty after the last one."""
    line, descriptors, _, _ = socket.recv_fds(caller, 1 << 16, 8)
    assert line, "it hung up"
    said = json.loads(line)
    for one in descriptors:
        with socket.socket(fileno=one) as sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    return str(said.get("pod", ""))


def test_what_is_handed_over_is_waited_for_in_the_event_loop() -> None:
    async def take_over() -> None:
        before, after = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        after.setblocking(False)
        taken = Handover(after)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            receiving = asyncio.create_task(taken.receive())
            await asyncio.sleep(0)  # it waits
            line = json.dumps({"pod": "pod", "names": ["healthcheck"]}).encode()
            socket.send_fds(before, [line], [listening.fileno()])
            while not taken.listeners:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0)
            [[one]] = taken.listeners["pod"].values()
            before.close()
            with pytest.raises(HandoverError, match="hung up before it had named all pods"):
                await receiving
            assert (taken.listeners, one.fileno()) == ({}, -1)

    asyncio.run(take_over())


def test_an_agent_that_hands_nothing_over_is_waited_for_in_all_so_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handover_module, "SECONDS", 0.01)
    before, after = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    after.setblocking(False)
    with before, pytest.raises(HandoverError, match=r"no end after 0\.01 s"):
        asyncio.run(Handover(after).receive())


def test_an_agent_without_files_hands_over_once_it_has_some(tmp_path: Path) -> None:
    async def hand_over() -> None:
        async with next_agent(HandoverPath(tmp_path / "handover.sock")) as (server, caller):
            with no_file_left():
                running = asyncio.create_task(server.run(dict, asyncio.Lock()))
                await asyncio.sleep(0)  # it has tried by then
            assert await asyncio.to_thread(receive, caller) == ""
            caller.send(b"served\n")
            await running
            assert server.taken.is_set()

    asyncio.run(hand_over())


class Running:
    """The process with the rights, in this one: its runtime does not answer."""

    def __init__(self, folder: Path, user: int) -> None:
        self.lines: list[dict[str, Any]] = []
        self._path = folder / "sockets.sock"
        self.server = SocketServer(self._path, user, HandoverPath(None), capture(self.lines))
        runtime = ContainerRuntime(str(folder / "cri.sock"))
        self.networks = PodNetworks(runtime, folder, self.server)

    def connect(self) -> socket.socket:
        """A connection to it."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(os.fspath(self._path))
        sock.setblocking(False)
        return sock

    def logged(self, message: str) -> int:
        """How many lines say that."""
        return sum(line["message"] == message for line in self.lines)


@contextlib.asynccontextmanager
async def sockets_server(folder: Path, user: int) -> AsyncIterator[Running]:
    running = Running(folder, user)
    task = asyncio.create_task(running.server.run(running.networks))
    try:
        async with asyncio.timeout(PATIENCE):
            yield running
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        running.server.close()


async def is_answered(sock: socket.socket) -> bool:
    loop = asyncio.get_running_loop()
    sock.send(messages.SOCKETS + b"\4no pod")
    return (await loop.sock_recv(sock, 1 << 16))[:1] == messages.SOCKETS


def test_without_files_a_server_is_served_once_there_are_some(tmp_path: Path) -> None:
    async def serve() -> None:
        async with sockets_server(tmp_path, os.getuid()) as running:
            with running.connect() as sock:
                with no_file_left():
                    await asyncio.sleep(0)  # it has tried by then
                assert await is_answered(sock)

    asyncio.run(serve())


def test_how_often_another_user_connects_is_not_the_size_of_the_log(tmp_path: Path) -> None:
    async def refuse() -> None:
        loop = asyncio.get_running_loop()
        async with sockets_server(tmp_path, os.getuid() + 1) as running:
            started = time.monotonic()
            for _ in range(200):
                with running.connect() as sock:
                    assert await loop.sock_recv(sock, 1) == b""
            lines = running.logged("another user is not served")
            most = TARGET_BURST + TARGET_PER_SECOND * (time.monotonic() - started)
            assert 1 <= lines <= most

    asyncio.run(refuse())


def test_to_a_server_that_has_ended_nothing_is_said(tmp_path: Path) -> None:
    async def talk() -> None:
        async with sockets_server(tmp_path, os.getuid()) as running:
            with running.connect() as sock:
                assert await is_answered(sock)
            for number in range(5000):
                running.server.gone(f"pod{number}")
            assert not [line for line in running.lines if line["level"] == "warning"]
            with running.connect() as sock:
                assert await is_answered(sock)

    asyncio.run(talk())


class StoppedClock(asyncio.SelectorEventLoop):
    """An event loop whose time a test sets."""

    now = 0.0

    def time(self) -> float:
        """The time that timers are held against."""
        return self.now


def test_where_it_is_hung_up_on_at_once_the_server_waits_before_it_connects_again(
    tmp_path: Path,
) -> None:
    """As where the process with the rights serves another user."""
    need(root=True)
    lines: list[dict[str, Any]] = []
    path = tmp_path / "sockets.sock"

    async def connect(loop: StoppedClock) -> None:
        agent = NodeAgent(NodeSettings(), capture(lines), LingeringSockets(1))
        running = asyncio.create_task(RemoteNetworks(path, agent).run())

        async def hang_up() -> int:
            """Hang up whenever it connects; how often that was."""
            times = 0
            for _ in range(100):
                await asyncio.sleep(0)
                with contextlib.suppress(BlockingIOError):
                    listening.accept()[0].close()
                    times += 1
            return times

        assert await hang_up() == 1
        loop.now = 1.0
        assert await hang_up() == 1
        running.cancel()

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(os.fspath(path))
        listening.listen()
        listening.setblocking(False)
        with asyncio.Runner(loop_factory=StoppedClock) as runner:
            loop = runner.get_loop()
            assert isinstance(loop, StoppedClock)
            runner.run(connect(loop))
    assert "it has ended, or serves another user" in lines[0]["reason"]
