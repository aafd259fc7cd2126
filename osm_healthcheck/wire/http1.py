"""One HTTP/1.1 exchange, read the way Go's ``net/http`` reads it.

Which answers are an answer is part of the kubelet's verdict, and a stricter parser would find
healthy apps dead: both ``Content-Length`` and ``Transfer-Encoding`` (RFC 9112 section 6.3 lets a
client take the latter, and Go does), the same length twice, bare line feeds in the head. The rules
are those of ``ReadResponse``, ``readTransfer`` and ``internal/chunked``.
"""

import contextlib
import re

from osm_healthcheck.core.redirect import Hop
from osm_healthcheck.core.request import Headers
from osm_healthcheck.wire.errors import BadAnswerError, BrokenOffError
from osm_healthcheck.wire.response import Framing
from osm_healthcheck.wire.stream import CHUNK_BYTES, ByteStream

# Go stops at 10 MiB; no app's head is between the two, and a hostile one costs less memory here.
MAX_RESPONSE_HEAD_BYTES = 1024 * 1024
_MAX_CHUNK_LINE_BYTES = 4096
_MAX_INTERIM_RESPONSES = 5
_STATUS_LINE = re.compile(rb"HTTP/(\d)\.(\d) +(\d{3})(?: (.*))?", re.DOTALL)
_HEADER_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", re.DOTALL)


def encode_request(method: str, hop: Hop) -> bytes:
    """The request of ``hop`` as bytes: ``Host`` first, no body."""
    lines = [
        f"{method} {hop.url.request_target} HTTP/1.1\r\nHost: {hop.host or hop.url.host}".encode(
            "latin-1", "replace"
        )
    ]
    lines += [name + b": " + value for name, value in hop.headers]
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


async def exchange(stream: ByteStream, method: str, hop: Hop) -> "HTTP1Response":
    """Send the request of ``hop`` and read the head of its answer.

    The stream belongs to the response that is returned, and to the caller where this raises.

    Raises:
        BadAnswerError: where what comes back is not HTTP.
    """
    reader = _Reader(stream)
    # An app may answer and close before it has read the request: its answer counts.
    with contextlib.suppress(BrokenOffError):
        await stream.send(encode_request(method, hop))
    try:
        for _ in range(_MAX_INTERIM_RESPONSES + 1):
            response = HTTP1Response(reader, await reader.head(), method)
            if response.status == 101 or not 100 <= response.status < 200:
                return response
    except BrokenOffError as error:
        raise BadAnswerError(str(error)) from None
    raise BadAnswerError("net/http: too many 1xx informational responses")


class HTTP1Response:
    """An answer over HTTP/1; see `Response`."""

    def __init__(self, reader: "_Reader", head: bytes, method: str) -> None:
        self._reader = reader
        self._left = 0
        first, *lines = head.replace(b"\r\n", b"\n").split(b"\n")
        match = _STATUS_LINE.fullmatch(first)
        if match is None:
            raise BadAnswerError(f'malformed HTTP response "{_shown(first)}"')
        major, minor, status, reason = match.groups()
        self.status = int(status)
        self.reason = reason or b""
        self.headers: Headers = tuple(_headers(lines))
        self.framing = self._find_framing(method, (major, minor) >= (b"1", b"1"))

    def _find_framing(self, method: str, http11: bool) -> Framing:
        fields: dict[bytes, list[bytes]] = {}
        for name, value in self.headers:
            fields.setdefault(name.lower(), []).append(value)
        chunked = False
        if http11 and (codings := fields.get(b"transfer-encoding")):
            if len(codings) > 1 or codings[0].lower() != b"chunked":
                shown = b", ".join(codings)
                raise BadAnswerError(f'unsupported transfer encoding: "{_shown(shown)}"')
            chunked = True
        lengths = {value.strip() for value in fields.get(b"content-length", ())}
        if not chunked and lengths:
            if len(lengths) > 1 or not (length := lengths.pop()).isdigit() or len(length) > 18:
                raise BadAnswerError("bad Content-Length")
            self._left = int(length)
        if method == "HEAD" or self.status in (204, 304):
            return Framing.NONE
        if self.status == 101:
            return Framing.CLOSE
        if chunked:
            return Framing.CHUNKED
        if b"content-length" in fields:
            return Framing.LENGTH
        return Framing.CLOSE

    async def read(self) -> bytes:
        """See `Response`."""
        piece = b""
        match self.framing:
            case Framing.LENGTH if self._left:
                piece = await self._reader.some(self._left)
                self._left -= len(piece)
            case Framing.CHUNKED if not self._reader.whole:
                if not self._left:
                    self._left = await self._reader.chunk_size()
                if self._left:
                    piece = await self._reader.some(self._left)
                    self._left -= len(piece)
                    if not self._left:
                        await self._reader.chunk_end()
                else:
                    await self._reader.trailers()
            case Framing.CLOSE:
                piece = await self._reader.rest()
        self._reader.whole = not piece or (self.framing is Framing.LENGTH and not self._left)
        return piece

    def close(self) -> None:
        """See `Response`."""
        self._reader.close()


class _Reader:
    """Bytes of the stream that have been received and not been used."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._buffer = b""
        self.whole = False

    def close(self) -> None:
        if self.whole and not self._buffer:
            self._stream.close()
        else:
            self._stream.abandon()

    async def head(self) -> bytes:
        """Everything up to the first empty line, without it."""
        match = None
        while not match:
            if len(self._buffer) > MAX_RESPONSE_HEAD_BYTES:
                raise BadAnswerError(
                    f"net/http: response headers exceeded {MAX_RESPONSE_HEAD_BYTES} bytes"
                )
            searched = max(len(self._buffer) - 3, 0)
            if not (data := await self._stream.receive()):
                raise BadAnswerError("unexpected EOF" if self._buffer else "EOF")
            self._buffer += data
            match = _HEAD_END.search(self._buffer, searched)
        head = self._buffer[: match.start()]
        self._buffer = self._buffer[match.end() :]
        return head

    async def some(self, limit: int) -> bytes:
        """At least one and at most ``limit`` bytes."""
        if not self._buffer:
            self._buffer = await self._stream.receive()
            if not self._buffer:
                raise BrokenOffError("unexpected EOF")
        piece, self._buffer = self._buffer[:limit], self._buffer[limit:]
        return piece

    async def rest(self) -> bytes:
        """What has come, or comes next; ``b""`` at the end."""
        piece, self._buffer = self._buffer, b""
        return piece or await self._stream.receive()

    async def line(self) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _MAX_CHUNK_LINE_BYTES:
                raise BrokenOffError("header line too long")
            if not (data := await self._stream.receive()):
                raise BrokenOffError("unexpected EOF")
            self._buffer += data
        line, self._buffer = self._buffer[: end + 1], self._buffer[end + 1 :]
        if not line.endswith(b"\r\n"):
            raise BrokenOffError("malformed chunked encoding")
        return line[:-2]

    async def chunk_size(self) -> int:
        match = _CHUNK_SIZE.fullmatch(await self.line())
        if match is None:
            raise BrokenOffError("invalid byte in chunk length")
        return int(match[1], 16)

    async def chunk_end(self) -> None:
        if await self.line():
            raise BrokenOffError("malformed chunked encoding")

    async def trailers(self) -> None:
        for _ in range(MAX_RESPONSE_HEAD_BYTES // CHUNK_BYTES):
            if not await self.line():
                return
        raise BrokenOffError("too many trailers")


def _headers(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Header lines of a head; a line that begins with a blank continues the one before it."""
    found: list[tuple[bytes, bytes]] = []
    for line in lines:
        if line[:1] in (b" ", b"\t") and found:
            name, value = found[-1]
            found[-1] = (name, (value + b" " + line.strip(b" \t")).strip(b" "))
            continue
        name, colon, value = line.partition(b":")
        if not colon or not _HEADER_NAME.fullmatch(name) or b"\0" in value or b"\r" in value:
            raise BadAnswerError(f'malformed MIME header line: "{_shown(line)}"')
        found.append((name, value.strip(b" \t")))
    return found


def _shown(text: bytes) -> str:
    return text[:80].decode("utf-8", "backslashreplace")
