"""One HTTP/1.1 exchange, read the way Go's ``net/http`` reads it.

Which answers are an answer is part of the kubelet's verdict, and a stricter parser would find
healthy apps dead: both ``Content-Length`` and ``Transfer-Encoding`` (RFC 9112 section 6.3 lets a
client take the latter, and Go does), the same length twice, bare line feeds in the head. The rules
are those of ``ReadResponse``, ``readTransfer`` and ``internal/chunked``.
"""

import contextlib
import re

from osm_healthcheck.probes.quote import quote
from osm_healthcheck.probes.redirect import Hop
from osm_healthcheck.probes.request import Headers, is_upgrade
from osm_healthcheck.wire.errors import BadAnswerError, BrokenOffError, MalformedError
from osm_healthcheck.wire.response import Framing
from osm_healthcheck.wire.stream import CHUNK_BYTES, ByteStream

# Go stops at 10 MiB; no app's head is between the two, and a hostile one costs less memory here.
MAX_RESPONSE_HEAD_BYTES = 1024 * 1024
# Go's read buffer: a chunk's first line and the trailers have to fit into it
_MAX_CHUNK_LINE_BYTES = 4096
_MAX_LENGTH = 2**63 - 1
_MAX_QUOTED_BYTES = 200
_STATUS_LINE = re.compile(rb"HTTP/(\d)\.(\d) +(\d{3})(?: (.*))?", re.DOTALL)
# a blank in a name is wrong, and is taken all the same (golang.org/issue/34540)
_HEADER_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z ]+")
_NOT_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;.*|[ \t]*)", re.DOTALL)
_NOT_TRAILERS = frozenset({b"transfer-encoding", b"trailer", b"content-length"})


def encode_request(method: str, hop: Hop) -> bytes:
    """The request of ``hop`` as bytes: ``Host`` first, no body."""
    lines = [
        f"{method} {hop.url.request_target} HTTP/1.1\r\nHost: {hop.authority}".encode("latin-1")
    ]
    lines += [name + b": " + value for name, value in hop.lines]
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


async def exchange(
    stream: ByteStream, method: str, hop: Hop, encoded: bytes | None = None
) -> "HTTP1Response":
    """Send the request of ``hop``, or its ``encoded`` bytes, and read the head of its answer.

    The stream belongs to the response that is returned, and to the caller where this raises.

    Raises:
        BadAnswerError: where what comes back is not HTTP.
    """
    reader = _ResponseReader(stream)
    # An app may answer and close before it has read the request: its answer counts.
    with contextlib.suppress(BrokenOffError):
        await stream.send(encoded or encode_request(method, hop))
    while True:
        response = HTTP1Response(reader, await reader.head(), method)
        if response.status == 101 or not 100 <= response.status < 200:
            return response


class HTTP1Response:
    """An answer over HTTP/1; see `Response`."""

    def __init__(self, reader: "_ResponseReader", head: bytes, method: str) -> None:
        self._reader = reader
        self._left = 0
        first, *lines = head.replace(b"\r\n", b"\n").split(b"\n")
        major, minor, status, reason = _status_line(first)
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
            if len(codings) > 1:
                raise MalformedError(f"too many transfer encodings: {_quoted_all(codings)}")
            if codings[0].lower() != b"chunked":
                raise MalformedError(f"unsupported transfer encoding: {_quoted(codings[0])}")
            chunked = True
            for names in fields.get(b"trailer", ()):
                if not _NOT_TRAILERS.isdisjoint(n.strip().lower() for n in names.split(b",")):
                    raise MalformedError(f"bad trailer key {_quoted(names)}")
        if lengths := fields.get(b"content-length"):
            length = _read_length(lengths)
            self._left = 0 if chunked else length
        if method == "HEAD" or self.status in (204, 304):
            return Framing.NONE
        if self.status == 101:
            return Framing.CLOSE if is_upgrade(self.headers) else Framing.NONE
        if chunked:
            return Framing.CHUNKED
        if b"content-length" in fields:
            return Framing.LENGTH
        return Framing.CLOSE

    def received(self) -> bytes:
        """See `Response`."""
        if self.framing is not Framing.LENGTH or not self._left:
            return b""
        piece = self._reader.at_hand(self._left)
        self._left -= len(piece)
        self._reader.whole = not self._left
        return piece

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
                else:
                    await self._reader.trailers()
            case Framing.CLOSE:
                piece = await self._reader.rest()
        self._reader.whole = not piece or (self.framing is Framing.LENGTH and not self._left)
        return piece

    def close(self) -> None:
        """See `Response`."""
        self._reader.close()


class _ResponseReader:
    """Bytes of the stream that have been received and not been used."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._buffer = b""
        self._heads = 0
        self._in_chunks = False
        self.whole = False

    def close(self) -> None:
        if self.whole and not self._buffer:
            self._stream.close()
        else:
            self._stream.abandon()

    async def head(self) -> bytes:
        """Everything up to the first empty line, without it."""
        searched = 0
        plausible = False
        while not (match := _HEAD_END.search(self._buffer, searched)):
            if not plausible and b"\n" in self._buffer:  # what is no HTTP may never end
                _status_line(self._buffer.partition(b"\n")[0].removesuffix(b"\r"))
                plausible = True
            searched = max(len(self._buffer) - 3, 0)
            try:
                data = await self._stream.receive()
            except BrokenOffError as error:
                raise self._cut_short(str(error)) from None
            if not data:
                raise self._cut_short("unexpected EOF" if self._buffer or self._heads else "EOF")
            self._buffer += data
            if len(self._buffer) + self._heads > MAX_RESPONSE_HEAD_BYTES + CHUNK_BYTES:
                raise BadAnswerError(
                    f"net/http: server response headers exceeded {MAX_RESPONSE_HEAD_BYTES} bytes; "
                    "aborted"
                )
        self._heads += match.end()
        head = self._buffer[: match.start()]
        self._buffer = self._buffer[match.end() :]
        return head

    def _cut_short(self, reason: str) -> BadAnswerError:
        """Why there is no whole head: what is wrong with the half one comes first, as with Go."""
        if not self._buffer and not self._heads:
            return BadAnswerError(reason)
        if self._buffer:
            first, *lines = self._buffer.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n")
            _status_line(first)
            _headers(lines)
        return MalformedError(reason)

    def at_hand(self, limit: int) -> bytes:
        """What has come already, at most ``limit`` bytes."""
        piece, self._buffer = self._buffer[:limit], self._buffer[limit:]
        return piece

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

    async def chunk_size(self) -> int:
        """The size of the next chunk, once the end of the one before it has been looked at.

        That end is not waited for with the chunk: what has come is the caller's at once.
        """
        if self._in_chunks:
            if await self._two() != b"\r\n":
                raise BrokenOffError("malformed chunked encoding")
            self._buffer = self._buffer[2:]
        self._in_chunks = True
        line = await self._until(b"\n", "header line too long")
        if line.find(b"\r") != len(line) - 2:
            raise BrokenOffError("malformed chunked encoding")
        match = _CHUNK_SIZE.fullmatch(line[:-2])
        if match is None:
            raise BrokenOffError("invalid byte in chunk length")
        return int(match[1], 16)

    async def trailers(self) -> None:
        if await self._two() == b"\r\n":
            self._buffer = self._buffer[2:]
            return
        text = await self._until(b"\r\n\r\n", "http: suspiciously long trailer after chunked body")
        try:
            _headers(text[:-4].replace(b"\r\n", b"\n").split(b"\n"))
        except BadAnswerError as error:
            raise BrokenOffError(str(error)) from None

    async def _two(self) -> bytes:
        """The next two bytes, which are not taken."""
        while len(self._buffer) < 2:
            await self._more()
        return self._buffer[:2]

    async def _until(self, end: bytes, too_long: str) -> bytes:
        """Everything up to ``end``, with it."""
        while (at := self._buffer.find(end, 0, _MAX_CHUNK_LINE_BYTES)) < 0:
            if len(self._buffer) >= _MAX_CHUNK_LINE_BYTES:
                raise BrokenOffError(too_long)
            await self._more()
        at += len(end)
        text, self._buffer = self._buffer[:at], self._buffer[at:]
        return text

    async def _more(self) -> None:
        if not (data := await self._stream.receive()):
            raise BrokenOffError("unexpected EOF")
        self._buffer += data


def _status_line(line: bytes) -> tuple[bytes, bytes, bytes, bytes | None]:
    """Major and minor version, status and reason."""
    if match := _STATUS_LINE.fullmatch(line):
        major, minor, status, reason = match.groups()
        return major, minor, status, reason
    version, blank, rest = line.partition(b" ")
    status = rest.lstrip(b" ").partition(b" ")[0]
    if not blank:
        raise MalformedError(f"malformed HTTP response {_quoted(line)}")
    if len(status) != 3 or not status.isdigit():
        raise MalformedError(f"malformed HTTP status code {_quoted(status)}")
    raise MalformedError(f"malformed HTTP version {_quoted(version)}")


def _read_length(values: list[bytes]) -> int:
    """``fixLength`` and ``parseContentLength``: the same length may stand there twice."""
    digits = values[0]
    if any(other != digits for other in values):
        raise MalformedError(
            "http: message cannot contain multiple Content-Length headers; "
            f"got {_quoted_all(values)}"
        )
    if not digits:
        raise MalformedError('invalid empty Content-Length ""')
    significant = digits.lstrip(b"0") or b"0"
    if not digits.isdigit() or len(significant) > 19 or int(significant) > _MAX_LENGTH:
        raise MalformedError(f"bad Content-Length {_quoted(digits)}")
    return int(significant)


def _headers(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Header lines of a head; a line that begins with a blank continues the one before it."""
    found: list[tuple[bytes, bytes]] = []
    for line in lines:
        if line[:1] in (b" ", b"\t"):
            if not found:
                raise MalformedError(f"malformed MIME header initial line: {_quoted(line)}")
            name, value = found[-1]
            found[-1] = (name, (value + b" " + line.strip(b" \t")).strip(b" "))
            continue
        name, colon, value = line.partition(b":")
        if not colon:
            raise MalformedError(f"malformed MIME header: missing colon: {_quoted(line)}")
        if not _HEADER_NAME.fullmatch(name):
            raise MalformedError(f"malformed MIME header line: {_quoted(line)}")
        found.append((name, value.strip(b" \t")))
    for name, value in found:
        if _NOT_IN_VALUE.search(value):
            raise MalformedError(f"malformed MIME header line: {_quoted(name + b': ' + value)}")
    return found


def _quoted(text: bytes) -> str:
    return quote(text[:_MAX_QUOTED_BYTES])


def _quoted_all(texts: list[bytes]) -> str:
    return f"[{' '.join(map(_quoted, texts))}]"
