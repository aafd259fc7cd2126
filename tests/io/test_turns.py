"""However fast an app and its caller are, the others get their turn after `TURN_BYTES`.

Told by bytes between two turns of somebody else, not by time.
"""

import asyncio
import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator

import pytest
import uvloop

from osm_healthcheck.server.connection import TURN_BYTES, Connection
from osm_healthcheck.server.reply import Caller, RememberedHeads, Reply
from osm_healthcheck.server.request import Request
from osm_healthcheck.server.transport import Acceptor
from osm_healthcheck.wire.stream import CHUNK_BYTES
from tests.io.connections import Context
from tests.io.sidecar import capture
from tests.io.wire import TIMEOUT

ANSWER_BYTES = 3 * TURN_BYTES


class BigAnswer:
    """An endpoint and its one answer, whose pieces are always at hand. ``sent`` are its bytes.

    ``piece_bytes`` is how long each piece is.
    """

    lasting = False
    held_bytes = 0
    head_only = False

    def __init__(self, piece_bytes: int) -> None:
        self.remembered = RememberedHeads()
        self.sent = 0
        self._piece = bytes(piece_bytes)

    def resolve(self, _request: Request) -> Reply:
        return self

    def take_over(self, _connection: Caller, _first: bytes) -> bool:
        return False

    def answer(self, connection: Caller) -> None:
        connection.start(self._answer(connection))

    async def _answer(self, connection: Caller) -> None:
        while self.sent < ANSWER_BYTES:
            self.sent += len(self._piece)
            await connection.write(self._piece)
        connection.close()


@contextlib.contextmanager
def reading(address: tuple[str, int]) -> Iterator[None]:
    """A caller that reads as fast as it can."""

    def read() -> None:
        with socket.create_connection(address, TIMEOUT) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            while sock.recv(1 << 20):
                pass

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        thread.join(TIMEOUT)


async def bytes_at_turns(piece_bytes: int) -> list[int]:
    """How much had been sent each time that somebody else had a turn."""
    loop = asyncio.get_running_loop()
    big = BigAnswer(piece_bytes)
    context = Context(loop, capture([]))
    listener = socket.create_server(("127.0.0.1", 0))
    # All of it fits into the kernel's buffers (it doubles this): nothing but us makes it wait.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ANSWER_BYTES)
    acceptor = Acceptor(
        listener, lambda sock, peer: Connection(context, big, sock, peer).begin(), loop
    )
    found = [0]
    with reading(listener.getsockname()):
        async with asyncio.timeout(TIMEOUT):
            while big.sent < ANSWER_BYTES:
                await asyncio.sleep(0)
                found.append(big.sent)
            acceptor.close()
            await context.limiter.finish(TIMEOUT)
    return found


@pytest.mark.parametrize(
    ("piece_bytes", "turn_bytes"),
    [
        (CHUNK_BYTES, TURN_BYTES),
        (TURN_BYTES, TURN_BYTES),
        (TURN_BYTES - 1, 2 * (TURN_BYTES - 1)),  # a byte is missing to a turn, each time
    ],
)
def test_a_neighbour_has_its_turn_after_so_many_bytes(piece_bytes: int, turn_bytes: int) -> None:
    found = uvloop.run(bytes_at_turns(piece_bytes))
    assert found[-1] >= ANSWER_BYTES
    between = {after - before for before, after in itertools.pairwise(found)}
    assert between == {0, turn_bytes}
