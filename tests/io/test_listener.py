"""Connections of the injector: who does not read an answer has its time limit."""

import asyncio
import contextlib
import socket

import pytest
from aiohttp import web

from osm_healthcheck.server import connection_limiter, listener
from osm_healthcheck.server.listener import Listener
from tests.io.attacked_pod import open_files
from tests.io.wire import TIMEOUT, own_address

# more than the kernel takes for a reader
ANSWER_BYTES = 16 << 20


def test_an_answer_that_is_not_read_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_IDLE_SECONDS", 0.01)
    monkeypatch.setattr(connection_limiter, "_CLOSE_EXPIRED_SECONDS", 0.01)
    answered: asyncio.Queue[asyncio.Transport] = asyncio.Queue()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        answered.put_nowait(request.transport)
        return web.Response(body=bytes(ANSWER_BYTES))

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server((own_address(), 0)) as listening, socket.socket() as caller:
            listening.setblocking(False)
            serving = Listener([listening], answer)
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            caller.setblocking(False)
            async with asyncio.timeout(TIMEOUT):
                await loop.sock_connect(caller, listening.getsockname())
                await loop.sock_sendall(caller, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                transport = await answered.get()
                while not transport.is_closing():  # noqa: ASYNC110  # nobody tells
                    await asyncio.sleep(0)
                size = 0
                with contextlib.suppress(ConnectionResetError):
                    while data := await loop.sock_recv(caller, 1 << 20):
                        size += len(data)
            assert size < ANSWER_BYTES
            await serving.close(0)

    asyncio.run(serve())


def test_of_257_connections_the_oldest_is_closed() -> None:
    """As docs/injector.md says."""

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            listening = stack.enter_context(socket.create_server((own_address(), 0), backlog=512))
            listening.setblocking(False)
            serving = Listener([listening], answer)

            async def connect() -> socket.socket:
                caller = stack.enter_context(socket.socket())
                caller.setblocking(False)
                await loop.sock_connect(caller, listening.getsockname())
                return caller

            async with asyncio.timeout(TIMEOUT):
                first, *_, last = [await connect() for _ in range(256)]
                await loop.sock_sendall(last, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await loop.sock_recv(last, 1024)).startswith(b"HTTP/1.1 200 ")
                assert serving.refused == 0  # and all that came before it are in
                await connect()
                with contextlib.suppress(ConnectionResetError):
                    assert await loop.sock_recv(first, 1) == b""
                assert serving.refused == 1
            await serving.close(0)
            assert listening.fileno() == -1  # a caller is refused, and does not wait

    with open_files(4096):
        asyncio.run(serve())
