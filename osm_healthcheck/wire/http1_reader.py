"""What has come of an HTTP/1.1 answer, read line by line the way Go's ``net/http`` reads it.

A line is looked at as soon as Go looks at it: of two mistakes the first one counts, and an app that
stops in the middle of a head fails at the deadline. The rules are those of ``textproto.Reader``,
``internal/chunked`` and ``body.readTrailer``.
"""

import asyncio
import re
import sys

from osm_healthcheck.probes.quote import quote
from osm_healthcheck.wire.errors import BadAnswerError, BrokenOffError, MalformedError
from osm_healthcheck.wire.stream import ByteStream

# What an app's answer may take before its body: its head, and the informational ones before it. The
# kubelet takes 10 MiB. 100 probes at once have to fit into the 64 MiB that an injected sidecar has,
# whatever the apps answer, so what is received counts, and each field counts for what it takes here
# beside its text. Where that comes to more than this, the kubelet sees an answer and we do not.
MAX_RESPONSE_HEAD_BYTES = 64 * 1024
FIELD_BYTES = 128
# Lines of a byte: tens of thousands fit into such a head. After so many others get their turn.
LINES_A_TURN = 64
# Go's read buffer: a chunk's first line and the trailers have to fit into it
_MAX_CHUNK_LINE_BYTES = 4096
_MAX_QUOTED_BYTES = 200
_MAX_INITIAL_LINE_BYTES = 80
_LETTERS = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"
# a blank in a name is wrong, and is taken all the same (golang.org/issue/34540)
_HEADER_NAME = re.compile(rb"[%b ]+" % _LETTERS)
# Possessive, for time that grows with the length and not with its square.
_REST_OF_FIELD = rb":[ \t]*+([^\x00-\x08\x0a-\x1f\x7f]*+)"
_FIELD = re.compile(rb"([%b ]++)%b" % (_LETTERS, _REST_OF_FIELD))
# as nearly all are written: no blank in the name, and CR before LF
_PLAIN_FIELD = re.compile(rb"([%b]++)%b\r\n" % (_LETTERS, _REST_OF_FIELD))
BLANKS = b" \t"


class Reader:
    """Bytes of the stream that have been received and not been used."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._head_left = MAX_RESPONSE_HEAD_BYTES
        self._lines = 0
        self._end = ""
        self.whole = False

    def close(self) -> None:
        """End the connection, with FIN."""
        if self.whole and not self._buffer:
            self._stream.close()
        else:
            self._stream.abandon()

    # -- the head

    async def first_line(self) -> bytes:
        """The status line."""
        if self._lines >= LINES_A_TURN:
            await self._give_turn()
        if not self._buffer:
            began = self._head_left < MAX_RESPONSE_HEAD_BYTES
            error = MalformedError if began else BadAnswerError
            try:
                self._buffer += await self._stream.receive()
            except BrokenOffError as broken:
                raise error(str(broken)) from None
            if not self._buffer:
                raise error("unexpected EOF" if began else "EOF")
        at = self._buffer.find(b"\n")
        return await self._line() if at < 0 else self._take(at)

    async def fields(self) -> list[tuple[bytes, bytes]]:
        """The field lines, up to the empty line (``textproto.readMIMEHeader``).

        A line that begins with a blank continues the one before it.
        """
        if (plain := self._plain_fields()) is not None:
            return plain
        buffer = self._buffer
        found: list[tuple[bytes, bytes]] = []
        if (not buffer or buffer[0] in BLANKS) and await self._is_continued():
            line = await self._line()
            if len(line) > _MAX_INITIAL_LINE_BYTES:
                raise MalformedError("message too large")
            raise MalformedError(f"malformed MIME header initial line: {quoted(line)}")
        while True:  # mostly all has come: then there is nothing to wait for
            if self._lines >= LINES_A_TURN:
                await self._give_turn()
            at = buffer.find(b"\n")
            line = await self._line() if at < 0 else self._take(at)
            if not line:
                return found
            if b":" not in line:
                raise MalformedError(f"malformed MIME header: missing colon: {quoted(line)}")
            line = line.strip(BLANKS)
            if not buffer or buffer[0] in BLANKS:
                line = await self._unfold(line)
            match = _FIELD.fullmatch(line)
            if match is None:
                raise MalformedError(f"malformed MIME header line: {quoted(_as_shown(line))}")
            self._head_left -= FIELD_BYTES
            found.append((match[1], match[2]))

    def _plain_fields(self) -> list[tuple[bytes, bytes]] | None:
        """The same at once, where all has come and is written plainly; else nothing is used."""
        buffer = self._buffer
        found = []
        at = 0
        while match := _PLAIN_FIELD.match(buffer, at):
            found.append((match[1], match[2].rstrip(BLANKS)))
            at = match.end()
        size = at + 2 + FIELD_BYTES * len(found)
        if not buffer.startswith(b"\r\n", at) or size > self._head_left:
            return None
        self._head_left -= size
        self._lines += len(found) + 1
        del buffer[: at + 2]
        return found

    async def _line(self) -> bytes:
        """A line without its end; a last one may have none."""
        buffer = self._buffer
        searched = 0
        while (at := buffer.find(b"\n", searched)) < 0:
            searched = len(buffer)
            if not await self._more_of_head():
                if not buffer:
                    raise MalformedError(self._end)
                self._count(searched)
                line = bytes(buffer)
                buffer.clear()
                return line
        return self._take(at)

    def _take(self, at: int) -> bytes:
        """The line that ends with the LF at ``at``, without its end."""
        self._lines += 1
        self._head_left -= at + 1
        if self._head_left < 0:
            self._count(0)
        line = bytes(self._buffer[:at])
        del self._buffer[: at + 1]
        return line.removesuffix(b"\r")

    async def _is_continued(self) -> bool:
        """Whether the next line begins with a blank; it takes one byte of it to know."""
        if not self._buffer and not await self._more_of_head():
            return False
        return self._buffer[0] in BLANKS

    async def _unfold(self, line: bytes) -> bytes:
        unfolded = bytearray(line)
        while await self._is_continued():
            if self._lines >= LINES_A_TURN:
                await self._give_turn()
            unfolded += b" "
            unfolded += (await self._line()).strip(BLANKS)
        return bytes(unfolded)

    async def _give_turn(self) -> None:
        """Let others go on, after many lines."""
        self._lines = 0
        await asyncio.sleep(0)

    async def _more_of_head(self) -> bool:
        """Receive; false at the end, and where the connection breaks off.

        What broke it off is told where nothing is left, and by the stream itself if it is asked
        again: Go's buffer forgets an error that it has told, and a socket tells its own once.
        """
        self._count(0, len(self._buffer))
        try:
            data = await self._stream.receive()
        except BrokenOffError as error:
            self._end = str(error)
            return False
        self._end = "unexpected EOF"
        self._buffer += data
        return bool(data)

    def _count(self, used: int, waiting: int = 0) -> None:
        """Count ``used`` bytes of the head; ``waiting`` are those of an unfinished line."""
        self._head_left -= used
        if self._head_left < waiting:
            raise BadAnswerError(
                f"net/http: server response headers exceeded {MAX_RESPONSE_HEAD_BYTES} bytes; "
                "aborted"
            )

    # -- the body

    def at_hand(self, limit: int) -> bytes:
        """What has come already, at most ``limit`` bytes."""
        piece = bytes(self._buffer[:limit])
        del self._buffer[:limit]
        return piece

    async def some(self, limit: int) -> bytes:
        """At least one and at most ``limit`` bytes."""
        if not self._buffer:
            if not (piece := await self._stream.receive()):
                raise BrokenOffError("unexpected EOF")
            self._buffer += piece[limit:]
            return piece[:limit]
        piece = bytes(self._buffer[:limit])
        del self._buffer[:limit]
        return piece

    async def rest(self) -> bytes:
        """What has come, or comes next; ``b""`` at the end."""
        if self._buffer:
            return await self.some(len(self._buffer))
        return await self._stream.receive()

    def has(self, count: int) -> bool:
        """Whether so many bytes have come already."""
        return len(self._buffer) >= count

    def has_line(self) -> bool:
        """Whether the end of a line has come already."""
        return b"\n" in self._buffer

    async def end_chunk(self) -> None:
        """What follows a chunk's data."""
        while len(self._buffer) < 2:
            await self._more()
        if not self._buffer.startswith(b"\r\n"):
            raise BrokenOffError("malformed chunked encoding")
        del self._buffer[:2]

    async def chunk_line(self) -> bytes:
        """A chunk's first line, without its end."""
        buffer = self._buffer
        while (at := buffer.find(b"\n", 0, _MAX_CHUNK_LINE_BYTES)) < 0:
            if len(buffer) >= _MAX_CHUNK_LINE_BYTES:
                raise BrokenOffError("header line too long")
            await self._more()
        line = bytes(buffer[: at + 1])
        del buffer[: at + 1]
        if b"\r" not in line:
            raise BrokenOffError("chunked line ends with bare LF")
        if line.find(b"\r") != at - 1:
            raise BrokenOffError("invalid CR in chunked line")
        return line[:-2]

    async def trailers(self) -> None:
        """What follows the last chunk; it is read and not used."""
        buffer = self._buffer
        while len(buffer) < 2:
            try:
                await self._more()
            except BrokenOffError:
                raise BrokenOffError("http: unexpected EOF reading trailer") from None
        if buffer.startswith(b"\r\n"):
            del buffer[:2]
            return
        while buffer.find(b"\r\n\r\n", 0, _MAX_CHUNK_LINE_BYTES) < 0:
            too_long = "http: suspiciously long trailer after chunked body"
            if len(buffer) >= _MAX_CHUNK_LINE_BYTES:
                raise BrokenOffError(too_long)
            try:
                await self._more()
            except BrokenOffError:
                raise BrokenOffError(too_long) from None
        self._head_left = sys.maxsize
        try:
            await self.fields()
        except BadAnswerError as error:
            raise BrokenOffError(str(error)) from None

    async def _more(self) -> None:
        if not (data := await self._stream.receive()):
            raise BrokenOffError("unexpected EOF")
        self._buffer += data


def _as_shown(line: bytes) -> bytes:
    """``canonicalMIMEHeaderKey`` puts a name that it takes into canonical form where it stands."""
    name, colon, value = line.partition(b":")
    if b" " not in name and _HEADER_NAME.fullmatch(name):
        name = b"-".join(part.capitalize() for part in name.split(b"-"))
    return name + colon + value


def quoted(text: bytes) -> str:
    """``text`` in quotes, cut where it is long: an event is no place for 60 KiB."""
    return quote(text[:_MAX_QUOTED_BYTES])


def quoted_all(texts: list[bytes]) -> str:
    """A list as Go's ``%q`` prints it."""
    return f"[{' '.join(map(quoted, texts))}]"
