"""TLS passed through: the app's own TLS, end to end, by way of the liveness port."""

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.io.apps import App, app, hold, http_app, read_head, reset, response
from tests.io.attacked_pod import descriptors, pod
from tests.io.sidecar import LIVENESS, Sidecar, http_probe, sidecar
from tests.io.tls import authority, server_context
from tests.io.wire import TIMEOUT, closed_port, connect, parse, read_to_end

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
HTTP = b"GET /osm-liveness-probe HTTP/1.1\r\nHost: x\r\n\r\n"
BIG = 20_000_000


@pytest.fixture(scope="module")
def client() -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


@contextlib.contextmanager
def tls_app(serve: Callable[[ssl.SSLSocket], Any]) -> Iterator[App]:
    """An app that speaks TLS 1.3."""
    context = server_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3

    def wrapped(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as secure:
            serve(secure)

    with app(wrapped) as running:
        yield running


@contextlib.contextmanager
def passing(port: int, seconds: int = 60, **more: Any) -> Iterator[Sidecar]:
    """A sidecar that passes TLS through to ``port``."""
    probe = http_probe(port, scheme="HTTPS", timeoutSeconds=seconds)
    with sidecar({"app": {"livenessProbe": probe, **more}}) as running:
        yield running


def results(running: Sidecar) -> list[str]:
    return [line["result"] for line in running.logged("probe result")]


def greet(secure: ssl.SSLSocket) -> None:
    secure.sendall(response(body=read_head(secure).partition(b"\r\n")[0]))


@contextlib.contextmanager
def secured(running: Sidecar, client: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with (
        connect(running.address, LIVENESS) as sock,
        client.wrap_socket(sock, server_hostname="wrong.example") as secure,
    ):
        yield secure


def test_the_caller_speaks_tls_with_the_app_itself(client: ssl.SSLContext) -> None:
    with tls_app(greet) as target, passing(target.port) as running:
        for _ in range(3):
            with secured(running, client) as secure:  # the certificate is verified here
                secure.sendall(GET)
                raw, orderly = read_to_end(secure)
            assert orderly
            assert parse(raw, True).body == b"GET /healthz HTTP/1.1"
        target.wait_for(lambda app: app.open == 0)
    assert results(running) == ["passed"]
    assert not target.errors


def test_an_app_that_refuses_is_a_closed_connection() -> None:
    with (
        closed_port() as port,
        passing(port) as running,
        connect(running.address, LIVENESS) as sock,
    ):
        sock.sendall(b"\x16\x03\x01\x00\x01\x01")
        assert read_to_end(sock) == (b"", True)
    assert results(running) == ["refused"]


def test_an_app_that_resets_is_broken() -> None:
    def serve(sock: socket.socket) -> None:
        sock.recv(1)
        reset(sock)

    with (
        app(serve) as target,
        passing(target.port) as running,
        connect(running.address, LIVENESS) as sock,
    ):
        sock.sendall(b"\x16\x03\x01\x00\x01\x01")
        assert read_to_end(sock) == (b"", False)
    assert results(running) == ["broken"]


def test_an_app_that_hangs_up_without_a_byte_is_broken() -> None:
    def serve(sock: socket.socket) -> None:
        sock.recv(6, socket.MSG_WAITALL)

    with (
        app(serve) as target,
        passing(target.port) as running,
        connect(running.address, LIVENESS) as sock,
    ):
        sock.sendall(b"\x16\x03\x01\x00\x01\x01")
        assert read_to_end(sock) == (b"", True)
    assert results(running) == ["broken"]


def test_an_app_that_says_nothing_is_cut_off_at_the_deadline() -> None:
    with app(hold) as target, passing(target.port, 1) as running:
        with connect(running.address, LIVENESS) as sock:
            sock.sendall(b"\x16\x03\x01\x00\x01\x01")
            assert read_to_end(sock) == (b"", False)
        target.wait_for(lambda app: app.open == 0)
    assert results(running) == ["timeout"]
    assert not target.errors


@pytest.mark.parametrize(
    ("end", "orderly", "result"),
    [(hold, False, "timeout"), (reset, False, "broken"), (socket.socket.close, True, "passed")],
    ids=["stalls", "resets", "closes"],
)
def test_an_answer_without_a_length_ends_as_the_app_ends_it(
    client: ssl.SSLContext, end: Callable[[socket.socket], None], orderly: bool, result: str
) -> None:
    """Go takes FIN for the end of such a body, also without ``close_notify``: a hung app was Ready.

    The caller has read what there is before the app resets: a reset overtakes what is on its way.
    """
    read = threading.Event()

    def serve(secure: ssl.SSLSocket) -> None:
        read_head(secure)
        secure.sendall(b"HTTP/1.1 200 OK\r\n\r\nhal")
        if end is not hold:
            assert read.wait(TIMEOUT)
        end(secure)

    with (
        tls_app(serve) as target,
        passing(target.port, 1 if end is hold else 60) as running,
        secured(running, client) as secure,
    ):
        secure.sendall(GET)
        raw = b""
        while not raw.endswith(b"hal"):
            piece = secure.recv(65536)
            assert piece, raw
            raw += piece
        read.set()
        with socket.socket(fileno=os.dup(secure.fileno())) as sock:  # ssl does not tell the two
            sock.settimeout(TIMEOUT)
            assert read_to_end(sock) == (b"", orderly)
    assert results(running) == [result]


def test_the_kubelet_gives_up_before_we_do(client: ssl.SSLContext) -> None:
    """Go reads 2 KiB of a redirect's body, and follows it however that ends."""

    def serve(secure: ssl.SSLSocket) -> None:
        read_head(secure)
        secure.sendall(b"HTTP/1.1 302 Found\r\nLocation: /next\r\n\r\nhal")
        hold(secure)

    began = time.monotonic()
    with tls_app(serve) as target, passing(target.port, 1) as running:
        with secured(running, client) as secure:
            secure.sendall(GET)
            with socket.socket(fileno=os.dup(secure.fileno())) as sock:
                sock.settimeout(TIMEOUT)
                assert not read_to_end(sock)[1]
        assert time.monotonic() - began > 1
    assert results(running) == ["timeout"]


@pytest.mark.parametrize("leave", [socket.socket.close, reset], ids=["closes", "resets"])
def test_a_caller_that_has_given_up_had_no_answer_in_time(
    leave: Callable[[socket.socket], None],
) -> None:
    """As the kubelet does at its timeout, 50 ms after our deadline and 50 before we end it."""

    def serve(sock: socket.socket) -> None:
        sock.sendall(b"half")
        hold(sock)

    with app(serve) as target, passing(target.port, 1) as running:
        with connect(running.address, LIVENESS) as sock:
            sock.sendall(b"\x16\x03\x01\x00\x01\x01")
            sock.settimeout(1)
            with contextlib.suppress(OSError):  # ours may come first on a busy machine
                while sock.recv(100):
                    pass
            leave(sock)
        target.wait_for(lambda app: app.open == 0)
    assert results(running) == ["timeout"]


@pytest.mark.parametrize("said", [b"", b"half"])
def test_an_app_that_ends_when_its_caller_has_given_up_was_too_slow(said: bytes) -> None:
    def serve(sock: socket.socket) -> None:
        sock.sendall(said)
        hold(sock)

    with app(serve) as target, passing(target.port, 1) as running:
        with connect(running.address, LIVENESS) as sock:
            sock.sendall(b"\x16\x03\x01\x00\x01\x01")
            sock.settimeout(1)
            with contextlib.suppress(OSError):  # ours may come first on a busy machine
                while sock.recv(100):
                    pass
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
                read_to_end(sock)
        target.wait_for(lambda app: app.open == 0)
    assert results(running) == ["timeout"]


def test_a_handshake_that_the_app_refuses_is_the_apps_answer() -> None:
    with tls_app(greet) as target, passing(target.port) as running:
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):  # by an alert of the app's
            secured(running, old).__enter__()
    assert results(running) == ["passed"]


def test_big_bodies_both_ways(client: ssl.SSLContext) -> None:
    received = 0

    def serve(secure: ssl.SSLSocket) -> None:
        nonlocal received
        while received < BIG:
            received += len(secure.recv(65536))
        for _ in range(BIG // 100_000):
            secure.sendall(bytes(100_000))

    buffer = bytearray(65536)
    count = 0
    with (
        tls_app(serve) as target,
        passing(target.port) as running,
        secured(running, client) as secure,
    ):
        for _ in range(BIG // 100_000):
            secure.sendall(bytes(100_000))
        while size := secure.recv_into(buffer):
            count += size
    assert (received, count) == (BIG, BIG)


def test_a_slow_app_and_a_slow_caller_hold_each_other_up() -> None:
    """What neither reads is in no memory of ours: the bytes are plain, the first one TLS'."""
    enough = 50_000_000

    def serve(sock: socket.socket) -> None:
        sock.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < enough:
                sent += sock.send(bytes(100_000))
        sock.settimeout(TIMEOUT)
        count = 0
        while piece := sock.recv(1 << 20):
            count += len(piece)
        sock.sendall(b"end%d" % count)

    with app(serve) as target:
        probe = http_probe(target.port, scheme="HTTPS", timeoutSeconds=60)
        with pod({"big": {"livenessProbe": probe}}) as attacked:
            attacked.probe_all()
            before = attacked.peak_kb()
            with attacked.kubelet(), attacked.open(LIVENESS, b"\x16") as sock:
                for _ in range(enough // 1_000_000):
                    sock.sendall(bytes(1_000_000))
                sock.shutdown(socket.SHUT_WR)
                raw, orderly = read_to_end(sock)
            assert orderly
            assert raw.endswith(b"end%d" % (enough + 1))
            assert attacked.peak_kb() - before < 2048
            attacked.assert_undamaged()


def test_a_caller_that_ends_its_half_gets_the_rest() -> None:
    def serve(sock: socket.socket) -> None:
        data = b""
        while piece := sock.recv(65536):
            data += piece
        sock.sendall(data[::-1])

    with (
        app(serve) as target,
        passing(target.port) as running,
        connect(running.address, LIVENESS) as sock,
    ):
        sock.sendall(b"\x16abc")
        sock.shutdown(socket.SHUT_WR)
        assert read_to_end(sock) == (b"cba\x16", True)
    assert results(running) == ["passed"]


def test_a_caller_that_leaves_takes_its_connection_to_the_app_along() -> None:
    def serve(sock: socket.socket) -> None:
        sock.sendall(sock.recv(4, socket.MSG_WAITALL))
        hold(sock)

    with app(serve) as target, passing(target.port) as running:
        with connect(running.address, LIVENESS) as sock:
            sock.sendall(b"\x16abc")
            assert sock.recv(4, socket.MSG_WAITALL) == b"\x16abc"
        target.wait_for(lambda app: app.open == 0)
        assert not target.errors  # FIN, and no reset


def test_http_and_https_side_by_side_on_one_port(client: ssl.SSLContext) -> None:
    with tls_app(greet) as secure_app, http_app(response(body=b"plain")) as plain_app:
        probes = {
            "a": {"livenessProbe": http_probe(secure_app.port, scheme="HTTPS")},
            "b": {"livenessProbe": http_probe(plain_app.port)},
        }
        with sidecar(probes) as running:
            for _ in range(3):
                assert running.probe().body == b"plain"
                assert running.probe("liveness", "b").body == b"plain"
                with secured(running, client) as secure:
                    secure.sendall(GET)
                    assert parse(read_to_end(secure)[0], True).body == b"GET /healthz HTTP/1.1"
                # the same app, asked by the sidecar itself
                assert running.probe("liveness", "a").body == b"GET / HTTP/1.1"


def test_several_https_probes_of_a_kind_have_no_tls_passed_through() -> None:
    with app(hold) as one, app(hold) as two:
        probes = {
            "a": {"livenessProbe": http_probe(one.port, scheme="HTTPS")},
            "b": {"livenessProbe": http_probe(two.port, scheme="HTTPS")},
        }
        with sidecar(probes) as running, connect(running.address, LIVENESS) as sock:
            sock.sendall(b"\x16\x03\x01\x00\x01\x01")
            assert read_to_end(sock)[0] == b""
    assert one.connections == two.connections == 0


def test_little_is_kept_for_an_app_that_does_not_read() -> None:
    """Left alone, the kernel would keep megabytes of each caller, in the sidecar's memory."""

    def serve(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        done.wait(TIMEOUT)

    done = threading.Event()
    sent = 0
    with (
        app(serve) as deaf,
        passing(deaf.port, 2) as running,
        connect(running.address, LIVENESS) as caller,
    ):
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        caller.sendall(b"\x16")
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # at the deadline
            while True:
                sent += caller.send(bytes(8192))
        done.set()
    assert 0 < sent < 512 * 1024


def test_no_descriptor_is_left_behind(client: ssl.SSLContext) -> None:
    with tls_app(greet) as target, closed_port() as dead:
        probes = {
            "good": {"livenessProbe": http_probe(target.port, scheme="HTTPS", timeoutSeconds=9)},
            "dead": {"readinessProbe": http_probe(dead, scheme="HTTPS")},
        }
        with pod(probes) as attacked:
            attacked.probe_all()
            before = descriptors(attacked.process.popen.pid)
            for _ in range(50):
                with secured(attacked.sidecar, client) as secure:
                    secure.sendall(GET)
                    secure.recv(1)
                with attacked.open(LIVENESS, b"\x16\x03\x01\x00\x01"):
                    pass
                assert attacked.send(b"\x16\x03", LIVENESS + 1)[0] == b""
            target.wait_for(lambda app: app.open == 0)
            attacked.assert_undamaged()
            assert descriptors(attacked.process.popen.pid) <= before
