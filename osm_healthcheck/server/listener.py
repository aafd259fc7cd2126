"""Connections of the injector, limited, and handed to aiohttp.

The API server keeps a few connections and uses them again. Whoever else holds connections open, in
the middle of a handshake or of a request, makes room for new ones: see `ConnectionLimiter`.
"""

import asyncio
import contextlib
import logging
import math
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from aiohttp import web

from osm_healthcheck.server.connection_limiter import ConnectionLimiter, connection_limit

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
# Each holds OpenSSL's state and its buffers, some 100 kB
_MAX_CONNECTIONS = 256
_FIRST_REQUEST_SECONDS = 10.0
# Longer than Go's client keeps a connection that it does not use (90 s), so that it is never we
# who close one on which a request may be under way.
_IDLE_SECONDS = 120.0
_ACCEPT_RETRY_SECONDS = 0.1
_silent = logging.Logger("osm_healthcheck.server.listener", logging.CRITICAL + 1)


class Listener:
    """Serves HTTP, or HTTPS where there is a ``context``, on sockets that listen."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        handler: Handler,
        *,
        context: ssl.SSLContext | None = None,
        max_body: int = 1 << 10,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets = sockets
        self._handler = handler
        self._context = context
        self._max_body = max_body
        limit = min(connection_limit(), _MAX_CONNECTIONS)
        self._limiter = ConnectionLimiter(self._loop, limit)
        self._server = web.Server(self._answer, request_factory=self._make_request)
        self._tasks = [self._loop.create_task(self._accept(one)) for one in sockets]

    @property
    def refused(self) -> int:
        """How many connections were closed without an answer, to make room for others."""
        return self._limiter.refused

    async def close(self, finish: float) -> None:
        """Accept no more, end idle connections, and wait for the others, ``finish`` seconds."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in self._sockets:
            one.close()
        self._server.pre_shutdown()
        await self._server.shutdown(finish)

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                accepted, _ = await self._loop.sock_accept(listening)
            except OSError:  # no more files, say: those that are open will end
                await asyncio.sleep(_ACCEPT_RETRY_SECONDS)
                continue
            connection = _Connection(self._server, self._limiter, self._loop)
            connection.begin(accepted, self._context)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = cast("_Connection", request.protocol)
        connection.request_received()
        try:
            return await self._handler(request)
        finally:
            connection.answered()

    def _make_request(
        self,
        message: Any,
        payload: Any,
        protocol: web.RequestHandler,
        writer: Any,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        return web.BaseRequest(
            message, payload, protocol, writer, task, self._loop, client_max_size=self._max_body
        )


class _Connection(web.RequestHandler):
    """aiohttp's protocol, known to the limiter from the moment that it is accepted."""

    __slots__ = ("_limiter", "_starting", "expires")

    def __init__(
        self, server: web.Server, limiter: ConnectionLimiter, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=_IDLE_SECONDS,
            access_log=None,  # type: ignore[arg-type]
            logger=_silent,
            auto_decompress=False,
        )
        self._limiter = limiter
        self._starting: asyncio.Task[None] | None = None
        self.expires = loop.time() + _FIRST_REQUEST_SECONDS

    def begin(self, accepted: socket.socket, context: ssl.SSLContext | None) -> None:
        self._limiter.add(self)
        self._starting = self._loop.create_task(self._begin(accepted, context))

    def request_received(self) -> None:
        self.expires = math.inf
        self._limiter.request_received(self)

    def answered(self) -> None:
        # one that does not read its answer has as long as one that has read it
        self.expires = self._loop.time() + _IDLE_SECONDS
        self._limiter.answered(self)

    def expire(self) -> None:
        """See `LimitedConnection`."""
        if self._starting is not None:
            self._starting.cancel()
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, error: BaseException | None) -> None:
        self._limiter.remove(self)
        super().connection_lost(error)

    async def _begin(self, accepted: socket.socket, context: ssl.SSLContext | None) -> None:
        try:
            # what comes is not TLS, or the caller leaves: there is nobody to be told
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._loop.connect_accepted_socket(lambda: self, accepted, ssl=context)
        finally:
            self._starting = None
            if self.transport is None:
                self._limiter.remove(self)
                accepted.close()
