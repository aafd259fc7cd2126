"""The little of Protocol Buffers that is needed here: strings, numbers, messages, maps.

The wire format is that of protobuf.dev/programming-guides/encoding. Generated code would bring the
protobuf runtime into the process, which takes 6 MB for a handful of messages.
"""

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES = {_FIXED64: 8, _FIXED32: 4}
_MAX_VARINT_BYTES = 10
# of a field: its number and type, and its length or value
_MAX_HEAD_BYTES = 2 * _MAX_VARINT_BYTES


class MessageError(ValueError):
    """Bytes that are no message."""


def text_field(number: int, value: str) -> bytes:
    """A field of type string; nothing where it is empty."""
    data = value.encode()
    return _varint(number << 3 | _BYTES) + _varint(len(data)) + data if data else b""


def bool_field(number: int, value: bool) -> bytes:
    """A field of type bool; nothing where it is false."""
    return _varint(number << 3 | _VARINT) + b"\1" if value else b""


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message in their order: numbers as they are, everything else as bytes.

    Raises:
        MessageError: where it is no message.
    """
    at = 0
    while at < len(message):
        number, kind, start, at = _extent(message, at)
        if kind == _VARINT:
            yield number, _read_varint(message, start)[0]
            continue
        if at > len(message):
            raise MessageError(f"field {number} ends after the message")
        yield number, message[start:at]


class Cutter:
    """Cuts messages in the field ``number`` off a message that comes piece by piece."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._data = bytearray()
        self._needed = _MAX_HEAD_BYTES

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes; the messages that are whole by now.

        Raises:
            MessageError: where it is no message.
        """
        self._data += data
        found = []
        at = 0
        while len(self._data) - at >= self._needed:
            number, kind, start, end = _extent(self._data, at)
            if end > len(self._data):
                self._needed = end - at
                break
            if number == self._number and kind != _VARINT:
                found.append(bytes(self._data[start:end]))
            self._needed = _MAX_HEAD_BYTES
            at = end
        del self._data[:at]
        return found

    def finish(self) -> list[bytes]:
        """The messages in what is left, which is the end.

        Raises:
            MessageError: where it is no message.
        """
        return messages(bytes(self._data), self._number)


def texts(message: bytes, number: int) -> list[str]:
    """The values of the string field ``number``."""
    return [value.decode("utf-8", "replace") for value in messages(message, number)]


def text(message: bytes, number: int) -> str:
    """The value of the string field ``number``; of several the last one, as the format has it."""
    return (texts(message, number) or [""])[-1]


def messages(message: bytes, number: int) -> list[bytes]:
    """The values of the field ``number``, which holds messages or bytes."""
    return [value for at, value in fields(message) if at == number and isinstance(value, bytes)]


def message_in(message: bytes, number: int) -> bytes:
    """The message in field ``number``; an empty one where there is none."""
    return b"".join(messages(message, number))


def text_map(message: bytes, number: int) -> dict[str, str]:
    """The value of the ``map<string, string>`` in field ``number``."""
    return {text(entry, 1): text(entry, 2) for entry in messages(message, number)}


def _extent(message: bytes | bytearray, at: int) -> tuple[int, int, int, int]:
    """The number of the field at ``at``, its wire type, and where its value begins and ends."""
    key, at = _read_varint(message, at)
    number, kind = key >> 3, key & 7
    if kind == _VARINT:
        return number, kind, at, _read_varint(message, at)[1]
    if kind == _BYTES:
        size, at = _read_varint(message, at)
    elif kind in _SIZES:
        size = _SIZES[kind]
    else:
        raise MessageError(f"field {number} has the unknown wire type {kind}")
    return number, kind, at, at + size


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(message: bytes | bytearray, at: int) -> tuple[int, int]:
    """A number and where it ends."""
    value = shift = 0
    for byte in message[at : at + _MAX_VARINT_BYTES]:
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise MessageError("a number does not end")
