"""HTTP/2 frames (RFC 9113 sections 4 and 6), read the way Go's ``http2.Framer`` reads them.

Both clients of the kubelet, ``net/http`` and grpc-go, read by that one. ``h2`` cannot stand in for
it: it refuses what Go takes (``ENABLE_PUSH``, frames after GOAWAY, a length that is no number),
decodes a header block in one go, and no setting of its public interface changes that.
"""

import asyncio
import re
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from osm_healthcheck.probes.quote import quote
from osm_healthcheck.wire.errors import BrokenOffError
from osm_healthcheck.wire.header_block import FIELD_OVERHEAD, DecodingError, Field, HPACKDecoder
from osm_healthcheck.wire.stream import ByteStream

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE = 0, 1, 2, 3, 4, 5
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 6, 7, 8, 9
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
_PADDED, _HAS_PRIORITY = 0x8, 0x20

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_FRAME_BYTES = 16 * 1024
MAX_WINDOW = 2**31 - 1
INITIAL_WINDOW_SIZE = 4
_HEAD_BYTES = 9
_SETTING = struct.Struct(">HL")
_HTTP1_HEAD = b"HTTP/1.1 "

# A frame, and a field of a header list, takes as long as so many bytes, however small it is.
_STEP_BYTES = 256
# What is done before others get their turn: less than a millisecond. A probe takes ten turns.
TURN_BYTES = 16 * 1024
# What an app may send besides its answer: frames that carry nothing of it, and header blocks. Go
# leaves that to the probe's timeout, which can be minutes of CPU.
MAX_OVERHEAD_BYTES = 16 * 1024 * 1024
# The fields of a header list that are kept, at what they cost here: a hundred lists at once have
# to fit into the sidecar's memory. Go keeps 10 MiB, grpc-go 16 MiB.
MAX_KEPT_BYTES = 96 * 1024
_FIELD_COST_BYTES = 128

_ERROR_CODES = (
    "NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED "
    "FRAME_SIZE_ERROR REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM "
    "INADEQUATE_SECURITY HTTP_1_1_REQUIRED"
).split()
_MAX_QUOTED_BYTES = 200
_INTEGER = re.compile(rb"[+-]?[0-9]+")
_OUT_OF_RANGE_DIGITS = 20  # of a number that takes more than 64 bits
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_NOT_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_REQUEST_FIELDS = frozenset({b":method", b":path", b":scheme", b":authority", b":protocol"})


class ConnectionEndedError(BrokenOffError):
    """The app ended the connection: ``EOF`` between two frames, else ``unexpected EOF``."""


class ConnectionFailedError(BrokenOffError):
    """A connection error (RFC 9113 section 5.4.1) by its name there."""

    def __init__(self, code: str) -> None:
        super().__init__(f"connection error: {code}")


class StreamFailedError(BrokenOffError):
    """A stream error (RFC 9113 section 5.4.2) that we found; ``detail`` says what is wrong."""

    def __init__(self, stream: int, code: str, detail: str = "") -> None:
        self.stream = stream
        self.code = code
        self.detail = detail
        super().__init__(f"stream error: stream ID {stream}; {code}" + (detail and f"; {detail}"))


@dataclass(slots=True)
class Frame:
    """A frame without its padding; ``length`` is with it, as it counts against a window.

    One of HEADERS is whole, with those that continue it: ``fields`` are the kept ones of its list,
    ``list_bytes`` is the size of the list (RFC 9113 section 6.5.2), and ``truncated`` says that it
    exceeded a limit, where decoding stopped.
    """

    type: int
    flags: int
    stream: int
    payload: bytes = b""
    length: int = 0
    fields: tuple[Field, ...] = ()
    list_bytes: int = 0
    truncated: bool = False

    @property
    def ends_stream(self) -> bool:
        """Whether it is the last one of its stream."""
        return self.type in (DATA, HEADERS) and bool(self.flags & END_STREAM)

    @property
    def number(self) -> int:
        """The first number of the payload, without the bit that is reserved."""
        return int.from_bytes(self.payload[:4]) & MAX_WINDOW

    @property
    def settings(self) -> list[tuple[int, int]]:
        """The settings of a SETTINGS frame, in their order."""
        return list(_SETTING.iter_unpack(self.payload))


def error_name(code: int) -> str:
    """An error code as RFC 9113 section 7, and Go, call it."""
    return _ERROR_CODES[code] if code < len(_ERROR_CODES) else f"unknown error code 0x{code:x}"


def quoted(text: bytes) -> str:
    """What an app sent, for a message: an event is cut at 1,024 bytes, a log line is not."""
    return quote(text[:_MAX_QUOTED_BYTES])


def parse_integer(value: bytes, bits: int) -> int:
    """``strconv.ParseInt(value, 10, bits)`` for what an app sent.

    Raises:
        ValueError: where it is no such number, in Go's words.
    """
    if not _INTEGER.fullmatch(value):
        raise ValueError(f"parsing {quoted(value)}: invalid syntax")
    digits = value.lstrip(b"+-0") or b"0"
    number = int(digits[:_OUT_OF_RANGE_DIGITS]) * (-1 if value.startswith(b"-") else 1)
    if not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        raise ValueError(f"parsing {quoted(value)}: value out of range")
    return number


def encode_frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame as bytes."""
    head = len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4)
    return head + payload


def encode_settings(settings: dict[int, int]) -> bytes:
    """A SETTINGS frame as bytes."""
    pairs = settings.items()
    payload = b"".join(number.to_bytes(2) + value.to_bytes(4) for number, value in pairs)
    return encode_frame(SETTINGS, 0, 0, payload)


class FrameReader:
    """Reads the frames of a connection one by one, and lets others have their turn meanwhile.

    ``max_list`` is the limit of a header list; of its fields those are kept that ``keeps`` wants
    (``None``: all). ``flush`` is awaited whenever time may go by. ``count`` is of frames that have
    begun to come, ``answer_stream`` the stream whose data is what all is about.
    """

    def __init__(
        self,
        stream: ByteStream,
        max_list: int,
        keeps: Callable[[bytes, bytes], bool] | None,
        flush: Callable[[], Awaitable[None]],
    ) -> None:
        self._stream = stream
        self._max_list = max_list
        self._keeps = keeps
        self._flush = flush
        self._decoder = HPACKDecoder(min(max_list, MAX_KEPT_BYTES))
        self._buffer = bytearray()
        self._block_of = 0  # the stream whose header block is not whole yet
        self._work = 0
        self._overhead = 0
        self.count = 0
        self.answer_stream = 0

    def holds_frame(self) -> bool:
        """Whether a frame has come that has not been read."""
        size = _HEAD_BYTES + int.from_bytes(self._buffer[:3])
        return len(self._buffer) >= _HEAD_BYTES and len(self._buffer) >= size

    async def read(self) -> Frame:
        """The next frame, with all that continue it.

        Raises:
            StreamFailedError: where it is wrong in a way that concerns its stream only.
            ConnectionFailedError: where it is wrong in another way.
            ConnectionEndedError: where there is none.
            BrokenOffError: where the connection breaks, or too much comes besides the answer.
        """
        frame = await self._read_one()
        return await self._read_block(frame) if frame.type == HEADERS else frame

    async def _read_one(self) -> Frame:
        await self._need(_HEAD_BYTES)
        self.count += 1
        head = bytes(self._buffer[:_HEAD_BYTES])
        frame = Frame(head[3], head[4], int.from_bytes(head[5:]) & MAX_WINDOW)
        frame.length = int.from_bytes(head[:3])
        if frame.length > MAX_FRAME_BYTES:
            reason = "http2: frame too large"
            if head == _HTTP1_HEAD:
                reason = (
                    f"http2: failed reading the frame payload: {reason}, note that the frame "
                    "header looked like an HTTP/1.1 header"
                )
            raise BrokenOffError(reason)
        self._check_order(frame)
        size = _HEAD_BYTES + frame.length
        await self._need(size)
        frame.payload = bytes(self._buffer[_HEAD_BYTES:size])
        del self._buffer[:size]
        await self._worked(max(size, _STEP_BYTES))
        _check(frame)
        self._count_overhead(frame)
        return frame

    def _count_overhead(self, frame: Frame) -> None:
        is_answer = frame.type == DATA and frame.payload and frame.stream == self.answer_stream
        cost = 0 if is_answer else _STEP_BYTES
        self._overhead += max(cost, frame.length - (len(frame.payload) if is_answer else 0))
        if self._overhead > MAX_OVERHEAD_BYTES:
            raise BrokenOffError("http2: too many frames besides the answer")

    async def _need(self, size: int) -> None:
        """Wait until so many bytes have come."""
        while len(self._buffer) < size:
            await self._flush()
            if not (data := await self._stream.receive()):
                raise ConnectionEndedError("unexpected EOF" if self._buffer else "EOF")
            self._buffer += data

    async def _worked(self, cost: int) -> None:
        self._work += cost
        if self._work >= TURN_BYTES:
            self._work = 0
            await self._flush()
            await asyncio.sleep(0)

    def _check_order(self, frame: Frame) -> None:
        """Go's ``Framer.checkFrameOrder``: nothing comes between the frames of a header block."""
        if self._block_of:
            if frame.type != CONTINUATION or frame.stream != self._block_of:
                raise ConnectionFailedError("PROTOCOL_ERROR")
        elif frame.type == CONTINUATION:
            raise ConnectionFailedError("PROTOCOL_ERROR")
        if frame.type in (HEADERS, CONTINUATION):
            self._block_of = 0 if frame.flags & END_HEADERS else frame.stream

    async def _read_block(self, frame: Frame) -> Frame:
        """Go's ``Framer.readMetaFrame``."""
        fields = _FieldList(self._max_list, self._keeps)
        piece = frame
        while True:
            if fields.error or len(piece.payload) > 2 * fields.left:
                raise ConnectionFailedError("PROTOCOL_ERROR")
            try:
                for field in self._decoder.feed(piece.payload):
                    if field is None:
                        await self._worked(TURN_BYTES)
                        continue
                    fields.add(*field)
                    await self._worked(_STEP_BYTES)
                if piece.flags & END_HEADERS:
                    self._decoder.finish()
                    break
            except DecodingError:
                raise ConnectionFailedError("COMPRESSION_ERROR") from None
            piece = await self._read_one()
        if error := fields.error or fields.pseudo_error():
            raise StreamFailedError(frame.stream, "PROTOCOL_ERROR", error)
        frame.payload = b""
        frame.fields = tuple(fields.kept)
        frame.list_bytes = fields.size
        frame.truncated = fields.truncated
        return frame


class _FieldList:
    """The fields of a header list as they come; ``error`` is what is wrong with one of them."""

    def __init__(self, limit: int, keeps: Callable[[bytes, bytes], bool] | None) -> None:
        self.left = limit
        self.size = 0
        self.kept: list[Field] = []
        self.truncated = False
        self.error = ""
        self._keeps = keeps
        self._room = MAX_KEPT_BYTES
        self._pseudo: list[bytes] = []
        self._is_past_pseudo = False

    def add(self, name: bytes, value: bytes) -> None:
        if self.error or self.truncated:
            return
        if _NOT_IN_VALUE.search(value):
            self.error = f"invalid header field value for {quoted(name)}"
        if name[:1] == b":":
            if self._is_past_pseudo:
                self.error = "pseudo header field after regular"
            if len(self._pseudo) <= len(_REQUEST_FIELDS) + 1:  # one of so many is wrong already
                self._pseudo.append(name)
        else:
            self._is_past_pseudo = True
            if not _NAME.fullmatch(name):
                self.error = f"invalid header field name {quoted(name)}"
        if self.error:
            return
        size = len(name) + len(value) + FIELD_OVERHEAD
        keeps = self._keeps is None or self._keeps(name, value)
        cost = len(name) + len(value) + _FIELD_COST_BYTES if keeps else 0
        if size > self.left or cost > self._room:
            self.truncated = True
            self.left = 0
            return
        self.left -= size
        self.size += size
        if keeps:
            self._room -= cost
            self.kept.append((name, value))

    def pseudo_error(self) -> str:
        """Go's ``MetaHeadersFrame.checkPseudos``."""
        known = {b":status"} | _REQUEST_FIELDS
        for at, name in enumerate(self._pseudo):
            if name not in known:
                return f"invalid pseudo-header {quoted(name)}"
            if name in self._pseudo[:at]:
                return f"duplicate pseudo-header {quoted(name)}"
        if b":status" in self._pseudo and not _REQUEST_FIELDS.isdisjoint(self._pseudo):
            return "mix of request and response pseudo headers"
        return ""


def _check(frame: Frame) -> None:
    """What Go's parser of this type of frame refuses; padding and priority are taken off."""
    if frame.type in (DATA, HEADERS, PRIORITY, RST_STREAM, PUSH_PROMISE, CONTINUATION):
        if not frame.stream:
            raise ConnectionFailedError("PROTOCOL_ERROR")
    elif frame.type in (SETTINGS, PING, GOAWAY) and frame.stream:
        raise ConnectionFailedError("PROTOCOL_ERROR")
    if frame.type in (DATA, HEADERS):
        _unpad(frame)
    size = frame.length
    wrong_size = {
        PRIORITY: size != 5,
        RST_STREAM: size != 4,
        SETTINGS: size % 6 or (size and frame.flags & ACK),
        PING: size != 8,
        GOAWAY: size < 8,
        WINDOW_UPDATE: size != 4,
    }
    if wrong_size.get(frame.type):
        raise ConnectionFailedError("FRAME_SIZE_ERROR")
    if frame.type == SETTINGS and dict(frame.settings).get(INITIAL_WINDOW_SIZE, 0) > MAX_WINDOW:
        raise ConnectionFailedError("FLOW_CONTROL_ERROR")
    if frame.type == WINDOW_UPDATE and not frame.number:
        if frame.stream:
            raise StreamFailedError(frame.stream, "PROTOCOL_ERROR")
        raise ConnectionFailedError("PROTOCOL_ERROR")


def _unpad(frame: Frame) -> None:
    payload, padding = frame.payload, 0
    if frame.flags & _PADDED:
        if not payload:
            raise BrokenOffError("unexpected EOF")
        padding, payload = payload[0], payload[1:]
    if frame.type == HEADERS and frame.flags & _HAS_PRIORITY:
        if len(payload) < 5:
            raise BrokenOffError("unexpected EOF")
        payload = payload[5:]
    if padding > len(payload):
        if frame.type == HEADERS:
            raise StreamFailedError(frame.stream, "PROTOCOL_ERROR")
        raise ConnectionFailedError("PROTOCOL_ERROR")
    frame.payload = payload[: len(payload) - padding]
