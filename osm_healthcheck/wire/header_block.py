"""HPACK (RFC 7541), decoded as the pieces of a header block come.

``hpack`` decodes a block in one go and keeps all of it, which lets an app hold the loop for as
long as its header list is. Its tables are used here, and nothing else of it. What is an error is
one in ``golang.org/x/net/http2/hpack``.
"""

from collections import deque
from collections.abc import Generator, Iterator

from hpack.huffman_table import (
    HUFFMAN_COMPLETE,
    HUFFMAN_EMIT_SYMBOL,
    HUFFMAN_FAIL,
    HUFFMAN_TABLE,
)
from hpack.table import HeaderTable

Field = tuple[bytes, bytes]

_STATIC: tuple[Field, ...] = HeaderTable.STATIC_TABLE
# SETTINGS_HEADER_TABLE_SIZE, which Go leaves as it is
_MAX_TABLE_BYTES = 4096
_MAX_INTEGER_SHIFT = 63
# so much of a Huffman string is decoded before others get their turn: a millisecond
_HUFFMAN_TURN_BYTES = 4096
FIELD_OVERHEAD = 32


class DecodingError(Exception):
    """What came is no HPACK; RFC 9113 section 4.3 has the connection end."""


class HPACKDecoder:
    """Decodes the header blocks of one connection.

    No field may exceed ``max_field`` bytes, as it comes and decoded: so much of it waits in memory.
    """

    def __init__(self, max_field: int) -> None:
        self._max_field = max_field
        self._dynamic: deque[Field] = deque()  # the newest comes first
        self._dynamic_bytes = 0
        self._table_limit = _MAX_TABLE_BYTES
        self._at_start = True
        self._buffer = bytearray()

    def feed(self, fragment: bytes) -> Iterator[Field | None]:
        """Decode the next piece of a block; ``None`` stands for time that went by.

        Raises:
            DecodingError: where it is wrong.
        """
        self._buffer += fragment
        at = 0
        try:
            while at < len(self._buffer):
                field, at = yield from self._representation(at)
                self._at_start = False
                if field is not None:
                    yield field
        except _NeedMoreError:
            pass
        del self._buffer[:at]

    def finish(self) -> None:
        """End a block.

        Raises:
            DecodingError: where it ends in the middle of a field.
        """
        self._at_start = True
        if self._buffer:
            raise DecodingError("truncated headers")

    def _representation(self, at: int) -> Generator[None, None, tuple[Field | None, int]]:
        """What stands at ``at`` (RFC 7541 section 6), and where it ends."""
        first = self._buffer[at]
        if first & 0x80:
            index, at = self._integer(7, at)
            return self._entry(index), at
        if first & 0xE0 == 0x20:
            size, at = self._integer(5, at)
            if not self._at_start and self._dynamic_bytes:
                raise DecodingError("dynamic table size update in the middle of a header block")
            if size > _MAX_TABLE_BYTES:
                raise DecodingError("dynamic table size update too large")
            self._table_limit = size
            self._evict()
            return None, at
        indexed = bool(first & 0x40)
        index, at = self._integer(6 if indexed else 4, at)
        # Nothing is decoded before all has come: a field may arrive a byte at a time.
        start = name_end = at
        if not index:
            start, name_end = self._string(at, self._max_field)
        value_start, end = self._string(name_end, self._max_field - (name_end - start))
        if index:
            name = self._entry(index)[0]
        else:
            name = yield from self._text(at, start, name_end, self._max_field)
        value = yield from self._text(name_end, value_start, end, self._max_field - len(name))
        if indexed:
            self._dynamic.appendleft((name, value))
            self._dynamic_bytes += len(name) + len(value) + FIELD_OVERHEAD
            self._evict()
        return (name, value), end

    def _entry(self, index: int) -> Field:
        if 0 < index <= len(_STATIC):
            return _STATIC[index - 1]
        if 0 < index <= len(_STATIC) + len(self._dynamic):
            return self._dynamic[index - len(_STATIC) - 1]
        raise DecodingError(f"invalid indexed representation index {index}")

    def _evict(self) -> None:
        while self._dynamic_bytes > self._table_limit:
            name, value = self._dynamic.pop()
            self._dynamic_bytes -= len(name) + len(value) + FIELD_OVERHEAD

    def _integer(self, bits: int, at: int) -> tuple[int, int]:
        """An integer whose first byte has ``bits`` of it (RFC 7541 section 5.1), and its end."""
        buffer = self._buffer
        if at >= len(buffer):
            raise _NeedMoreError
        full = (1 << bits) - 1
        number = buffer[at] & full
        at += 1
        if number < full:
            return number, at
        shift = 0
        while at < len(buffer):
            byte = buffer[at]
            at += 1
            number += (byte & 0x7F) << shift
            if byte < 0x80:
                return number, at
            shift += 7
            if shift >= _MAX_INTEGER_SHIFT:
                raise DecodingError("varint integer overflow")
        raise _NeedMoreError

    def _string(self, at: int, limit: int) -> tuple[int, int]:
        """Where the content of the string at ``at`` starts and ends (RFC 7541 section 5.2)."""
        length, at = self._integer(7, at)
        if length > limit:
            raise DecodingError("string too long")
        if at + length > len(self._buffer):
            raise _NeedMoreError
        return at, at + length

    def _text(self, at: int, start: int, end: int, limit: int) -> Generator[None, None, bytes]:
        if self._buffer[at] & 0x80:
            return (yield from self._huffman(start, end, limit))
        if end - start > limit:
            raise DecodingError("string too long")
        return bytes(self._buffer[start:end])

    def _huffman(self, start: int, end: int, limit: int) -> Generator[None, None, bytes]:
        """Decode a Huffman string with hpack's table, in turns, from where it has come to."""
        table = HUFFMAN_TABLE
        # in pieces: of a hundred buffers that grow side by side the heap keeps what they leave
        pieces: list[bytes] = []
        state, flags = 0, HUFFMAN_COMPLETE
        for at in range(start, end, _HUFFMAN_TURN_BYTES):
            if at > start:
                yield
            decoded = bytearray()
            for byte in self._buffer[at : min(at + _HUFFMAN_TURN_BYTES, end)]:
                for nibble in (byte >> 4, byte & 0x0F):
                    state, flags, symbol = table[state * 16 + nibble]
                    if flags & HUFFMAN_EMIT_SYMBOL:
                        decoded.append(symbol)
                    elif flags & HUFFMAN_FAIL:
                        raise DecodingError("invalid Huffman-encoded data")
            pieces.append(bytes(decoded))
            limit -= len(decoded)
            if limit < 0:
                raise DecodingError("string too long")
        if not flags & HUFFMAN_COMPLETE:
            raise DecodingError("invalid Huffman-encoded data")
        return b"".join(pieces)


class _NeedMoreError(Exception):
    """The rest of a field has not come yet."""


def encode(fields: Iterator[Field] | list[Field]) -> bytes:
    """A header block with these fields, each written out and none indexed."""
    out = bytearray()
    for name, value in fields:
        out.append(0)
        for text in (name, value):
            _append_length(out, len(text))
            out += text
    return bytes(out)


def _append_length(out: bytearray, length: int) -> None:
    if length < 0x7F:
        out.append(length)
        return
    out.append(0x7F)
    length -= 0x7F
    while length > 0x7F:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    out.append(length)
