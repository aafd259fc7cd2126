"""The client's side of an HTTP/2 connection that makes one request at a time, as Go keeps it.

What the kubelet's two clients, ``net/http`` and grpc-go, have in common is here; how each takes an
answer is in `http2` and `grpc_health`.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from osm_healthcheck.wire import http2_frames as frames
from osm_healthcheck.wire.errors import BrokenOffError, StreamResetError
from osm_healthcheck.wire.header_block import FIELD_OVERHEAD, Field, encode
from osm_healthcheck.wire.http2_frames import (
    ConnectionFailedError,
    Frame,
    FrameReader,
    StreamFailedError,
    encode_frame,
    encode_settings,
    error_name,
)
from osm_healthcheck.wire.stream import ByteStream

# RFC 9113 section 6.5.2
ENABLE_PUSH, MAX_CONCURRENT_STREAMS, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 2, 3, 5, 6
_ENABLE_CONNECT_PROTOCOL = 8  # RFC 8441
_DEFAULT_WINDOW = 65535
_FLUSH_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Client:
    """How a client speaks: the settings it sends, and what it takes.

    ``connection_window`` is added to the connection's first window, and ``max_list`` is its limit
    of a header list, both in bytes. ``is_strict`` refuses a second acknowledgement of our settings,
    ``ENABLE_CONNECT_PROTOCOL`` above 1, and streams that were not asked for.
    """

    settings: dict[int, int]
    connection_window: int
    max_list: int
    is_strict: bool


class HTTP2Connection:
    """A connection on which ``stream`` is the only stream that matters; 0 before a request."""

    def __init__(
        self,
        stream: ByteStream,
        client: Client,
        keeps: Callable[[bytes, bytes], bool] | None = None,
    ) -> None:
        self._stream = stream
        self._client = client
        self._reader = FrameReader(stream, client.max_list, keeps, self._flush)
        self._out = bytearray()
        self._body = b""
        window = client.settings.get(frames.INITIAL_WINDOW_SIZE, _DEFAULT_WINDOW)
        self.stream = 0
        self._window = window
        self._in_stream = _Inflow(window)
        self._in_connection = _Inflow(_DEFAULT_WINDOW + client.connection_window)
        self._out_stream = self._initial_window = _DEFAULT_WINDOW
        self._out_connection = _DEFAULT_WINDOW
        self._wants_ack = True
        self.settings: dict[int, int] | None = None
        self._out += frames.PREFACE + encode_settings(client.settings)
        if client.connection_window:
            self._out += _window_update(0, client.connection_window)

    async def greet(self) -> None:
        """Send our preface, and come back when the app has sent its own.

        Raises:
            BrokenOffError: where it does not.
        """
        while self.settings is None:
            await self.next_frame()

    @property
    def is_silent(self) -> bool:
        """Whether the app has said nothing but its first settings."""
        return self._reader.count <= 1

    def request(self, fields: Sequence[Field], body: bytes = b"") -> None:
        """Send a request as the app takes it; it goes out while its answer is waited for.

        What still comes in answer to an earlier one is passed over.
        """
        self.stream = self.stream + 2 if self.stream else 1
        self._reader.answer_stream = self.stream
        self._in_stream = _Inflow(self._window)
        self._out_stream = self._initial_window
        block = encode(list(fields))
        pieces = [
            block[at : at + frames.MAX_FRAME_BYTES]
            for at in range(0, len(block), frames.MAX_FRAME_BYTES)
        ]
        kind, flags = frames.HEADERS, 0 if body else frames.END_STREAM
        for piece in pieces:
            ends = frames.END_HEADERS if piece is pieces[-1] else 0
            self._out += encode_frame(kind, flags | ends, self.stream, piece)
            kind, flags = frames.CONTINUATION, 0
        self._body = body
        self._send_body()

    def exceeded_limit(self, fields: Sequence[Field]) -> int | None:
        """The limit of a header list that the app has set, where ``fields`` exceed it."""
        limit = (self.settings or {}).get(MAX_HEADER_LIST_SIZE)
        size = sum(len(name) + len(value) + FIELD_OVERHEAD for name, value in fields)
        return limit if limit is not None and size > limit else None

    async def next_frame(self) -> Frame:
        """The next frame that concerns the answer; what concerns the connection is done here.

        Raises:
            StreamFailedError: where the answer is none.
            StreamResetError: where the app gives it up.
            BrokenOffError: where the connection ends or breaks.
        """
        while (frame := await self._read()) is None:
            pass
        return frame

    async def waiting_frame(self) -> Frame | None:
        """The same among the frames that have come already, or ``None``."""
        while self._reader.holds_frame():
            if frame := await self._read():
                return frame
        return None

    async def _read(self) -> Frame | None:
        """Take the next frame; it is returned where it concerns the answer."""
        try:
            frame = await self._reader.read()
        except StreamFailedError as error:
            # grpc-go takes nothing but settings for a beginning, net/http passes over a bad frame
            if error.stream == self.stream or (
                self.settings is None and not self._client.is_strict
            ):
                raise
            return None
        if self.settings is None and frame.type != frames.SETTINGS:
            raise ConnectionFailedError("PROTOCOL_ERROR")
        concerns_answer = False
        match frame.type:
            case frames.SETTINGS:
                self._take_settings(frame)
                concerns_answer = True
            case frames.PING if not frame.flags & frames.ACK:
                self._out += encode_frame(frames.PING, frames.ACK, 0, frame.payload)
            case frames.WINDOW_UPDATE:
                self._open_window(frame)
            case frames.RST_STREAM if frame.stream == self.stream:
                raise StreamResetError(self.stream, error_name(int.from_bytes(frame.payload)))
            case frames.DATA:
                self._take_data(frame)
                concerns_answer = frame.stream == self.stream
            case frames.HEADERS:
                concerns_answer = frame.stream == self.stream
            case frames.GOAWAY | frames.PUSH_PROMISE:
                concerns_answer = True
        if len(self._out) >= _FLUSH_BYTES:
            await self._flush()
        return frame if concerns_answer else None

    def abandon(self) -> None:
        """End the connection, with FIN."""
        self._stream.abandon()

    def _take_settings(self, frame: Frame) -> None:
        if self.settings is None:
            self.settings = {}
        if frame.flags & frames.ACK:
            if self._client.is_strict and not self._wants_ack:
                raise ConnectionFailedError("PROTOCOL_ERROR")
            self._wants_ack = False
            return
        for number, value in frame.settings:
            if self._client.is_strict and number == _ENABLE_CONNECT_PROTOCOL and value > 1:
                raise ConnectionFailedError("PROTOCOL_ERROR")
            self.settings[number] = value
            if number == frames.INITIAL_WINDOW_SIZE:
                self._out_stream += value - self._initial_window
                self._initial_window = value
        self._out += encode_frame(frames.SETTINGS, frames.ACK, 0)
        self._send_body()

    def _open_window(self, frame: Frame) -> None:
        if frame.stream == self.stream:
            self._out_stream += frame.number
            if self._out_stream > frames.MAX_WINDOW:
                raise StreamFailedError(self.stream, "FLOW_CONTROL_ERROR")
        elif not frame.stream:
            self._out_connection += frame.number
            if self._out_connection > frames.MAX_WINDOW:
                raise ConnectionFailedError("FLOW_CONTROL_ERROR")
        self._send_body()

    def _take_data(self, frame: Frame) -> None:
        """Count the frame against our windows, and open them again: it is read once it is here."""
        if frame.stream > self.stream and self._client.is_strict:
            raise ConnectionFailedError("PROTOCOL_ERROR")
        windows = [(0, self._in_connection)]
        if frame.stream == self.stream:
            windows.append((self.stream, self._in_stream))
        for stream, window in windows:
            if not window.take(frame.length):
                raise ConnectionFailedError("FLOW_CONTROL_ERROR")
            more = window.add(frame.length)
            if more and not (stream and frame.ends_stream):
                self._out += _window_update(stream, more)

    def _send_body(self) -> None:
        room = min(self._out_stream, self._out_connection, frames.MAX_FRAME_BYTES)
        while self._body and room > 0:
            piece, self._body = self._body[:room], self._body[room:]
            flags = 0 if self._body else frames.END_STREAM
            self._out += encode_frame(frames.DATA, flags, self.stream, piece)
            self._out_stream -= len(piece)
            self._out_connection -= len(piece)
            room = min(self._out_stream, self._out_connection, frames.MAX_FRAME_BYTES)

    async def _flush(self) -> None:
        data, self._out = bytes(self._out), bytearray()
        if data:
            # An app may answer and close before it has read everything: its answer counts.
            with contextlib.suppress(BrokenOffError):
                await self._stream.send(data)


class _Inflow:
    """Go's ``http2.inflow``: how much the app may send, and what it may send again."""

    def __init__(self, size: int) -> None:
        self._available = size
        self._unsent = 0

    def take(self, count: int) -> bool:
        self._available -= count
        return self._available >= 0

    def add(self, count: int) -> int:
        """Give ``count`` back; the increment that is worth a frame of its own, or 0."""
        self._unsent += count
        if self._unsent < _FLUSH_BYTES and self._unsent < self._available:
            return 0
        more, self._unsent = self._unsent, 0
        self._available += more
        return more


def _window_update(stream: int, increment: int) -> bytes:
    return encode_frame(frames.WINDOW_UPDATE, 0, stream, increment.to_bytes(4))
