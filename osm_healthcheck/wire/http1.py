"""One HTTP/1.1 exchange, read the way Go's ``net/http`` reads it.

Which answers are an answer is part of the kubelet's verdict, and a stricter parser would find
healthy apps dead: both ``Content-Length`` and ``Transfer-Encoding`` (RFC 9112 section 6.3 lets a
client take the latter, and Go does), the same length twice, bare line feeds in the head. The rules
are those of ``ReadResponse``, ``readTransfer`` and ``internal/chunked``.
"""

import asyncio
import contextlib
import re
from collections.abc import Iterable

from osm_healthcheck.probes.redirect import Hop
from osm_healthcheck.probes.request import Headers, http1_lines, is_upgrade
from osm_healthcheck.wire.errors import BrokenOffError, MalformedError
from osm_healthcheck.wire.http1_reader import BLANKS, Reader, quoted, quoted_all
from osm_healthcheck.wire.response import PROBED_BODY_BYTES, Framing
from osm_healthcheck.wire.stream import ByteStream

# internal/chunked: what a chunk may have beside its data (and twice that), and what of the rest all
_CHUNK_OVERHEAD_BYTES = 16
_MAX_EXCESS_BYTES = 16 * 1024
_MAX_LENGTH = 2**63 - 1
# Chunks of a byte: so many may have come with one call, and each is a piece for a caller.
_CHUNKS_A_TURN = 64
# strconv.Atoi takes a sign, and three characters are looked for
_STATUS = re.compile(rb"\d{3}|\+\d\d|-00")
_STATUS_LINE = re.compile(rb"HTTP/(\d)\.(\d) +(%b)(?: (.*))?" % _STATUS.pattern, re.DOTALL)
_NOT_HEX = re.compile(rb"[^0-9A-Fa-f]")
_NOT_TRAILERS = {
    name.lower(): name for name in (b"Transfer-Encoding", b"Trailer", b"Content-Length")
}


def encode_request(method: str, hop: Hop) -> bytes:
    """The request of ``hop`` as bytes: ``Host`` first, no body."""
    lines = [
        f"{method} {hop.url.request_target} HTTP/1.1\r\nHost: {hop.authority}".encode("latin-1")
    ]
    lines += [name + b": " + value for name, value in http1_lines(hop.lines)]
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
    reader = Reader(stream)
    # An app may answer and close before it has read the request: its answer counts.
    with contextlib.suppress(BrokenOffError):
        await stream.send(encoded or encode_request(method, hop))
    while True:
        response = await _read_response(reader, method)
        if response.status == 101 or not 100 <= response.status < 200:
            return response


async def _read_response(reader: Reader, method: str) -> "HTTP1Response":
    """Go's ``ReadResponse``: a line is looked at when it has come, not when all have."""
    major, minor, status, reason = _status_line(await reader.first_line())
    headers = tuple(await reader.fields())
    response = HTTP1Response(reader, int(status), reason or b"", headers)
    response.find_framing(method, (major, minor) >= (b"1", b"1"))
    return response


class HTTP1Response:
    """An answer over HTTP/1; see `Response`."""

    framing = Framing.NONE

    def __init__(self, reader: Reader, status: int, reason: bytes, headers: Headers) -> None:
        self._reader = reader
        self._left = 0
        self._chunks = 0
        self._excess = 0
        self._passed_on = 0
        self._in_chunk = False
        self.status = status
        self.reason = reason
        self.headers = headers

    def find_framing(self, method: str, http11: bool) -> None:
        """Go's ``readTransfer``.

        Raises:
            MalformedError: where the headers contradict themselves.
        """
        fields: dict[bytes, list[bytes]] = {}
        for name, value in self.headers:
            fields.setdefault(name.lower(), []).append(value)
        chunked = False
        if http11 and (codings := fields.get(b"transfer-encoding")):
            if len(codings) > 1:
                raise MalformedError(f"too many transfer encodings: {quoted_all(codings)}")
            if codings[0].lower() != b"chunked":
                raise MalformedError(f"unsupported transfer encoding: {quoted(codings[0])}")
            chunked = True
        lengths = fields.get(b"content-length")
        length = _read_length(lengths) if lengths else 0
        if chunked:
            _check_trailer_names(fields.get(b"trailer", ()))
        if method == "HEAD" or self.status in (204, 304):
            return
        if self.status == 101:
            self.framing = Framing.CLOSE if is_upgrade(self.headers) else Framing.NONE
        elif chunked:
            self.framing = Framing.CHUNKED
        elif lengths:
            self.framing = Framing.LENGTH
            self._left = length
        else:
            self.framing = Framing.CLOSE

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
                self._reader.whole = not self._left
                return piece
            case Framing.CHUNKED:
                return await self._read_chunk()
            case Framing.CLOSE:
                piece = await self._reader.rest()
        self._reader.whole = not piece
        return piece

    async def _read_chunk(self) -> bytes:
        reader = self._reader
        if not (self._left or reader.whole):
            await self._begin_chunk()
        if reader.whole:
            return b""
        unread = PROBED_BODY_BYTES - self._passed_on
        piece = await reader.some(min(self._left, unread) if unread > 0 else self._left)
        self._left -= len(piece)
        self._passed_on += len(piece)
        if len(piece) == unread and not self._left and reader.has(2):
            # The kubelet stops here, and Go has looked at what has come of the next lines by now.
            await self._end_chunk()
            if reader.has_line():
                await self._begin_chunk()
        return piece

    async def _end_chunk(self) -> None:
        await self._reader.end_chunk()
        self._in_chunk = False

    async def _begin_chunk(self) -> None:
        """Read up to the data of the next chunk, or to the end of the last one."""
        if self._in_chunk:
            await self._end_chunk()
        self._chunks += 1
        if not self._chunks % _CHUNKS_A_TURN:
            await asyncio.sleep(0)
        self._left = await self._chunk_size()
        self._in_chunk = bool(self._left)
        if not self._left:
            await self._reader.trailers()
            self._reader.whole = True

    async def _chunk_size(self) -> int:
        line = await self._reader.chunk_line()
        digits = line.rstrip(BLANKS).partition(b";")[0]
        if not digits:
            raise BrokenOffError("empty hex number for chunk length")
        wrong = _NOT_HEX.search(digits)
        if len(digits) > 16 and (wrong is None or wrong.start() > 16):
            raise BrokenOffError("http chunk length too large")
        if wrong:
            raise BrokenOffError("invalid byte in chunk length")
        size = int(digits, 16)
        allowed = _CHUNK_OVERHEAD_BYTES + 2 * size
        self._excess = max(self._excess + len(line) + 2 - allowed, 0)
        if self._excess > _MAX_EXCESS_BYTES and size:
            raise BrokenOffError("chunked encoding contains too much non-data")
        return size

    def close(self) -> None:
        """See `Response`."""
        self._reader.close()


def _status_line(line: bytes) -> tuple[bytes, bytes, bytes, bytes | None]:
    """Major and minor version, status and reason."""
    if match := _STATUS_LINE.fullmatch(line):
        major, minor, status, reason = match.groups()
        return major, minor, status, reason
    version, blank, rest = line.partition(b" ")
    status = rest.lstrip(b" ").partition(b" ")[0]
    if not blank:
        raise MalformedError(f"malformed HTTP response {quoted(line)}")
    if not _STATUS.fullmatch(status):
        raise MalformedError(f"malformed HTTP status code {quoted(status)}")
    raise MalformedError(f"malformed HTTP version {quoted(version)}")


def _read_length(values: list[bytes]) -> int:
    """``fixLength`` and ``parseContentLength``: the same length may stand there twice."""
    digits = values[0].strip(BLANKS)
    if any(other.strip(BLANKS) != digits for other in values):
        raise MalformedError(
            "http: message cannot contain multiple Content-Length headers; "
            f"got {quoted_all(values)}"
        )
    if not digits:
        raise MalformedError('invalid empty Content-Length ""')
    significant = digits.lstrip(b"0") or b"0"
    if not digits.isdigit() or len(significant) > 19 or int(significant) > _MAX_LENGTH:
        raise MalformedError(f"bad Content-Length {quoted(digits)}")
    return int(significant)


def _check_trailer_names(values: Iterable[bytes]) -> None:
    """``fixTrailer``: which names an app may not announce."""
    for value in values:
        for name in value.split(b","):
            if key := _NOT_TRAILERS.get(name.strip(BLANKS).lower()):
                raise MalformedError(f"bad trailer key {quoted(key)}")
