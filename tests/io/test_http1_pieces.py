"""An answer over HTTP/1 is the same in whatever pieces it comes."""

import asyncio

import pytest

from osm_healthcheck.probes.redirect import Hop
from osm_healthcheck.probes.url import probe_url
from osm_healthcheck.wire.errors import WireError
from osm_healthcheck.wire.http1 import exchange

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LONG_TRAILER = b"A: " + b"x" * 5000
# a chunk that saves nothing for the next ones, and four with 3,984 bytes too many
EXCESS = b"1\r\nb\r\n" + (b"1;" + b"x" * 3998 + b"\r\nb\r\n") * 4

# what comes, and what it comes to: status, fields and body, or the error of Go's client
ANSWERS: dict[bytes, tuple[int, list[tuple[bytes, bytes]], bytes] | str] = {
    OK + b"Content-Length: 4\r\n\r\nbody": (200, [(b"Content-Length", b"4")], b"body"),
    OK + b"Content-Length: 0\r\n\r\nbody": (200, [(b"Content-Length", b"0")], b""),
    OK + b"Content-Length: 5\r\n\r\nbody": "unexpected EOF",
    OK + b"A: b\r\n c\r\n\td\r\nE:f\r\n\r\nbody": (200, [(b"A", b"b c d"), (b"E", b"f")], b"body"),
    OK + b"\r\nbody": (200, [], b"body"),
    b"HTTP/1.0 404 Not Found\n\nbody": (404, [], b"body"),
    b"HTTP/1.1 103 X\r\nA: b\r\n\r\n" + OK + b"C: d\r\n\r\n": (200, [(b"C", b"d")], b""),
    b"HTTP/1.1 199 X\r\n\r\n" + OK + b"C: d\r\n\r\n": (200, [(b"C", b"d")], b""),
    b"HTTP/1.1 099 X\r\n\r\nbody": (99, [], b"body"),
    b"HTTP/1.1 101 X\r\nA: b\r\n\r\nbody": (101, [(b"A", b"b")], b""),
    b"HTTP/1.1 101 X\r\nUpgrade: b\r\nConnection: upgrade\r\n\r\nbody": (
        101,
        [(b"Upgrade", b"b"), (b"Connection", b"upgrade")],
        b"body",
    ),
    b"HTTP/1.1 204 X\r\nContent-Length: 4\r\n\r\nbody": (204, [(b"Content-Length", b"4")], b""),
    OK + b"Content-Length: 9223372036854775807\r\n\r\nbody": "unexpected EOF",
    OK + b"Content-Length: 9223372036854775808\r\n\r\nbody": (
        'bad Content-Length "9223372036854775808"'
    ),
    OK + b"Content-Length: 00000000000000000000\r\n\r\nbody": (
        200,
        [(b"Content-Length", b"0" * 20)],
        b"",
    ),
    OK + b"Content-Length: +4\r\n\r\nbody": 'bad Content-Length "+4"',
    OK + b"Content-Length:\r\n\r\nbody": 'invalid empty Content-Length ""',
    CHUNKED + b"2\r\nbo\r\n2;x=y\r\ndy\r\n0\r\n\r\n": (
        200,
        [(b"Transfer-Encoding", b"chunked")],
        b"body",
    ),
    CHUNKED + b"4 \r\nbody\r\n00\r\nA: b\r\n c\r\nD: e\r\n\r\n": (
        200,
        [(b"Transfer-Encoding", b"chunked")],
        b"body",
    ),
    CHUNKED + b"4\r\nbody": "unexpected EOF",
    CHUNKED + b"4\r\nbody\r\n": "unexpected EOF",
    CHUNKED + b"4\r\nbody\n\n0\r\n\r\n": "malformed chunked encoding",
    CHUNKED + b"4\nbody\r\n0\r\n\r\n": "chunked line ends with bare LF",
    CHUNKED + b"\r\nbody\r\n0\r\n\r\n": "empty hex number for chunk length",
    CHUNKED + b"g\r\n": "invalid byte in chunk length",
    CHUNKED + b"1" * 17 + b"\r\n": "http chunk length too large",
    CHUNKED + b"1" * 16 + b"g\r\n": "invalid byte in chunk length",
    CHUNKED + b"1" * 17 + b"g\r\n": "http chunk length too large",
    CHUNKED + (b"1;" + b"x" * 4000 + b"\r\nb\r\n") * 4 + b"0\r\n\r\n": (
        200,
        [(b"Transfer-Encoding", b"chunked")],
        b"bbbb",
    ),
    CHUNKED + (b"1;" + b"x" * 4000 + b"\r\nb\r\n") * 5 + b"0\r\n\r\n": (
        "chunked encoding contains too much non-data"
    ),
    # internal/chunked: 16 KiB besides the data, 16 bytes a chunk and twice the data not counted
    CHUNKED + EXCESS + b"1;" + b"x" * 462 + b"\r\nb\r\n0\r\n\r\n": (
        200,
        [(b"Transfer-Encoding", b"chunked")],
        b"b" * 6,
    ),
    CHUNKED + EXCESS + b"1;" + b"x" * 463 + b"\r\nb\r\n0\r\n\r\n": (
        "chunked encoding contains too much non-data"
    ),
    CHUNKED + b"0\r\n": "http: unexpected EOF reading trailer",
    CHUNKED + b"0\r\nA: b\r\n": "http: suspiciously long trailer after chunked body",
    CHUNKED + b"0\r\n" + LONG_TRAILER + b"\r\n\r\n": (
        "http: suspiciously long trailer after chunked body"
    ),
    CHUNKED + b"4;" + b"x" * 5000 + b"\r\nbody\r\n0\r\n\r\n": "header line too long",
    OK + b" A: b\r\n\r\n": 'malformed MIME header initial line: " A: b"',
    OK + b"A: b\r\nC\r\n\r\n": 'malformed MIME header: missing colon: "C"',
    OK + b"C" * 201 + b"\r\n\r\n": f'malformed MIME header: missing colon: "{"C" * 200}"',
    OK + b"a b: c\r\n\r\n": (200, [(b"a b", b"c")], b""),
    OK + b"a(b: c\r\n\r\n": 'malformed MIME header line: "a(b: c"',
    OK + b"a-b: \x01\r\n\r\n": 'malformed MIME header line: "A-B: \\x01"',
    OK + b"A: b\r\n": "unexpected EOF",
    b"HTTP/1.1 200": "unexpected EOF",
    b"": "EOF",
}


class Pieces:
    """A stream that gives ``text`` in pieces of ``size``, and then its end."""

    def __init__(self, text: bytes, size: int) -> None:
        self._pieces = [text[at : at + size] for at in range(0, len(text), size)]

    async def receive(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    async def send(self, data: bytes) -> None: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...


async def _read(stream: Pieces) -> tuple[int, list[tuple[bytes, bytes]], bytes] | str:
    try:
        response = await exchange(stream, "GET", Hop(probe_url("http", "h", 1, "/"), "", ()))
        body = response.received()
        while piece := await response.read():
            body += piece
    except WireError as error:
        return str(error)
    return response.status, list(response.headers), body


@pytest.mark.parametrize("size", [1, 2, 3, 5, 17, 10_000])
@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_in_pieces(text: bytes, size: int) -> None:
    assert asyncio.run(_read(Pieces(text, size))) == ANSWERS[text]
