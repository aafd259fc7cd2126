"""The head of an answer: what it may take in memory, and how much work it may make."""

import asyncio
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osm_healthcheck.probes.redirect import Hop
from osm_healthcheck.probes.url import probe_url
from osm_healthcheck.wire.errors import BadAnswerError, MalformedError
from osm_healthcheck.wire.http1 import exchange
from osm_healthcheck.wire.http1_reader import (
    FIELD_BYTES,
    LINES_A_TURN,
    MAX_RESPONSE_HEAD_BYTES,
    Reader,
)
from tests.io.turns import Turns

PIECE = 8 * 1024


class Endless:
    """A stream that gives ``text`` again and again, in pieces of ``size``, after ``first``."""

    def __init__(self, text: bytes, first: bytes = b"", size: int = PIECE) -> None:
        self._pieces = self._cut(text * (size // len(text) + 1), first, size)
        self.given = 0

    @staticmethod
    def _cut(text: bytes, first: bytes, size: int) -> Iterator[bytes]:
        if first:
            yield first
        at = 0
        while True:
            yield (text + text)[at : at + size]
            at = (at + size) % len(text)

    async def receive(self) -> bytes:
        piece = next(self._pieces)
        self.given += len(piece)
        return piece

    async def send(self, data: bytes) -> None: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...


async def read_head(stream: Endless) -> list[tuple[bytes, bytes]]:
    reader = Reader(stream)
    assert await reader.first_line() == b"HTTP/1.1 200 OK"
    return await reader.fields()


FIRST = b"HTTP/1.1 200 OK\r\nA: b\r\n"


@pytest.mark.parametrize("size", [1, 100, PIECE])
@pytest.mark.parametrize("text", [b"x", b"a:\n", b"a:\r\n", b" \n", b" c\r\n", b"a: b\r\n c\r\n"])
def test_a_head_without_end_is_given_up(text: bytes, size: int) -> None:
    stream = Endless(text, FIRST, size)
    tracemalloc.start()
    try:
        with pytest.raises(BadAnswerError, match="server response headers exceeded 65536 bytes"):
            asyncio.run(read_head(stream))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert stream.given <= MAX_RESPONSE_HEAD_BYTES + 2 * size + len(FIRST)
    assert peak < 8 * MAX_RESPONSE_HEAD_BYTES, "most of it is asyncio's own"


def test_each_field_counts_for_what_it_takes() -> None:
    fields = MAX_RESPONSE_HEAD_BYTES // (FIELD_BYTES + 4) - 2
    status = b"HTTP/1.1 200 OK\r\n"
    whole = Endless(b"x", status + b"a:\r\n" * fields + b"\r\n")
    assert len(asyncio.run(read_head(whole))) == fields
    with pytest.raises(BadAnswerError, match="exceeded"):
        asyncio.run(read_head(Endless(b"x", status + b"a:\r\n" * (fields + 3) + b"\r\n")))


LINES = [b"A: b", b"A:b \t", b"A:\t ", b"A: \xff", b" c", b"\tc", b"A : b", b": b", b"A", b"A:\x01"]
LINES += [b"A: b\rc", b"A: b\r", b"\xc3: b", b"Long-Name: " + b"v" * 200, b"A" * 100]


@given(st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from([b"\r\n", b"\n"])), max_size=5))
def test_a_head_is_the_same_in_one_piece_and_byte_by_byte(lines: list[tuple[bytes, bytes]]) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + b"".join(map(b"".join, lines)) + b"\r\nbody"

    async def read(size: int) -> tuple[list[tuple[bytes, bytes]], bytes]:
        reader = Reader(Endless(head, size=size))
        await reader.first_line()
        fields = await reader.fields()
        body = b""
        while len(body) < 4:
            body += await reader.some(4 - len(body))
        return fields, body

    def outcome(size: int) -> object:
        try:
            return asyncio.run(read(size))
        except BadAnswerError as error:
            return str(error)

    assert outcome(PIECE) == outcome(1)


def test_blanks_in_a_value_take_time_by_their_number_alone() -> None:
    """Not by its square: each of these lines would take seconds, and all minutes."""
    line = b"A:" + b" " * (MAX_RESPONSE_HEAD_BYTES - 100) + b"\x01\r\n"
    for _ in range(50):
        with pytest.raises(MalformedError):
            asyncio.run(read_head(Endless(b"x", b"HTTP/1.1 200 OK\r\n" + line)))


def test_an_informational_head_counts_too() -> None:
    informational = b"HTTP/1.1 103 X\r\nA: b\r\n\r\n"

    async def read_all(stream: Endless) -> None:
        reader = Reader(stream)
        while True:
            await reader.first_line()
            await reader.fields()

    stream = Endless(informational)
    with pytest.raises(BadAnswerError, match="exceeded"):
        asyncio.run(read_all(stream))
    assert stream.given <= MAX_RESPONSE_HEAD_BYTES


def test_a_line_is_searched_once() -> None:
    """A long line in small pieces: no more than a few looks at each byte."""
    looked = 0

    class Counting(bytearray):
        def find(self, *arguments: object) -> int:
            nonlocal looked
            start = arguments[1] if len(arguments) > 1 else 0
            assert isinstance(start, int)
            looked += len(self) - start
            return super().find(*arguments)  # type: ignore[arg-type]

    async def read(stream: Endless) -> None:
        reader = Reader(stream)
        reader._buffer = Counting()
        await reader.first_line()

    with pytest.raises(BadAnswerError, match="exceeded"):
        asyncio.run(read(Endless(b"x", size=10)))
    assert looked < 2 * MAX_RESPONSE_HEAD_BYTES


def test_what_is_wrong_is_told_before_the_head_ends() -> None:
    with pytest.raises(MalformedError, match="missing colon"):
        asyncio.run(read_head(Endless(b"x", FIRST + b"no colon\r\n")))


HOP = Hop(probe_url("http", "h", 1, "/"), "", ())


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(FIRST + b" \n" * 30_000, id="continuations"),
        pytest.param(FIRST + (b"a:\n" + b" \n" * 60) * 200, id="continuations of many fields"),
        pytest.param(b"HTTP/1.1 100 \n\n" * 4_000 + FIRST, id="informational heads"),
        pytest.param(b"HTTP/1.1 100 \r\n\r\n" * 3_000 + FIRST, id="plain informational heads"),
        pytest.param(FIRST + b"a:\n" * 480, id="fields"),
    ],
)
def test_lines_of_a_byte_give_others_their_turn(lines: bytes) -> None:
    """All of it has come at once: nothing but us makes it wait."""
    head = lines + b"\r\n"

    async def read() -> int:
        turns = Turns()
        response = await exchange(Endless(b"x", head), "GET", HOP)
        assert response.status == 200
        return turns.end()

    assert asyncio.run(read()) >= head.count(b"\n") // LINES_A_TURN


def test_lines_of_a_trailer_give_others_their_turn() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    trailer = b"a:\n" + b" \n" * 2_000 + b"\r\n\r\n"

    async def read() -> int:
        response = await exchange(Endless(b"x", head + b"0\r\n" + trailer), "GET", HOP)
        turns = Turns()
        assert await response.read() == b""
        return turns.end()

    assert asyncio.run(read()) >= 2_000 // LINES_A_TURN


def test_chunks_of_a_byte_give_others_their_turn() -> None:
    async def read() -> int:
        turns = Turns()
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        stream = Endless(b"1\r\nx\r\n", head, 6 * 1000)
        response = await exchange(stream, "GET", HOP)
        for _ in range(6400):
            assert await response.read() == b"x"
        return turns.end()

    assert asyncio.run(read()) >= 99
