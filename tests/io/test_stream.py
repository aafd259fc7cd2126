"""A connection to an app that sends more than anybody reads."""

import asyncio
import socket

import pytest

from osm_healthcheck.wire.lingering import LingeringSockets
from osm_healthcheck.wire.stream import CHUNK_BYTES, TURN_BYTES, Stream


def test_an_answer_is_not_looked_for_before_it_comes() -> None:
    """Nobody answers as soon as he is asked: a look would be a call for nothing."""
    looks: list[int] = []

    class Looked(socket.socket):
        def recv(self, size: int, flags: int = 0) -> bytes:
            looks.append(size)
            return super().recv(size, flags)

    async def run() -> None:
        ours, app = socket.socketpair()
        with Looked(fileno=ours.detach()) as sock, app:
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            stream = Stream(sock, loop, ("127.0.0.1", 1), LingeringSockets())
            for question in (b"one", b"two"):
                await stream.send(question)
                answer = asyncio.create_task(stream.receive())
                await asyncio.sleep(0)
                assert app.recv(100) == question
                app.send(question)
                assert await answer == question

    asyncio.run(run())
    assert len(looks) == 2


@pytest.mark.parametrize("size", [CHUNK_BYTES, 1500, 100])
def test_others_get_their_turn_while_an_app_floods(size: int) -> None:
    """No more than `TURN_BYTES` are read, in 64 pieces at most, before the loop turns."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def flood() -> tuple[list[int], list[int]]:
        received, calls = [0], [0]
        neighbour = asyncio.create_task(count())
        reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with reader, writer:
            reader.setblocking(False)
            writer.setblocking(False)
            stream = Stream(
                reader, asyncio.get_running_loop(), ("127.0.0.1", 1), LingeringSockets()
            )
            for _ in range(300):
                # there is always something to read
                writer.send(b"x" * size)
                before = turns
                data = await stream.receive()
                if turns > before:
                    received.append(0)
                    calls.append(0)
                received[-1] += len(data)
                calls[-1] += 1
        neighbour.cancel()
        return received, calls

    received, calls = asyncio.run(flood())
    assert len(calls) > 4
    assert max(received) <= TURN_BYTES + CHUNK_BYTES
    assert 1 < max(calls) <= 65, "nor is a turn of the loop due after each piece"
