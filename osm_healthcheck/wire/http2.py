"""One request over HTTP/2, for HTTPS apps that settle on it and for gRPC.

``h2`` keeps the protocol's books; this file moves its bytes. It is loaded where it is first
needed, because most pods never do.
"""

from collections.abc import Iterable, Iterator

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from osm_healthcheck.probes.quote import quote
from osm_healthcheck.probes.redirect import Hop
from osm_healthcheck.probes.request import Headers
from osm_healthcheck.wire.errors import BadAnswerError, BrokenOffError, StreamResetError
from osm_healthcheck.wire.response import Framing
from osm_healthcheck.wire.stream import ByteStream

# RFC 9113 section 8.2.2: they mean nothing on a connection that is shared
_CONNECTION_HEADERS = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"}
)
# RFC 9113 sections 4.1, 4.2 and 6.5
_FRAME_HEAD_BYTES = 9
_MAX_FRAME_BYTES = 16 * 1024
_FRAME_TYPE_AT = 3
_SETTINGS = b"\x04"
# Inbound rules stay off as far as the kubelet's client has none: an odd header is no sickness.
_CONFIG = h2.config.H2Configuration(
    client_side=True, header_encoding=None, validate_inbound_headers=False
)


class HTTP2Connection:
    """The client's side of an HTTP/2 connection that makes one request."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._h2 = h2.connection.H2Connection(_CONFIG)
        self._events: list[h2.events.Event] = []
        self._began = b""
        self._unread = b""
        self._failure = ""
        self._farewell = ""

    async def greet(self, *, wait: bool = False) -> None:
        """Send our preface; with ``wait``, come back when the app has answered with its own.

        Raises:
            BadAnswerError: where it does not.
        """
        self._h2.initiate_connection()
        try:
            await self._flush()
            if wait:
                while not isinstance(await self._next(), h2.events.RemoteSettingsChanged):
                    pass
        except BrokenOffError as error:
            raise BadAnswerError(str(error)) from None

    async def request(self, headers: Iterable[tuple[bytes, bytes]], body: bytes = b"") -> int:
        """Send a request, whole, and return its stream's number.

        Raises:
            BadAnswerError: where the connection does not take it.
        """
        try:
            number = self._h2.get_next_available_stream_id()
            self._h2.send_headers(number, list(headers), end_stream=not body)
            if body:
                self._h2.send_data(number, body, end_stream=True)
            await self._flush()
        except (h2.exceptions.H2Error, BrokenOffError) as error:
            raise BadAnswerError(str(error)) from None
        return number

    async def next_event(self, number: int) -> h2.events.Event | None:
        """What happens next on stream ``number``; ``None`` when it has ended.

        Raises:
            BrokenOffError: where it is reset, or the connection ends before it.
        """
        while True:
            event = await self._next()
            if getattr(event, "stream_id", None) != number:
                continue
            if isinstance(event, h2.events.StreamReset):
                raise StreamResetError(number, _name(event.error_code))
            return None if isinstance(event, h2.events.StreamEnded) else event

    async def used(self, event: h2.events.DataReceived) -> None:
        """Let the app send as much again as ``event`` brought."""
        self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        await self._flush()

    def abandon(self) -> None:
        """End the connection, with FIN."""
        self._stream.abandon()

    async def _next(self) -> h2.events.Event:
        while not self._events:
            if self._failure:
                raise BrokenOffError(self._failure)
            if not (data := await self._stream.receive()):
                raise BrokenOffError(self._farewell or "unexpected EOF")
            self._check_beginning(data)
            # One frame at a time: where one is refused, what came before it counts all the same.
            for frame in self._frames(data):
                try:
                    self._events += self._h2.receive_data(frame)
                except h2.exceptions.ProtocolError as error:
                    self._failure = _reason(error)
                    break
            await self._flush()
        event = self._events.pop(0)
        if isinstance(event, h2.events.ConnectionTerminated):
            self._farewell = (
                "http2: server sent GOAWAY and closed the connection; "
                f"LastStreamID={event.last_stream_id}, ErrCode={_name(event.error_code)}, "
                f"debug={quote(event.additional_data or b'')}"
            )
            if event.error_code:
                raise BrokenOffError(self._farewell)
        return event

    def _check_beginning(self, data: bytes) -> None:
        """RFC 9113 section 3.4: a server begins with SETTINGS; what is none is told at once.

        ``h2`` would wait for the rest of a frame, which in other languages is very long.
        """
        if len(self._began) <= _FRAME_TYPE_AT:
            self._began += data[: _FRAME_TYPE_AT + 1]
            if self._began[_FRAME_TYPE_AT:][:1] not in (b"", _SETTINGS):
                raise BrokenOffError("http2: server does not begin with SETTINGS")

    def _frames(self, data: bytes) -> Iterator[bytes]:
        """The whole frames so far (RFC 9113 section 4.1); one that is too large comes at once."""
        self._unread += data
        while len(self._unread) >= _FRAME_HEAD_BYTES:
            size = _FRAME_HEAD_BYTES + int.from_bytes(self._unread[:3])
            if size > len(self._unread) and size <= _FRAME_HEAD_BYTES + _MAX_FRAME_BYTES:
                return
            frame, self._unread = self._unread[:size], self._unread[size:]
            yield frame

    async def _flush(self) -> None:
        if data := self._h2.data_to_send():
            await self._stream.send(data)


def _name(code: h2.errors.ErrorCodes | int | None) -> str:
    """An error code as RFC 9113 section 7 calls it."""
    return code.name if isinstance(code, h2.errors.ErrorCodes) else f"0x{code or 0:x}"


def _reason(error: h2.exceptions.ProtocolError) -> str:
    """What is wrong with a frame, in the words of Go's client where it has some."""
    match error:
        case h2.exceptions.InvalidBodyLengthError() if error.actual_length > error.expected_length:
            return "net/http: server replied with more than declared Content-Length; truncated"
        case h2.exceptions.InvalidBodyLengthError():
            return "unexpected EOF"
        case h2.exceptions.FrameTooLargeError():
            return "http2: frame too large"
    return f"http2: {error}"


async def exchange(stream: ByteStream, method: str, hop: Hop) -> "HTTP2Response":
    """Send the request of ``hop`` and read the head of its answer.

    The stream belongs to the response that is returned, and to the caller where this raises.

    Raises:
        BadAnswerError: where what comes back is not HTTP/2.
    """
    connection = HTTP2Connection(stream)
    await connection.greet()
    number = await connection.request(
        [
            (b":method", method.encode()),
            (b":scheme", hop.url.scheme.encode()),
            (b":authority", hop.authority.encode("latin-1")),
            (b":path", hop.url.request_target.encode("latin-1")),
            *((n.lower(), v) for n, v in hop.lines if n.lower() not in _CONNECTION_HEADERS),
        ]
    )
    try:
        while (event := await connection.next_event(number)) is not None:
            if isinstance(event, h2.events.ResponseReceived):
                return HTTP2Response(connection, number, event.headers or [], method)
    except BrokenOffError as error:
        raise BadAnswerError(str(error)) from None
    raise BadAnswerError("http2: stream ended without an answer")


class HTTP2Response:
    """An answer over HTTP/2; see `Response`."""

    def __init__(
        self,
        connection: HTTP2Connection,
        number: int,
        headers: Iterable[tuple[bytes, bytes]],
        method: str,
    ) -> None:
        self._connection = connection
        self._number = number
        pairs = [(bytes(name), bytes(value)) for name, value in headers]
        status = dict(pairs).get(b":status", b"")
        if not status.isdigit() or len(status) != 3:
            raise BadAnswerError("malformed response from server: malformed :status")
        self.status = int(status)
        self.reason = b""
        self.headers: Headers = tuple(pair for pair in pairs if not pair[0].startswith(b":"))
        has_length = any(name.lower() == b"content-length" for name, _ in self.headers)
        if method == "HEAD" or self.status in (204, 304):
            self.framing = Framing.NONE
        else:
            self.framing = Framing.LENGTH if has_length else Framing.CHUNKED

    def received(self) -> bytes:
        """See `Response`."""
        return b""

    async def read(self) -> bytes:
        """See `Response`."""
        if self.framing is Framing.NONE:
            return b""
        while (event := await self._connection.next_event(self._number)) is not None:
            if isinstance(event, h2.events.DataReceived):
                await self._connection.used(event)
                if event.data:
                    return bytes(event.data)
        return b""

    def close(self) -> None:
        """See `Response`."""
        self._connection.abandon()
