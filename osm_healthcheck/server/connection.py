"""One caller's connection: read one request, hand it to the endpoint, write one answer, close.

aiohttp's request parser does the reading; its server is left out because a probe needs none of
what it does besides, at twice the cost. One request a connection is what the kubelet makes, and
what keeps pipelines and smuggled requests from being anything at all: the parser stops after the
first head, and is gone once it has been read.
"""

import asyncio
import math
import socket
import struct
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, Protocol, cast

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD

from osm_healthcheck.probes.addresses import AllowFrom, unmapped
from osm_healthcheck.server.connection_limiter import ConnectionLimiter
from osm_healthcheck.server.logs import Log

MAX_HEAD_BYTES = 8 * 1024
HEAD_SECONDS = 5.0
IDLE_SECONDS = 15.0
# A caller that goes on sending after its request is read so long, so that the answer reaches it.
LINGER_SECONDS = 1.0
# What may wait in memory for a slow reader before the app is no longer read.
WRITE_BUFFER_BYTES = 1024
# After so much, other connections get their turn, however fast this one's app and caller are.
TURN_BYTES = 64 * 1024

_TLS_HANDSHAKE = 0x16
_HEAD_END = b"\r\n\r\n"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


class Endpoint(Protocol):
    """What is behind a port."""

    def answer(self, connection: "Connection", request: RawRequestMessage) -> None:
        """Answer ``request`` on ``connection``, at once or in a task that it starts there."""

    def take_over(self, connection: "Connection", first: bytes) -> bool:
        """Take a connection that begins with TLS bytes; ``False`` where they are not wanted."""


class ServerContext(Protocol):
    """What every connection of a sidecar shares."""

    loop: asyncio.AbstractEventLoop
    limiter: ConnectionLimiter
    allow_from: AllowFrom | None
    log: Log


class Connection(asyncio.Protocol):
    """The server's side of one connection."""

    # aiohttp's parser is written for a protocol of its own; this is what it asks of one.
    _reading_paused = False

    def __init__(self, context: ServerContext, endpoint: Endpoint) -> None:
        self._context = context
        self._endpoint = endpoint
        self._parser: HttpRequestParser | None = None
        self._received = 0
        self._asked = False
        self._turn = 0
        self._task: asyncio.Task[None] | None = None
        self._inbox: _Inbox | None = None
        self._more_to_come = False
        self._drained: asyncio.Future[None] | None = None
        self.head_only = False
        self.expires = 0.0
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)

    # -- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be counted, and have a time limit from now on."""
        self.transport = cast("asyncio.Transport", transport)
        self.expires = self._context.loop.time() + IDLE_SECONDS
        self._context.limiter.add(self)

    def data_received(self, data: bytes) -> None:
        """Read the request, or whatever comes after it."""
        if self._inbox is not None:
            self._inbox.put(data)
            return
        if self._asked:
            # What comes after the request is not read as anything.
            self._more_to_come = True
            return
        if self._parser is None:
            if data[0] == _TLS_HANDSHAKE and self._begin_tls(data):
                return
            context = self._context
            self._parser = HttpRequestParser(
                self,  # type: ignore[arg-type]
                context.loop,
                MAX_HEAD_BYTES,
                max_headers=MAX_HEAD_BYTES,
                auto_decompress=False,
                max_msg_queue_size=1,
            )
            self.expires = context.loop.time() + HEAD_SECONDS
        self._read(self._parser, data)

    def eof_received(self) -> bool:
        """Take a caller that ends its side for one that has left, as the kubelet does in the end.

        Only TLS passed through has use for one half of a connection.
        """
        if self._inbox is not None:
            self._inbox.end()
            return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop whatever was done for this caller."""
        self._context.limiter.remove(self)
        self._parser = None
        if self._inbox is not None:
            self._inbox.end()
        if self._task is not None:
            self._task.cancel()
        self.resume_writing()

    def pause_writing(self) -> None:
        """Let `write` wait: the caller reads too slowly."""
        self._drained = self._context.loop.create_future()

    def resume_writing(self) -> None:
        """Let `write` go on."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    def pause_reading(self) -> None:
        """Do nothing: a request's body is thrown away, so it is never too much."""

    def resume_reading(self, *, resume_parser: bool = True) -> None:
        """Do nothing, for the same reason."""

    # -- what `ConnectionLimiter` calls

    def expire(self) -> None:
        """See `LimitedConnection`."""
        self.transport.abort()

    # -- what endpoints call

    @property
    def local_address(self) -> str:
        """The address that the caller connected to."""
        return unmapped(self.transport.get_extra_info("sockname")[0])

    def respond(self, status: int, text: str, headers: bytes = b"") -> None:
        """Answer with one line of text, and close."""
        body = text.encode("utf-8", "backslashreplace") + b"\n"
        self.respond_with(status, b"text/plain; charset=utf-8", body, headers)

    def respond_with(
        self, status: int, content_type: bytes, body: bytes, headers: bytes = b""
    ) -> None:
        """Answer with ``body``, and close."""
        head = b"%sContent-Type: %s\r\nContent-Length: %d\r\n%sConnection: close\r\n\r\n" % (
            _STATUS_LINES[status],
            content_type,
            len(body),
            headers,
        )
        self.transport.write(head if self.head_only else head + body)
        self.close()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Answer in a task, which ends when the caller leaves."""
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._task = self._context.loop.create_task(self._run(work))

    async def write(self, data: bytes) -> None:
        """Send ``data``; back when the caller has read enough for more."""
        self.transport.write(data)
        self._turn += len(data)
        if self._drained is not None:
            await self._drained
        elif self._turn >= TURN_BYTES:
            self._turn = 0
            await asyncio.sleep(0)

    def close(self) -> None:
        """End the connection after what has been written.

        A caller that is still sending would be reset by that, and might lose the answer: its
        side is read to the end, for `LINGER_SECONDS`. One that reads slowly has as long as an idle
        one for what is left.
        """
        seconds = LINGER_SECONDS if self._more_to_come else IDLE_SECONDS
        self.expires = self._context.loop.time() + seconds
        if self._more_to_come and not self.transport.is_closing():
            self.transport.write_eof()
        else:
            self.transport.close()

    def reset(self) -> None:
        """Break the connection off, so that nobody takes what was written for the whole."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None and not self.transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    async def receive(self) -> bytes:
        """The caller's next bytes on a connection that was taken over; ``b""`` at the end."""
        return await self._inbox.get() if self._inbox is not None else b""

    # -- the rest

    def _begin_tls(self, data: bytes) -> bool:
        if not self._permitted():
            self.transport.abort()
            return True
        self._inbox = _Inbox(self.transport, self._context.loop)
        if not self._endpoint.take_over(self, data):
            self._inbox = None
            return False
        self._in_flight()
        return True

    def _read(self, parser: HttpRequestParser, data: bytes) -> None:
        head = data[: MAX_HEAD_BYTES - self._received]
        self._received += len(data)
        try:
            messages, _, _ = parser.feed_data(head)
        except (HttpProcessingError, ValueError, AssertionError) as error:
            self._more_to_come = True
            self._refuse(400, f"not an HTTP/1.1 request: {_first_line(error)}")
            return
        if not messages:
            if self._received > MAX_HEAD_BYTES:
                self._more_to_come = True
                self._refuse(431, f"the request's head is longer than {MAX_HEAD_BYTES} bytes")
            return
        request, payload = messages[0]
        self._more_to_come = payload is not EMPTY_PAYLOAD or data.find(_HEAD_END) != len(
            data
        ) - len(_HEAD_END)
        self.head_only = request.method == "HEAD"
        if request.version.major != 1:
            self._refuse(505, "a probe is a request in HTTP/1.1")
            return
        self._in_flight()
        if self._permitted():
            self._endpoint.answer(self, request)
        else:
            self.respond(403, "this caller's address is not in --allow-from")

    def _in_flight(self) -> None:
        self._asked = True
        self._parser = None  # it holds on to us: a circle that would have to be collected
        self._context.limiter.request_received(self)
        self.expires = math.inf

    def _refuse(self, status: int, text: str) -> None:
        self._in_flight()
        self.respond(status, text)

    def _permitted(self) -> bool:
        allow_from = self._context.allow_from
        if allow_from is None:
            return True
        peer = self.transport.get_extra_info("peername")
        return peer is not None and allow_from.permits(peer[0])

    async def _run(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            # Whatever it is, the kubelet must not wait for it.
            self._context.log.error("a probe could not be answered", exc_info=error)
            self.transport.abort()


class _Inbox:
    """The caller's bytes until somebody takes them; meanwhile no more are read."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._data = b""
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, data: bytes) -> None:
        self._data += data
        self._transport.pause_reading()
        self._wake()

    def end(self) -> None:
        self._ended = True
        self._wake()

    async def get(self) -> bytes:
        # Not before: what was got last is still being sent, and one piece in memory is enough.
        self._transport.resume_reading()
        while not self._data and not self._ended:
            self._waiter = self._loop.create_future()
            await self._waiter
        data, self._data = self._data, b""
        return data

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _first_line(error: Exception) -> str:
    text = getattr(error, "message", "") or str(error)
    return text.strip().partition("\n")[0].rstrip(":") or type(error).__name__
