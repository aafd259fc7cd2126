"""What agents, and the two processes of node mode, say to each other: where something fails."""

import asyncio
import contextlib
import json
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from osm_healthcheck.node.handover import HandoverServer
from osm_healthcheck.node.handover_path import HandoverPath

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
