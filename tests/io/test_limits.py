"""Callers that take their time: each limit ends its own sort, and nobody else waits for them.

The limits are made small here, one at a time: that they hold is what matters, not how long.
"""

import contextlib
import itertools
import select
import socket
from collections.abc import Iterator

import pytest

from osm_healthcheck.server import connection, connection_limiter
from osm_healthcheck.wire import lingering
from tests.io.apps import App, app, hold, http_app, read_head, response
from tests.io.sidecar import HEALTHCHECK, LIVENESS, Sidecar, http_probe, sidecar
from tests.io.wire import TIMEOUT, connect, own_address, parse, read_to_end

SHORT = 0.05
LONG = 3600.0
GET = b"GET /osm-liveness-probe HTTP/1.1\r\nHost: x\r\n"
GONE = r"reset|[Bb]roken pipe"


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_SECONDS", "IDLE_SECONDS", "LINGER_SECONDS"):
        monkeypatch.setattr(connection, name, LONG)
    monkeypatch.setattr(connection_limiter, "_CLOSE_EXPIRED_SECONDS", SHORT / 5)


@pytest.fixture
def web() -> Iterator[App]:
    with http_app(response(body=b"alive")) as running:
        yield running


@pytest.fixture
def running(web: App) -> Iterator[Sidecar]:
    with sidecar({"app": {"livenessProbe": http_probe(web.port)}}) as started:
        yield started


def drip(sock: socket.socket, pieces: Iterator[bytes]) -> bytes:
    """Send piece after piece, slowly, until the other side says or does something; what it said.

    After the last piece the answer has all the time of the socket.
    """
    for piece in pieces:
        try:
            sock.send(piece)
        except OSError:
            return b""
        if select.select([sock], [], [], SHORT / 10)[0]:
            try:
                return sock.recv(65536)
            except OSError:
                return b""
    return sock.recv(65536)


def send_for_ever(sock: socket.socket, piece: bytes) -> None:
    while True:
        sock.sendall(piece)


@pytest.mark.parametrize("port", [HEALTHCHECK, LIVENESS])
@pytest.mark.parametrize("piece", [b"x", b"X: y\r\n"])
def test_a_head_that_drips_in_is_cut_off(
    running: Sidecar, monkeypatch: pytest.MonkeyPatch, port: int, piece: bytes
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", SHORT)
    with connect(running.address, port) as sock:
        said = drip(sock, itertools.chain([GET], itertools.repeat(piece)))
        assert said == b""
        assert running.probe().body == b"alive"


def test_a_head_that_drips_in_before_the_limit_is_answered(running: Sidecar) -> None:
    with connect(running.address, LIVENESS) as sock:
        request = GET + b"\r\n"
        for at in range(len(request)):
            sock.sendall(request[at : at + 1])
            assert at + 1 == len(request) or not select.select([sock], [], [], SHORT / 10)[0]
        said = b""
        while b"alive" not in said:
            said += sock.recv(65536)
    assert parse(said, True).body == b"alive"


def test_a_connection_on_which_nothing_is_said_is_closed(
    running: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "IDLE_SECONDS", SHORT)
    with connect(running.address, LIVENESS) as sock:
        assert read_to_end(sock) == (b"", True)


def test_a_request_that_is_being_answered_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", SHORT)
    monkeypatch.setattr(connection, "IDLE_SECONDS", SHORT)

    address = own_address()

    def serve(sock: socket.socket) -> None:
        read_head(sock)
        # This caller comes after the one that waits for the answer, and is idle: once it has been
        # closed, the other would have been.
        with connect(address, LIVENESS) as idle:
            assert read_to_end(idle) == (b"", True)
        sock.sendall(response(body=b"at last"))

    with app(serve) as slow:
        probes = {"app": {"livenessProbe": http_probe(slow.port, timeoutSeconds=60)}}
        with sidecar(probes, address=address) as running:
            assert running.probe().body == b"at last"


@pytest.mark.parametrize("port", [HEALTHCHECK, LIVENESS])
@pytest.mark.parametrize(
    "piece", [b"x" * 65536, b"X: y\r\n" * 10000, b"\r\n" * 30000, b"X: " + b"y" * 65000 + b"\r\n"]
)
def test_an_endless_head_ends_with_the_connection(
    running: Sidecar, monkeypatch: pytest.MonkeyPatch, port: int, piece: bytes
) -> None:
    monkeypatch.setattr(connection, "LINGER_SECONDS", SHORT)
    with connect(running.address, port) as sock, pytest.raises(OSError, match=GONE):
        send_for_ever(sock, piece)
    assert running.probe().body == b"alive"


@pytest.mark.parametrize("piece", [b"x" * 65536, (GET + b"X: smuggled\r\n\r\n") * 1000])
def test_what_follows_a_request_without_end_ends_with_the_connection(
    running: Sidecar, web: App, monkeypatch: pytest.MonkeyPatch, piece: bytes
) -> None:
    monkeypatch.setattr(connection, "LINGER_SECONDS", SHORT)
    with connect(running.address, LIVENESS) as sock:
        sock.sendall(GET + b"Content-Length: 9\r\n\r\n" + b"x" * 9)
        assert b"alive" in sock.recv(65536)
        with pytest.raises(OSError, match=GONE):
            send_for_ever(sock, piece)
    assert running.probe().body == b"alive"
    assert not any(b"smuggled" in request for request in web.requests)


def test_the_answer_waits_for_a_caller_that_is_still_sending(running: Sidecar) -> None:
    with connect(running.address, LIVENESS) as sock:
        sock.sendall(GET + b"Content-Length: 2000000\r\n\r\n")
        for _ in range(200):
            sock.sendall(b"x" * 10000)
        raw, orderly = read_to_end(sock)
    assert (parse(raw, orderly).body, orderly) == (b"alive", True)


def test_an_answer_that_is_never_taken_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_SECONDS", SHORT)
    body = bytes(8_000_000)

    def serve(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(response(body=body))

    with (
        app(serve) as big,
        sidecar({"app": {"livenessProbe": http_probe(big.port)}}) as running,
        connect(running.address, LIVENESS) as sock,
    ):
        sock.sendall(GET + b"\r\n")
        big.wait_for(lambda app: app.connections == 1)
        big.wait_for(lambda app: app.open == 0)
        raw, _ = read_to_end(sock)
        assert not parse(raw, True).whole


def test_the_rest_of_an_answer_waits_for_a_slow_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    # What the kernel takes differs between machines. Of so many sizes, some end in our own memory,
    # with the app done and gone: what is left there is still the caller's to take.
    monkeypatch.setattr(connection, "LINGER_SECONDS", 0.0)
    monkeypatch.setattr(connection_limiter, "MAX_UNREAD", 1000)
    sizes = range(20_000, 120_000, 500)

    def serve(sock: socket.socket) -> None:
        size = int(read_head(sock).partition(b"User-Agent: ")[2].partition(b"\r")[0])
        sock.sendall(response(body=bytes(size)))

    with (
        app(serve) as big,
        sidecar({"app": {"livenessProbe": http_probe(big.port, timeoutSeconds=60)}}) as running,
        contextlib.ExitStack() as stack,
    ):
        callers = {}
        for size in sizes:
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            sock.settimeout(TIMEOUT)
            sock.connect((running.address, LIVENESS))
            sock.sendall(GET + b"User-Agent: %d\r\n\r\n" % size)
            callers[size] = sock
        big.wait_for(lambda app: app.connections == len(sizes))
        monkeypatch.setattr(connection, "HEAD_SECONDS", SHORT)
        for _ in range(3):  # sweeps come and go
            with connect(running.address, LIVENESS) as other:
                drip(other, itertools.repeat(b"x"))
        for size, sock in callers.items():
            answer = parse(*read_to_end(sock))
            assert (len(answer.body), answer.whole) == (size, True)


def test_an_app_that_does_not_hang_up_is_reset_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering, "LINGER_SECONDS", SHORT)
    ends = []

    def serve(sock: socket.socket) -> None:
        read_head(sock)
        try:
            while True:
                sock.sendall(bytes(65536))
        except OSError as error:
            ends.append(error)

    with app(serve) as endless, sidecar({"app": {"livenessProbe": http_probe(endless.port)}}) as s:
        assert s.probe().status == 502  # zeros are no HTTP
        endless.wait_for(lambda app: app.open == 0)
    assert ends


def test_a_silent_app_is_let_go_when_its_caller_leaves() -> None:
    with (
        app(hold) as slow,
        sidecar({"app": {"livenessProbe": http_probe(slow.port, timeoutSeconds=60)}}) as running,
    ):
        with connect(running.address, LIVENESS) as sock:
            sock.sendall(GET + b"\r\n")
            slow.wait_for(lambda app: app.open == 1)
        slow.wait_for(lambda app: app.open == 0)
        assert not slow.errors
