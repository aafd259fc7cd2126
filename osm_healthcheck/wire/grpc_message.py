"""The answer to a gRPC health check, read as it comes: gRPC's framing, and one field of protobuf.

The answer is two bytes long where an app is sane, and may be 4 MiB: nothing of it is kept.
"""

from osm_healthcheck.wire.errors import WireError
from osm_healthcheck.wire.http2_frames import quoted

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
# So much is read before others get their turn: a millisecond or two.
PIECE_BYTES = 4096
_PREFIX_BYTES = 5
_MAX_VARINT_BYTES = 10
_MAX_FIELD_NUMBER = 2**29 - 1
_MAX_GROUPS = 10_000  # protowire.DefaultRecursionLimit


class MessageError(WireError):
    """A message that grpc-go refuses; ``code`` is the status that it gives the call."""

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        super().__init__(detail)


class MessageReader:
    """The messages of a call that has one answer.

    ``encoding`` is the ``grpc-encoding`` of the answer, ``b""`` where there is none.
    """

    def __init__(self) -> None:
        self.encoding = b""
        self._prefix = b""
        self._left = 0
        self._field = FirstField()
        self._count = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            MessageError: where they are no message, or more than one.
        """
        while data:
            if len(self._prefix) < _PREFIX_BYTES:
                missing = _PREFIX_BYTES - len(self._prefix)
                self._prefix, data = self._prefix + data[:missing], data[missing:]
                if len(self._prefix) < _PREFIX_BYTES:
                    return
                self._begin()
            piece, data = data[: self._left], data[self._left :]
            self._left -= len(piece)
            if not self._prefix[0]:
                self._field.feed(piece)
            if not self._left:
                self._end()

    def finish(self) -> int | None:
        """The status of the one message; ``None`` where there was none.

        Raises:
            MessageError: where it ends before it is whole.
        """
        if self._prefix:
            raise MessageError("Internal", "unexpected EOF")
        return self._field.value if self._count else None

    def _begin(self) -> None:
        self._left = int.from_bytes(self._prefix[1:])
        if self._left > MAX_MESSAGE_BYTES:
            raise MessageError(
                "ResourceExhausted",
                f"grpc: received message larger than max ({self._left} vs. {MAX_MESSAGE_BYTES})",
            )

    def _end(self) -> None:
        """A message is whole. Only now grpc-go looks at what it is."""
        flag = self._prefix[0]
        self._prefix = b""
        if flag == 1 and self.encoding in (b"", b"identity"):
            raise MessageError(
                "Internal", "grpc: compressed flag set with identity or empty encoding"
            )
        if flag == 1:
            raise MessageError(
                "Internal",
                f"grpc: Decompressor is not installed for grpc-encoding {quoted(self.encoding)}",
            )
        if flag:
            raise MessageError("Internal", f"grpc: received unexpected payload format {flag}")
        self._field.finish()
        self._count += 1
        if self._count > 1:
            raise MessageError(
                "Internal",
                "cardinality violation: expected <EOF> for non server-streaming RPCs, but received "
                "another message",
            )


class FirstField:
    """Field 1 of a protobuf message, an ``int32`` or an enum; ``value`` is 0 where it is missing.

    Other fields are passed over (protobuf's encoding, "Updating A Message Type").
    """

    def __init__(self) -> None:
        self.value = 0
        self._groups: list[int] = []
        self._skip = 0
        self._varint = bytearray()
        self._tag: int | None = None  # whose varint comes next; ``None``: a tag comes next

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            MessageError: where they are no protobuf.
        """
        at = 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            self._varint.append(data[at])
            at += 1
            if data[at - 1] >= 0x80:
                if len(self._varint) >= _MAX_VARINT_BYTES:
                    raise _unmarshal_error()
                continue
            number = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(self._varint))
            if number >= 2**64:
                raise _unmarshal_error()
            self._varint.clear()
            self._take(number)

    def finish(self) -> None:
        """End the message.

        Raises:
            MessageError: where it is not whole.
        """
        if self._skip or self._varint or self._tag is not None or self._groups:
            raise _unmarshal_error()

    def _take(self, number: int) -> None:
        """Take a varint: a tag, or the value or the length that a tag announced."""
        if self._tag is not None:
            tag, self._tag = self._tag, None
            if tag & 7 == 2:
                self._skip = number
            elif tag >> 3 == 1 and not self._groups:
                low = number & 0xFFFFFFFF
                self.value = low - (1 << 32) if low >= 1 << 31 else low
            return
        field, kind = number >> 3, number & 7
        if not 1 <= field <= _MAX_FIELD_NUMBER:
            raise _unmarshal_error()
        match kind:
            case 0 | 2:  # VARINT; LEN, whose length is one
                self._tag = number
            case 1:  # I64
                self._skip = 8
            case 5:  # I32
                self._skip = 4
            case 3 if len(self._groups) < _MAX_GROUPS:  # SGROUP
                self._groups.append(field)
            case 4 if self._groups and self._groups[-1] == field:
                self._groups.pop()
            case _:
                raise _unmarshal_error()


def _unmarshal_error() -> MessageError:
    return MessageError(
        "Internal",
        "grpc: failed to unmarshal the received message: proto: cannot parse invalid "
        "wire-format data",
    )


def framed(message: bytes) -> bytes:
    """A gRPC message as it goes out: not compressed, length, content."""
    return b"\0" + len(message).to_bytes(4) + message
