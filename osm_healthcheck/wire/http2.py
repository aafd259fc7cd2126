"""One request over HTTP/2, for HTTPS apps that settle on it, as Go's ``net/http`` makes it.

The rules are those of ``clientConnReadLoop`` in ``golang.org/x/net/http2/transport.go``. This is
loaded where it is first needed, because most pods never do.
"""

import re

from osm_healthcheck.probes.quote import quote
from osm_healthcheck.probes.redirect import Hop
from osm_healthcheck.probes.request import CLOSE, Headers
from osm_healthcheck.wire import http2_frames as frames
from osm_healthcheck.wire.errors import (
    BadAnswerError,
    BrokenOffError,
    StreamResetError,
    UnprocessedError,
)
from osm_healthcheck.wire.header_block import Field
from osm_healthcheck.wire.http2_connection import (
    ENABLE_PUSH,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    Client,
    HTTP2Connection,
)
from osm_healthcheck.wire.http2_frames import (
    ConnectionEndedError,
    ConnectionFailedError,
    Frame,
    StreamFailedError,
    error_name,
    parse_integer,
    quoted,
)
from osm_healthcheck.wire.response import Framing
from osm_healthcheck.wire.stream import ByteStream

_MAX_LIST_BYTES = 10 * 1024 * 1024
_NET_HTTP = Client(
    settings={
        ENABLE_PUSH: 0,
        frames.INITIAL_WINDOW_SIZE: 4 * 1024 * 1024,
        MAX_FRAME_SIZE: frames.MAX_FRAME_BYTES,
        MAX_HEADER_LIST_SIZE: _MAX_LIST_BYTES,
    },
    connection_window=1 << 30,
    max_list=_MAX_LIST_BYTES,
    is_strict=True,
)
# RFC 9113 section 8.2.2: they mean nothing on a connection that is shared
_CONNECTION_HEADERS = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
# what of them a request may have all the same (checkConnHeaders); CLOSE is HTTP/1.1's alone
_TAKEN = {
    b"Upgrade": frozenset({b"", b"chunked"}),
    b"Transfer-Encoding": frozenset({b"", b"chunked"}),
    b"Connection": frozenset({b"", b"close", b"keep-alive"}),
}
_TOO_LONG = "net/http: server replied with more than declared Content-Length; truncated"
_MAX_BODY_BYTES = 10 * 1024
_MAX_LENGTH = 2**63 - 1
_MAX_LENGTH_DIGITS = 19
# what an app says with it may hold for the next connection (golang.org/issue/47635)
_RETRIED_RESETS = frozenset({"REFUSED_STREAM", "PROTOCOL_ERROR"})


async def exchange(stream: ByteStream, method: str, hop: Hop) -> "HTTP2Response":
    """Send the request of ``hop`` and read the head of its answer.

    The stream belongs to the response that is returned, and to the caller where this raises.

    Raises:
        UnprocessedError: where the app has not looked at the request, and wants it once more.
        BadAnswerError: where what comes back is not HTTP/2.
        BrokenOffError: where the answer has a body without a place in it, which ends early.
    """
    connection = HTTP2Connection(stream, _NET_HTTP)
    connection.request(_request_fields(method, hop))
    answer = _Answer(connection, method)
    try:
        while not answer.has_head:
            await answer.advance()
    except _RetryError as error:
        raise UnprocessedError(str(error)) from None
    except StreamResetError as error:
        kind = UnprocessedError if error.code in _RETRIED_RESETS else BadAnswerError
        raise kind(str(error)) from None
    except BrokenOffError as error:
        raise BadAnswerError(str(error)) from None
    response = HTTP2Response(answer, method)
    if response.framing is Framing.NONE and method != "HEAD":
        await response.finish()
    return response


def _request_fields(method: str, hop: Hop) -> list[Field]:
    """The request as ``EncodeHeaders`` of ``net/http/internal/httpcommon`` writes it.

    Raises:
        BadAnswerError: where it refuses to.
    """
    lines = [line for line in hop.lines if line is not CLOSE]
    for name, taken in _TAKEN.items():
        values = [value for declared, value in lines if declared == name]
        lowered = [value.lower() if name == b"Connection" else value for value in values]
        # of Upgrade the first one counts
        if not taken.issuperset(lowered[:1]) or (name != b"Upgrade" and len(values) > 1):
            listed = " ".join(map(quote, values))
            raise BadAnswerError(f"http2: invalid {name.decode()} request header: [{listed}]")
    if not hop.authority:
        raise BadAnswerError("http2: invalid Host header")
    fields = [
        (b":authority", hop.authority.encode("latin-1")),
        (b":method", method.encode()),
        (b":path", hop.url.request_target.encode("latin-1")),
        (b":scheme", hop.url.scheme.encode()),
    ]
    for name, value in lines:
        if (name := name.lower()) == b"cookie":
            fields += [(name, crumb) for crumb in _crumbs(value)]
        elif name not in _CONNECTION_HEADERS:
            fields.append((name, value))
    return fields


def _crumbs(cookie: bytes) -> list[bytes]:
    """The pairs of a ``Cookie``, each a field of its own (RFC 9113 section 8.2.3)."""
    *pairs, last = re.split(b"; *", cookie)
    return [*pairs, last] if last else pairs


class _RetryError(BrokenOffError):
    """The app shuts down and has not looked at the request."""


class _Answer:
    """An answer as its frames come: first ``headers`` with their ``:status``, then ``data``.

    ``has_head`` stays when the headers are taken away, ``is_whole`` says that nothing follows.
    """

    def __init__(self, connection: HTTP2Connection, method: str) -> None:
        self.connection = connection
        self.headers: tuple[Field, ...] = ()
        self.has_head = False
        self.status = 0
        self.data = b""
        self.is_whole = False
        self._is_head = method == "HEAD"
        self._informational_bytes = 0
        self._goaway: tuple[int, int, bytes] | None = None

    async def advance(self) -> None:
        """Take the next frame.

        Raises:
            BrokenOffError: where the answer ends before it is whole, or is none.
        """
        try:
            frame = await self.connection.next_frame()
        except ConnectionEndedError as error:
            if self._goaway is None or str(error) != "EOF":
                raise BrokenOffError("unexpected EOF") from None
            raise BrokenOffError(self._farewell()) from None
        match frame.type:
            case frames.HEADERS if self.has_head:
                self._take_trailers(frame)
            case frames.HEADERS:
                self._take_headers(frame)
            case frames.DATA:
                self._take_data(frame)
            case frames.GOAWAY:
                self._take_goaway(frame)
            case frames.PUSH_PROMISE:
                raise ConnectionFailedError("PROTOCOL_ERROR")
        self.is_whole = frame.ends_stream

    def _take_headers(self, frame: Frame) -> None:
        if frame.truncated:
            raise _malformed(frame, "http2: response header list larger than advertised limit")
        status = dict(frame.fields).get(b":status", b"")
        if not status:
            raise _malformed(frame, "malformed response from server: missing status pseudo header")
        try:
            self.status = parse_integer(status, 64)
        except ValueError:
            raise _malformed(
                frame, "malformed response from server: malformed non-numeric status pseudo header"
            ) from None
        if 100 <= self.status <= 199:
            if frame.ends_stream:
                raise _malformed(frame, "1xx informational response with END_STREAM flag")
            self._informational_bytes += frame.list_bytes
            if self._informational_bytes > _MAX_LIST_BYTES:
                raise _malformed(frame, "header list too large")
            return
        self.headers, self.has_head = frame.fields, True

    def _take_trailers(self, frame: Frame) -> None:
        if not frame.ends_stream or any(name[:1] == b":" for name, _ in frame.fields):
            raise ConnectionFailedError("PROTOCOL_ERROR")

    def _take_data(self, frame: Frame) -> None:
        if not self.has_head or (self._is_head and frame.payload):
            raise StreamFailedError(frame.stream, "PROTOCOL_ERROR")
        self.data = frame.payload

    def _take_goaway(self, frame: Frame) -> None:
        """Go's ``ClientConn.setGoAway``: what the app has taken on, it may still finish."""
        code, debug = int.from_bytes(frame.payload[4:8]), frame.payload[8:]
        if self._goaway is not None:
            _, earlier, said = self._goaway
            code, debug = earlier or code, said or debug
        self._goaway = (frame.number, code, debug)
        if frame.number >= self.connection.stream:
            return
        if code:
            name = error_name(code)
            raise BrokenOffError(f"http2: Transport received GOAWAY from server ErrCode:{name}")
        raise _RetryError("http2: Transport received Server's graceful shutdown GOAWAY")

    def _farewell(self) -> str:
        assert self._goaway is not None  # noqa: S101
        last, code, debug = self._goaway
        return (
            "http2: server sent GOAWAY and closed the connection; "
            f"LastStreamID={last}, ErrCode={error_name(code)}, debug={quoted(debug)}"
        )


class HTTP2Response:
    """An answer over HTTP/2; see `Response`."""

    def __init__(self, answer: _Answer, method: str) -> None:
        self._answer = answer
        self.status = answer.status
        self.reason = b""
        self._left = _length(answer.headers)
        if method == "HEAD" or self.status in (204, 304):
            self.framing = Framing.NONE
        elif self._left is None or not (self._left or answer.is_whole):
            # An answer of no length is whole at once for who gets it over HTTP/1. Not so for Go.
            self.framing = Framing.CHUNKED
        else:
            self.framing = Framing.LENGTH
        # Go pays no heed to a length that is none; who gets the answer over HTTP/1 would.
        dropped = _CONNECTION_HEADERS | {b"te"}
        if self._left is None:
            dropped |= {b"content-length"}
        self.headers: Headers = tuple(
            (name, value)
            for name, value in answer.headers
            if name[:1] != b":" and name not in dropped
        )
        answer.headers = ()

    def received(self) -> bytes:
        """See `Response`."""
        return b""

    async def read(self) -> bytes:
        """See `Response`.

        The last byte of a body that has a length comes once the app has ended its stream, because
        a body is whole for Go then, and for who gets it over HTTP/1 when the last byte is there.
        """
        if self.framing is Framing.NONE:
            return b""
        answer = self._answer
        while not answer.data and not answer.is_whole:
            await answer.advance()
        piece, answer.data = answer.data, b""
        if self._left is None:
            return piece
        self._left -= len(piece)
        if self._left < 0:
            raise BrokenOffError(_TOO_LONG)
        if not self._left and not answer.is_whole:
            if len(piece) > 1:
                answer.data, self._left = piece[-1:], 1
                return piece[:-1]
            await self._end()
        elif self._left and not piece:
            raise BrokenOffError("unexpected EOF")
        return piece

    async def _end(self) -> None:
        """Wait for the end of the stream, before which nothing may come."""
        while not self._answer.is_whole:
            await self._answer.advance()
            if self._answer.data:
                raise BrokenOffError(_TOO_LONG)

    async def finish(self) -> None:
        """Read a body that has no place in the answer, as far as the kubelet reads one.

        Raises:
            BrokenOffError: where it ends before it is whole.
        """
        count = 0
        while not self._answer.is_whole and count < _MAX_BODY_BYTES:
            self._answer.data = b""
            await self._answer.advance()
            count += len(self._answer.data)

    def close(self) -> None:
        """See `Response`."""
        self._answer.connection.abandon()


def _length(headers: Headers) -> int | None:
    """The length that stands once, as digits; ``None`` where there is none such."""
    lengths = [value for name, value in headers if name == b"content-length"]
    if len(lengths) != 1 or not lengths[0].isdigit():
        return None
    digits = lengths[0].lstrip(b"0") or b"0"
    fits = len(digits) <= _MAX_LENGTH_DIGITS and int(digits) <= _MAX_LENGTH
    return int(digits) if fits else None


def _malformed(frame: Frame, detail: str) -> StreamFailedError:
    """The stream error for an answer whose head is none."""
    return StreamFailedError(frame.stream, "PROTOCOL_ERROR", detail)
