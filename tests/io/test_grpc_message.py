"""The answer to a gRPC health check: what is read of it, whatever pieces it comes in."""

import asyncio
import base64
from urllib.parse import unquote_to_bytes

import pytest

from osm_healthcheck.wire.grpc_message import (
    MAX_MESSAGE_BYTES,
    PIECE_BYTES,
    MessageError,
    MessageReader,
)
from osm_healthcheck.wire.grpc_reply import Reply, StatusError
from osm_healthcheck.wire.http2_frames import END_STREAM, HEADERS, Frame
from tests.io.turns import Turns

TWICE = (
    "Internal: cardinality violation: expected <EOF> for non server-streaming RPCs, but "
    "received another message"
)
MALFORMED = (
    "Internal: grpc: failed to unmarshal the received message: proto: cannot parse invalid "
    "wire-format data"
)
SERVING = b"\0\0\0\0\x02\x08\x01"


def _status(data: bytes, size: int) -> int | str | None:
    reader = MessageReader()
    try:
        for at in range(0, len(data), size):
            reader.feed(data[at : at + size])
        return reader.finish()
    except MessageError as error:
        return f"{error.code}: {error}"


def _message(content: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(content).to_bytes(4) + content


@pytest.mark.parametrize("size", [1, 2, 5, 6, 100])
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (SERVING, 1),
        (b"", None),
        (_message(b""), 0),
        (_message(b"\x08\x02"), 2),
        (_message(b"\x08\x02\x08\x01"), 1),
        (_message(b"\x08\x81\x00"), 1),
        # a varint, 8 bytes, a string, a group and 4 bytes that nobody asked for
        (_message(b"\x10\x96\x01\x08\x01"), 1),
        (_message(b"\x11" + b"\x08\x02" * 4 + b"\x08\x01"), 1),
        (_message(b"\x12\x02\x08\x02\x08\x01"), 1),
        (_message(b"\x13\x08\x02\x14\x08\x01"), 1),
        (_message(b"\x15\x08\x02\x08\x02\x08\x01"), 1),
        # a group in a group, and the highest number of a field
        (_message(b"\x13\x1b\x08\x02\x1c\x14\x08\x01"), 1),
        (_message(b"\xf8\xff\xff\xff\x0f\x02\x08\x01"), 1),
        (_message(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), -1),
        (_message(b"\x80\x80\x80\x80\x10\x02"), MALFORMED),
        (_message(b"\x00\x02"), MALFORMED),
        (_message(b"\x13\x1b\x14\x1c"), MALFORMED),
        (_message(b"\x13"), MALFORMED),
        (_message(b"\x14"), MALFORMED),
        (_message(b"\x16\x01"), MALFORMED),
        (_message(b"\x08"), MALFORMED),
        (_message(b"\x08\x80"), MALFORMED),
        (_message(b"\x12\x02\x08"), MALFORMED),
        (_message(b"\x08" + b"\xff" * 9 + b"\x02"), MALFORMED),
        (_message(b"\x08" + b"\x80" * 10 + b"\x01"), MALFORMED),
        (SERVING[:3], "Internal: unexpected EOF"),
        (SERVING[:6], "Internal: unexpected EOF"),
        (_message(b"", 1), "Internal: grpc: compressed flag set with identity or empty encoding"),
        (
            _message(b"\x0f", 1),  # what is compressed is not looked into
            "Internal: grpc: compressed flag set with identity or empty encoding",
        ),
        (_message(b"", 2), "Internal: grpc: received unexpected payload format 2"),
        (SERVING * 2, TWICE),
    ],
)
def test_a_message_in_pieces(data: bytes, status: int | str | None, size: int) -> None:
    assert _status(data, size) == status


@pytest.mark.parametrize("letter", [b"x", b"%20"], ids=["letters", "in percent"])
@pytest.mark.parametrize("size", [1023, 1024, 1025])
def test_of_the_words_of_a_status_1_kib_is_told(letter: bytes, size: int) -> None:
    """An event holds no more: NoteLengthLimit of pkg/apis/core/validation/events.go."""
    words = (letter * size)[:size]
    fields = ((b"grpc-status", b"5"), (b"grpc-message", words))
    head = ((b"content-type", b"application/grpc"), *fields)
    with pytest.raises(StatusError) as raised:
        asyncio.run(Reply().take_headers(Frame(HEADERS, END_STREAM, 1, fields=head)))
    assert raised.value.detail.encode() == unquote_to_bytes(words[:1024])


def test_a_message_may_have_four_megabytes() -> None:
    """grpc-go's default ``MaxCallRecvMsgSize``; nothing of a longer one is waited for."""
    head = b"\0" + (MAX_MESSAGE_BYTES + 1).to_bytes(4)
    assert _status(head, 5) == (
        "ResourceExhausted: grpc: received message larger than max (4194305 vs. 4194304)"
    )
    content = b"\x12" + b"\xfb\xff\xff\x01" + bytes(MAX_MESSAGE_BYTES - 5)
    assert _status(_message(content), 65536) == 0


@pytest.mark.parametrize("field", [b"\x10\x01", b"\x1b\x1c", b"\x08\x05"])
def test_long_details_give_others_their_turn(field: bytes) -> None:
    details = field * (15 * PIECE_BYTES // 2)
    trailers = (
        (b"content-type", b"application/grpc"),
        (b"grpc-status", b"5"),
        (b"grpc-status-details-bin", base64.b64encode(details)),
    )

    async def take() -> int:
        turns = Turns()
        with pytest.raises(StatusError):
            await Reply().take_headers(Frame(HEADERS, END_STREAM, 1, fields=trailers))
        return turns.end()

    assert asyncio.run(take()) >= 14
