"""Bodies through the probe proxy: what the app says, as it says it, and no more."""

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from tests.io.apps import (
    App,
    Serve,
    app,
    hold,
    http_app,
    read_head,
    read_until_gone,
    reset,
    response,
)
from tests.io.sidecar import LIVENESS, Sidecar, http_probe, sidecar
from tests.io.wire import TIMEOUT, Answer, connect, exchange, parse, read_to_end

GET = b"GET /osm-liveness-probe HTTP/1.1\r\nHost: x\r\n\r\n"
GET10 = b"GET /osm-liveness-probe HTTP/1.0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
_DATA_SEGMENTS_IN = 152  # where tcpi_data_segs_in stands in struct tcp_info of linux/tcp.h


def ask(serve: Serve, request: bytes = GET, timeout: int = 1) -> Answer:
    """What a caller gets from an app that serves so."""
    with app(serve) as running:
        return ask_app(running, request, timeout)


def ask_app(running: App, request: bytes = GET, timeout: int = 1) -> Answer:
    probe = http_probe(running.port, timeoutSeconds=timeout)
    with sidecar({"app": {"livenessProbe": probe}}) as started:
        return exchange(started.address, LIVENESS, request)


def said(answer: bytes, request: bytes = GET) -> Answer:
    """What becomes of ``answer``, after which the app closes."""
    with http_app(answer) as running:
        return ask_app(running, request)


@pytest.fixture(scope="module")
def script() -> Iterator[tuple[list[bytes], Sidecar]]:
    """An app that gives the one answer in the list, and a sidecar in front of it."""
    answers: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(answers[-1])

    with (
        app(serve) as running,
        sidecar({"app": {"livenessProbe": http_probe(running.port)}}) as started,
    ):
        yield answers, started


def through(script: tuple[list[bytes], Sidecar], answer: bytes, request: bytes = GET) -> Answer:
    answers, started = script
    answers[:] = [answer]
    return exchange(started.address, LIVENESS, request)


# -- framing


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK + b"Content-Length: 5\r\n\r\nhello", b"hello"),
        (OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (OK + b"Content-Length: 5\r\n\r\nhello and more", b"hello"),
        (OK + b"Content-Length: 0\r\n\r\n", b""),
        (OK + b"Content-Length: 100000\r\n\r\n" + b"x" * 100000, b"x" * 100000),
        (OK + b"\r\nhello", b"hello"),
        (OK + b"\r\n", b""),
        (OK + b"\r\n" + b"x" * 100000, b"x" * 100000),
        (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (CHUNKED + b"1\r\nh\r\n0004\r\nello\r\n000\r\n\r\n", b"hello"),
        (CHUNKED + b'5;name=value;x="y"\r\nhello\r\n0;last\r\n\r\n', b"hello"),
        (CHUNKED + b"5 \r\nhello\r\n0\r\nX-Trailer: yes\r\nY: z\r\n\r\n", b"hello"),
        (CHUNKED + b"0\r\n\r\n", b""),
        (CHUNKED + b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
        (CHUNKED + b"1\r\nx\r\n" * 20000 + b"0\r\n\r\n", b"x" * 20000),
        (CHUNKED + b"186a0\r\n" + b"x" * 100000 + b"\r\n0\r\n\r\n", b"x" * 100000),
        (OK + b"Content-Length: 3\r\n" + CHUNKED[17:] + b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    ],
    ids=lambda value: repr(value[:90]),
)
@pytest.mark.parametrize("request_", [GET, GET10], ids=["1.1", "1.0"])
def test_a_body_arrives_whole(
    script: tuple[list[bytes], Sidecar], answer: bytes, body: bytes, request_: bytes
) -> None:
    got = through(script, answer, request_)
    assert (got.status, got.body, got.whole) == (200, body, True)
    if request_ is GET10:
        assert got.header("Transfer-Encoding") is None
        assert not (got.header("Content-Length") and b"chunked" in answer)


def test_an_answer_that_comes_in_one_piece_goes_on_in_one() -> None:
    with (
        http_app(response(body=b"hello")) as running,
        sidecar({"app": {"livenessProbe": http_probe(running.port)}}) as started,
        connect(started.address, LIVENESS) as sock,
    ):
        sock.sendall(GET)
        assert parse(*read_to_end(sock)).body == b"hello"
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 156)
    (segments,) = struct.unpack_from("I", info, _DATA_SEGMENTS_IN)
    assert segments == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_a_status_without_a_body_has_none(
    script: tuple[list[bytes], Sidecar], answer: bytes
) -> None:
    got = through(script, answer)
    assert str(got.status).encode() in answer
    assert got.raw.endswith(b"\r\n\r\n")
    assert got.header("Transfer-Encoding") is None


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""]
)
def test_head_gets_the_head(script: tuple[list[bytes], Sidecar], framing: bytes) -> None:
    got = through(script, OK + framing + b"X: y\r\n\r\n", GET.replace(b"GET", b"HEAD"))
    assert (got.status, got.body, got.header("X")) == (200, b"", "y")
    assert got.header("Content-Length") == ("5" if b"Length" in framing else None)


@pytest.mark.parametrize("interim", ["100 Continue", "102 Processing", "103 Early Hints"])
@pytest.mark.parametrize("times", [1, 5])
def test_what_comes_before_the_answer_is_left_out(
    script: tuple[list[bytes], Sidecar], interim: str, times: int
) -> None:
    before = f"HTTP/1.1 {interim}\r\nLink: </x>\r\n\r\n".encode() * times
    got = through(script, before + response(body=b"hello"))
    assert (got.status, got.body, got.header("Link")) == (200, b"hello", None)


def test_what_comes_before_the_answer_may_come_alone() -> None:
    def serve(sock: socket.socket) -> None:
        read_head(sock)
        for piece in (b"HTTP/1.1 100 Continue\r\n\r", b"\nHTTP/1.1 103 Early\r\n", b"\r\n", OK):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(piece)
        sock.sendall(b"Content-Length: 5\r\n\r\nhello")

    assert ask(serve).body == b"hello"


def test_interim_answers_without_end_are_502(script: tuple[list[bytes], Sidecar]) -> None:
    got = through(script, b"HTTP/1.1 100 Continue\r\n\r\n" * 50_000 + response())
    assert got.status == 502


def test_another_protocol_is_passed_on(script: tuple[list[bytes], Sidecar]) -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nbytes"
    got = through(script, answer)
    assert (got.status, got.body, got.whole) == (101, b"bytes", True)
    assert (got.header("Connection"), got.header("Upgrade")) == ("Upgrade", "x")


# -- heads


def test_headers_come_as_the_app_sent_them() -> None:
    lines = ["b-ORDER: 1", "A-Order: 2", "Set-Cookie: a=1", "X-Empty:", "set-cookie: b=2", "ß: no"]
    lines.pop()
    head = "\r\n".join(["HTTP/1.1 200 OK", *lines, "Content-Length: 0", "", ""]).encode()
    got = said(head)
    assert got.headers == [
        ("b-ORDER", "1"),
        ("A-Order", "2"),
        ("Set-Cookie", "a=1"),
        ("X-Empty", ""),
        ("set-cookie", "b=2"),
        ("Content-Length", "0"),
        ("Connection", "close"),
    ]


def test_headers_of_the_apps_connection_stay_there() -> None:
    got = said(
        OK
        + b"Connection: keep-alive, X-Mine\r\nKeep-Alive: timeout=5\r\nX-Mine: 1\r\nX-Yours: 2\r\n"
        b"Proxy-Authenticate: x\r\nTrailer: X\r\nTE: x\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n"
    )
    assert got.headers == [("X-Yours", "2"), ("Content-Length", "0"), ("Connection", "close")]


@pytest.mark.parametrize(
    ("answer", "reason", "header"),
    [
        (b"HTTP/1.1 200\r\nX: y\r\n\r\n", "", "y"),
        (b"HTTP/1.1 200 \r\nX: y\r\n\r\n", "", "y"),
        (b"HTTP/1.1 200 Fine by me\r\nX: y\r\n\r\n", "Fine by me", "y"),
        (b"HTTP/1.1 200 OK\nX: y\n\n", "OK", "y"),
        (b"HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n", "OK", "y z"),
        (b"HTTP/1.1 200 OK\r\nX:\ty \r\n\r\n", "OK", "y"),
        (b"HTTP/1.1 200 OK\r\nX: \xc3\xbc\r\n\r\n", "OK", "\xc3\xbc"),
        (b"HTTP/1.0 200 OK\r\nX: y\r\n\r\n", "OK", "y"),
        (b"HTTP/1.1 200 OK\r\nY: " + b"z" * 60_000 + b"\r\nX: y\r\n\r\n", "OK", "y"),
        (b"HTTP/1.1 200 OK\r\n" + b"Y: z\r\n" * 450 + b"X: y\r\n\r\n", "OK", "y"),
    ],
    ids=lambda value: repr(value[:60]),
)
def test_odd_heads_that_are_legal(
    script: tuple[list[bytes], Sidecar], answer: bytes, reason: str, header: str
) -> None:
    got = through(script, answer + b"body")
    assert (got.status, got.reason, got.header("X")) == (200, reason, header)
    assert (got.body, got.whole) == (b"body", True)


# -- what is no answer


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\r\n\r\n",
        b"hello",
        b"hello\r\n\r\n",
        b"HTTP/1.1",
        OK,
        OK + b"Content-Length: 5\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/x.1 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b"Content-Length: x\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        OK + b"Transfer-Encoding: gzip\r\n\r\n",
        OK + b"X: " + b"y" * 1_100_000 + b"\r\n\r\n",
        OK + b"X: y\r\n" * 200_000 + b"\r\n\r\n",
        b"x" * 1_100_000,
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0@\0",  # HTTP/2, at once
    ],
    ids=lambda value: repr(value[:60]),
)
def test_what_is_not_http_is_502(script: tuple[list[bytes], Sidecar], answer: bytes) -> None:
    got = through(script, answer)
    assert (got.status, got.whole) == (502, True)


@pytest.mark.parametrize("greeting", [b"SSH-2.0-x\r\n", b"220 mail ESMTP\r\n"])
def test_an_app_that_greets_in_another_language_is_502_at_once(greeting: bytes) -> None:
    def serve(sock: socket.socket) -> None:
        sock.sendall(greeting)
        read_until_gone(sock)

    got = ask(serve, timeout=3600)
    assert got.status == 502


def test_a_reset_before_the_answer_is_502() -> None:
    def serve(sock: socket.socket) -> None:
        read_head(sock)
        reset(sock)

    assert ask(serve).status == 502


def test_an_app_that_says_nothing_is_504() -> None:
    got = ask(hold)
    assert (got.status, got.whole) == (504, True)


# -- broken off


@pytest.mark.parametrize("end", ["fin", "reset"])
@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK + b"Content-Length: 10\r\n\r\nhello", b"hello"),
        (OK + b"Content-Length: 10\r\n\r\n", b""),
        (CHUNKED + b"a\r\nhello", b"hello"),
        (CHUNKED + b"5\r\nhello\r\n", b"hello"),
        (CHUNKED + b"5\r\nhello\r\n0\r\n", b"hello"),
        (CHUNKED + b"5\r\nhello\r\nx\r\n", b"hello"),
        (CHUNKED + b"5\r\nhello!\r\n", b"hello"),
        (CHUNKED, b""),
    ],
    ids=lambda value: repr(value[-30:]),
)
@pytest.mark.parametrize("request_", [GET, GET10], ids=["1.1", "1.0"])
def test_what_breaks_off_breaks_off(answer: bytes, body: bytes, end: str, request_: bytes) -> None:
    taken = threading.Event()

    def serve(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(answer)
        if end == "reset":
            assert taken.wait(TIMEOUT)  # a reset overtakes what is on its way
            reset(sock)

    with (
        app(serve) as running,
        sidecar({"app": {"livenessProbe": http_probe(running.port, timeoutSeconds=60)}}) as started,
        connect(started.address, LIVENESS) as sock,
    ):
        sock.sendall(request_)
        raw = b""
        while b"\r\n\r\n" not in raw or parse(raw, True).body != body:
            piece = sock.recv(65536)
            assert piece, raw
            raw += piece
        taken.set()
        rest, orderly = read_to_end(sock)
    got = parse(raw + rest, orderly)
    assert got.body.startswith(body)
    assert not got.whole


def test_a_reset_in_a_body_that_ends_by_close_is_a_reset() -> None:
    taken = threading.Event()

    def serve(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(OK + b"\r\nhello")
        assert taken.wait(TIMEOUT)
        reset(sock)

    with (
        app(serve) as running,
        sidecar({"app": {"livenessProbe": http_probe(running.port, timeoutSeconds=60)}}) as started,
        connect(started.address, LIVENESS) as sock,
    ):
        sock.sendall(GET)
        raw = b""
        while not raw.endswith(b"hello"):
            piece = sock.recv(65536)
            assert piece, raw
            raw += piece
        taken.set()
        _, orderly = read_to_end(sock)
    assert not orderly
