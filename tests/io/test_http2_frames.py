"""Frames that have come, at the edges of what is taken: no socket, nothing to wait for."""

import asyncio

import pytest

from osm_healthcheck.probes.redirect import Hop
from osm_healthcheck.probes.url import probe_url
from osm_healthcheck.wire import http2_frames as frames
from osm_healthcheck.wire.errors import BrokenOffError
from osm_healthcheck.wire.http2 import HTTP2Response, exchange
from osm_healthcheck.wire.http2_connection import Client, HTTP2Connection
from osm_healthcheck.wire.http2_frames import Frame
from tests.io import http2_cases as h2

HOP = Hop(probe_url("https", "h", 1, "/"), "h", ())
PLAIN = Client(settings={}, connection_window=0, max_list=1 << 24, is_strict=False)


class Frames:
    """A `ByteStream` that gives each of these pieces at once, and then its end."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)
        self.sent: list[bytes] = []

    async def receive(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    async def send(self, data: bytes) -> None:
        self.sent.append(data)

    def close(self) -> None: ...

    def abandon(self) -> None: ...


def ask(method: str, then: bytes) -> HTTP2Response:
    return asyncio.run(exchange(Frames(h2.settings() + then), method, HOP))


def test_an_answer_to_head_is_not_waited_for() -> None:
    """It has no body for Go, whether its stream ends or not."""
    assert ask("HEAD", h2.headers(h2.OK)).status == 200


@pytest.mark.parametrize(
    ("size", "is_enough"),
    [
        (10 * 1024 - 1, False),
        (10 * 1024, True),
        (10 * 1024 + 1, True),
    ],
)
def test_of_a_body_without_a_place_10_kib_are_read(size: int, is_enough: bool) -> None:
    """``maxRespBodyLength`` of pkg/probe/http/http.go: the kubelet misses nothing after it."""
    answer = h2.headers(h2.status(b"204")) + h2.frame(h2.DATA, b"x" * size)
    if is_enough:
        assert ask("GET", answer).status == 204
    else:
        with pytest.raises(BrokenOffError, match="unexpected EOF"):
            ask("GET", answer)


async def _headers(*pieces: bytes) -> Frame:
    connection = HTTP2Connection(Frames(h2.settings(), *pieces), PLAIN)
    await connection.greet()
    connection.request([])
    return await connection.next_frame()


@pytest.mark.parametrize("count", [1, 30])
@pytest.mark.parametrize("more", [0, 1])
def test_a_header_list_is_kept_up_to_96_kib(count: int, more: int) -> None:
    """With 128 bytes more for each header (docs/sidecar.md)."""
    left = 96 * 1024 - count * (128 + 1)
    pairs = [(b"x", b"v" * (left // count)) for _ in range(count - 1)]
    pairs.append((b"x", b"v" * (left - sum(len(value) for _, value in pairs) + more)))
    frame = asyncio.run(_headers(h2.headers(pairs)))
    assert frame.truncated is bool(more)
    assert len(frame.fields) == count - more


def test_pings_that_come_together_are_answered_together() -> None:
    """Each write is a packet: an app that sends 400 PINGs in one does not get 400 back."""
    stream = Frames(h2.settings() + h2.ping() * 400)

    async def read() -> None:
        connection = HTTP2Connection(stream, PLAIN)
        while True:
            await connection.next_frame()

    with pytest.raises(BrokenOffError):
        asyncio.run(read())
    answers = h2.frame(h2.PING, b"12345678", h2.ACK, 0) * 400
    assert b"".join(stream.sent).endswith(h2.settings(flags=h2.ACK) + answers)
    assert len(stream.sent) < 10


@pytest.mark.parametrize("size", [0, 1, 6, 7, 8])
def test_a_request_is_sent_as_far_as_the_window_goes(size: int) -> None:
    """RFC 9113 section 6.9: what is left follows once the app has opened the window."""
    stream = Frames(
        h2.settings((frames.INITIAL_WINDOW_SIZE, size)), h2.frame(h2.WINDOW, b"\0\0\0\x07")
    )

    async def ask() -> None:
        connection = HTTP2Connection(stream, PLAIN)
        await connection.greet()
        connection.request(h2.OK, b"1234567")
        with pytest.raises(BrokenOffError):
            await connection.next_frame()

    asyncio.run(ask())
    pieces = [piece for piece in (b"1234567"[:size], b"1234567"[size:]) if piece]
    data = b"".join(h2.frame(h2.DATA, p, h2.END if p is pieces[-1] else 0) for p in pieces)
    assert b"".join(stream.sent).endswith(h2.headers(h2.OK) + data)


@pytest.mark.parametrize(
    ("window", "size", "more"),
    [(65535, 4095, 0), (65535, 4096, 4096), (10, 4, 0), (10, 5, 5)],
)
def test_a_window_is_opened_again_by_4_kib_or_half_of_it(window: int, size: int, more: int) -> None:
    """``inflowMinRefresh`` of golang.org/x/net/http2/flow.go: an app may wait for no more."""
    stream = Frames(h2.settings() + h2.headers(h2.OK) + h2.frame(h2.DATA, b"x" * size))
    client = Client({frames.INITIAL_WINDOW_SIZE: window}, 0, 1 << 24, is_strict=False)

    async def ask() -> None:
        connection = HTTP2Connection(stream, client)
        connection.request([])
        while True:
            await connection.next_frame()

    with pytest.raises(BrokenOffError):
        asyncio.run(ask())
    opened = h2.opened(more, 1) if more else b""
    assert opened in b"".join(stream.sent)
    assert b"".join(stream.sent).count(h2.opened(0, 1)[:9]) == bool(more)


def test_an_answer_does_not_count_among_what_comes_besides_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frames, "MAX_OVERHEAD_BYTES", 1024)
    answer = ask("GET", h2.headers(h2.OK) + h2.frame(h2.DATA, b"x" * 4000) * 2 + h2.BODY)

    async def read() -> bytes:
        body = b""
        while piece := await answer.read():
            body += piece
        return body

    assert asyncio.run(read()) == b"x" * 8000 + b"body"
