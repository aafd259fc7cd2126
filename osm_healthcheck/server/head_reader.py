"""Reads one request's head with aiohttp's server, by its public interface.

``aiohttp.web.Server`` is a factory of protocols. Each connection whose head is not remembered gets
one, with a `HeadReader` for its transport: it is fed the bytes of that one head, calls its handler
with the request, and whatever it writes itself is why there is none. What goes to the caller, and
when the connection ends, is the business of `Connection`.

``tests/io/test_head_reader.py`` holds what is relied on, and runs with other versions of aiohttp.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from aiohttp import HttpVersion11, web

from osm_healthcheck.server.request import Request

MAX_HEAD_BYTES = 8 * 1024
# aiohttp repeats what it cannot read
_MAX_REASON = 200
_HEAD_END = b"\r\n\r\n"
# aiohttp's server takes three turns of the event loop at most to call its handler, or to answer
# itself. Where it has done neither after so many, it never will.
_TURNS = 20


class HeadOwner(Protocol):
    """Whose request is read; see `Connection`."""

    def request_read(self, head: bytes, request: Request, *, alone: bool) -> None:
        """Take ``request``; ``alone`` where ``head`` came in one piece with nothing after it."""

    def request_refused(self, status: int, text: str) -> None:
        """Answer what is no request."""

    def failed(self, error: Exception) -> None:
        """Take note of an error that is nobody's but ours."""


def make_server() -> Callable[[], asyncio.Protocol]:
    """A factory of protocols for `HeadReader`, in the running loop."""
    silent = logging.Logger("osm-healthcheck")
    silent.disabled = True
    nothing = _NothingToSend()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        reader: Any = request.transport
        if reader is not None:  # the caller is still there
            reader.take(request)
        return nothing

    return web.Server(
        handle,
        access_log=None,
        logger=silent,
        # The limits are those of the head: no part of it is longer than the whole.
        max_line_size=MAX_HEAD_BYTES,
        max_field_size=MAX_HEAD_BYTES,
        max_headers=MAX_HEAD_BYTES,
        # One request, and no other clocks than ours.
        keepalive_timeout=0,
        tcp_keepalive=False,
        lingering_time=0,
        auto_decompress=False,
    )


class _NothingToSend(web.StreamResponse):
    """The response that aiohttp's server gets: ours goes out on the connection itself.

    Nothing of it depends on the request, so there is one for all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> None:
        """Send no head."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Send no body."""


class HeadReader(asyncio.Transport):
    """The transport of aiohttp's server, which brings it one head of at most `MAX_HEAD_BYTES`.

    ``whole`` is whether all of the head has come.
    """

    def __init__(
        self, protocol: asyncio.Protocol, owner: HeadOwner, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__()
        self._owner: HeadOwner | None = owner
        self._protocol = protocol
        self._loop = loop
        self._head = bytearray()
        self._received = 0
        self.whole = False
        self._alone = False
        self._said = b""
        self._ended = False
        protocol.connection_made(self)

    def feed(self, data: bytes) -> None:
        """Take what the caller has sent, up to the end of the head and no byte more."""
        if self.whole:
            self._alone = False
            return
        room = MAX_HEAD_BYTES - self._received
        self._received += len(data)
        piece = data[:room]
        if not self._head:
            piece = piece.lstrip(b"\r\n")  # RFC 9112 section 2.2: empty lines before a request
        begun = len(self._head)
        self._head += piece
        end = self._head.find(_HEAD_END, max(0, begun - len(_HEAD_END) + 1))
        self.whole = end >= 0
        if self.whole:
            del self._head[end + len(_HEAD_END) :]
            self._alone = len(self._head) == self._received == len(data)
        piece = bytes(self._head[begun:])
        if piece:
            try:
                self._protocol.data_received(piece)
            except Exception as error:
                self._refuse(400, _not_http(str(error) or type(error).__name__))
                return
        if self.whole:
            self._loop.call_soon(self._wait, _TURNS)
        elif self._received > MAX_HEAD_BYTES:
            self._refuse(431, f"the request's head is longer than {MAX_HEAD_BYTES} bytes")

    def take(self, request: web.BaseRequest) -> None:
        """Hand on what aiohttp's server has read."""
        owner = self._owner
        if owner is None:
            return
        if not self.whole:
            self._refuse(400, _not_http("its head does not end with an empty line"))
        elif request.version.major != 1:
            self._refuse(505, "a probe is a request in HTTP/1.1")
        else:
            self._owner = None
            try:
                owner.request_read(bytes(self._head), _request(request), alone=self._alone)
            except Exception as error:
                owner.failed(error)

    def stop(self) -> None:
        """Be told of nothing any more, and let aiohttp's server go."""
        if self._owner is not None:
            self._owner = None
            self._end()

    def _end(self) -> None:
        if not self._ended:  # to be told so, aiohttp's server closes its transport once more
            self._ended = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def _refuse(self, status: int, text: str) -> None:
        owner = self._owner
        if owner is not None:
            self.stop()
            owner.request_refused(status, text)

    def _wait(self, turns: int) -> None:
        if self._owner is None:
            return
        if turns:
            self._loop.call_soon(self._wait, turns - 1)
        else:
            self._refuse(400, _not_http("it could not be read"))

    # -- what aiohttp's server calls

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Nothing: the socket is none of its business."""
        return default

    def is_closing(self) -> bool:
        """Whether it has nobody left to talk to."""
        return self._owner is None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep what it says itself."""
        self._said += data

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Keep what it says itself."""
        self._said += b"".join(list_of_data)

    def pause_reading(self) -> None:
        """Do nothing: there is no more than a head."""

    def resume_reading(self) -> None:
        """Do nothing, for the same reason."""

    def close(self) -> None:
        """End: where no request was handed on, what has been said is why."""
        if self._owner is not None:
            said = self._said.partition(_HEAD_END)[2].decode("utf-8", "replace").strip()
            self._refuse(400, _not_http(said.partition("\n")[0].rstrip(":") or "unreadable"))
        else:
            self._end()

    def abort(self) -> None:
        """See `close`."""
        self.close()


def _request(request: web.BaseRequest) -> Request:
    return Request(
        method=request.method,
        path=request.rel_url.raw_path,
        headers=request.raw_headers,
        http11=request.version >= HttpVersion11,
        has_body=request.body_exists,
    )


def _not_http(reason: str) -> str:
    return f"not an HTTP/1.1 request: {reason[:_MAX_REASON]}"
