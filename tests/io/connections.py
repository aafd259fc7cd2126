"""Connections of the server by themselves: real sockets in a running loop, and nothing behind."""

import asyncio
import contextlib
import select
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import uvloop

from osm_healthcheck.probes.addresses import AllowFrom
from osm_healthcheck.server.connection_limiter import ConnectionLimiter
from osm_healthcheck.server.head_reader import make_server
from osm_healthcheck.server.logs import Log
from tests.io.wire import TIMEOUT


class Context:
    """What the connections of a pod share; see ``ServerContext``."""

    allow_from: AllowFrom | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop, log: Log) -> None:
        self.loop = loop
        self.log = log
        self.limiter = ConnectionLimiter(loop, 16)
        self.make_reader = make_server()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run ``test`` in a loop, whose callbacks must not raise."""

    async def with_a_limit() -> None:
        unhandled: list[object] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: unhandled.append(context))
        async with asyncio.timeout(TIMEOUT):
            await test()
        assert not unhandled

    uvloop.run(with_a_limit())


@contextlib.contextmanager
def accepted() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A caller's end of a connection, and the server's; neither blocks."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname(), TIMEOUT) as caller,
    ):
        ours, _ = listening.accept()
        with ours:
            caller.setblocking(False)
            ours.setblocking(False)
            yield caller, ours


def wait_for(sock: socket.socket, event: int) -> None:
    """Wait until the kernel has something for ``sock``: ``POLLIN``, or ``POLLERR`` for a reset."""
    poll = select.poll()
    poll.register(sock, event)
    assert poll.poll(TIMEOUT * 1000)


async def read(sock: socket.socket) -> bytes:
    """All that comes, to the end."""
    data = b""
    while piece := await asyncio.get_running_loop().sock_recv(sock, 1 << 20):
        data += piece
    return data
