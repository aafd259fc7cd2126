"""How bodies flow: at the reader's pace, in constant memory, and no longer than the deadline."""

import fcntl
import json
import os
import select
import signal
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable

import pytest

from osm_healthcheck.wire import lingering
from tests.io.apps import App, app, hold, read_head, read_until_gone, reset, response
from tests.io.attacked_pod import AttackedPod, pod
from tests.io.sidecar import LIVENESS, http_probe, process, sidecar
from tests.io.wire import TIMEOUT, connect, get, parse, read_to_end

GIGABYTE = 1 << 30
MEGABYTE = bytes(1 << 20)
BIG = b"GET /osm-liveness-probe/big HTTP/1.1\r\nHost: x\r\n\r\n"
GET = BIG.replace(b"/big", b"")
OK = b"HTTP/1.1 200 OK\r\n"
ROOM_KB = 2048


def big_body(sock: socket.socket) -> None:
    read_head(sock)
    sock.sendall(OK + b"Content-Length: %d\r\n\r\n" % GIGABYTE)
    for _ in range(GIGABYTE // len(MEGABYTE)):
        sock.sendall(MEGABYTE)


def big_chunked_body(sock: socket.socket) -> None:
    read_head(sock)
    sock.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    chunk = b"%x\r\n" % len(MEGABYTE) + MEGABYTE + b"\r\n"
    for _ in range(GIGABYTE // len(MEGABYTE)):
        sock.sendall(chunk)
    sock.sendall(b"0\r\n\r\n")


def read_body(attacked: AttackedPod, each: Callable[[], None]) -> int:
    """How many bytes of answer there are; ``each`` is called on the way."""
    with attacked.open(LIVENESS, BIG) as sock:
        return count_to_end(sock, each)


def count_to_end(sock: socket.socket, each: Callable[[], None] = lambda: None) -> int:
    """How many bytes come to the end; ``each`` is called 32 times in a gigabyte."""
    buffer = bytearray(len(MEGABYTE))
    count, step = 0, 0
    while size := sock.recv_into(buffer):
        count += size
        if count >= step:
            step += GIGABYTE // 32
            each()
    return count


def receive(sock: socket.socket, enough: Callable[[bytes], bool]) -> bytes:
    """What comes until it is enough."""
    raw = b""
    while not enough(raw):
        piece = sock.recv(65536)
        assert piece, f"ended after {raw!r}"
        raw += piece
    return raw


@pytest.mark.parametrize("serve", [big_body, big_chunked_body])
def test_a_gigabyte_costs_no_memory_and_keeps_no_probe_waiting(
    serve: Callable[[socket.socket], None],
) -> None:
    with app(serve) as big:
        probes = {"big": {"livenessProbe": http_probe(big.port, timeoutSeconds=600)}}
        with pod(probes) as attacked:
            attacked.probe_all()
            before = attacked.peak_kb()
            with attacked.kubelet():
                # Each of these is answered while the body is on its way: all of it at once would
                # leave no time for it.
                assert read_body(attacked, attacked.probe_all) >= GIGABYTE
            assert attacked.peak_kb() - before < ROOM_KB
            attacked.assert_undamaged()


def test_a_slow_reader_slows_the_app_down() -> None:
    blocked = threading.Event()
    sent = 0

    def serve(sock: socket.socket) -> None:
        nonlocal sent
        read_head(sock)
        sock.sendall(OK + b"\r\n")
        while sent < GIGABYTE // 8:
            if not blocked.is_set() and not select.select([], [sock], [], 0.5)[1]:
                blocked.set()
            sent += sock.send(MEGABYTE)

    with app(serve) as big:
        probes = {"big": {"livenessProbe": http_probe(big.port, timeoutSeconds=600)}}
        with pod(probes) as attacked, attacked.open(LIVENESS, BIG) as sock:
            attacked.probe_all()
            before = attacked.peak_kb()
            assert blocked.wait(TIMEOUT)  # nobody reads, so the app cannot send
            assert sent < GIGABYTE // 16
            assert count_to_end(sock) >= GIGABYTE // 8
            assert attacked.peak_kb() - before < ROOM_KB
            attacked.assert_undamaged()


@pytest.mark.parametrize(
    "framing",
    [
        b"\r\n",
        b"Content-Length: 99999\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2800\r\n",  # the whole chunk, and not its end
        b"Transfer-Encoding: chunked\r\n\r\n2801\r\n",
    ],
)
def test_what_has_come_is_passed_on_at_once_and_the_deadline_cuts_the_rest(framing: bytes) -> None:
    body = bytes(range(256)) * 40

    def serve(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(OK + framing + body)
        hold(sock)

    with (
        app(serve) as running,
        sidecar({"app": {"livenessProbe": http_probe(running.port)}}) as started,
        connect(started.address, LIVENESS) as sock,
    ):
        sock.sendall(GET)
        raw = receive(sock, lambda raw: b"\r\n\r\n" in raw and parse(raw, True).body == body)
        assert running.open == 1  # the app has not said that this is all
        rest, orderly = read_to_end(sock)
        assert not parse(raw + rest, orderly).whole
        assert [line["result"] for line in started.logged("probe result")] == ["broken"]


def test_a_head_that_nobody_reads_is_broken_off_at_the_deadline() -> None:
    head = OK + b"".join(b"X-%d: %b\r\n" % (number, b"x" * 9200) for number in range(7)) + b"\r\n"

    def serve(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(head)

    with (
        app(serve) as running,
        sidecar({"app": {"livenessProbe": http_probe(running.port)}}) as started,
        socket.socket() as sock,
    ):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect((started.address, LIVENESS))
        sock.sendall(GET)
        poll = select.poll()
        poll.register(sock, select.POLLERR)
        assert poll.poll(TIMEOUT * 1000)  # it is reset: FIN would be the end of an answer
        assert started.logged("probe result")[-1]["result"] == "broken"


def test_a_head_is_passed_on_before_there_is_a_body() -> None:
    go_on = threading.Event()

    def serve(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(OK + b"Content-Length: 5\r\n\r\n")
        assert go_on.wait(TIMEOUT)
        sock.sendall(b"hello")

    with (
        app(serve) as running,
        sidecar({"app": {"livenessProbe": http_probe(running.port, timeoutSeconds=60)}}) as started,
        connect(started.address, LIVENESS) as sock,
    ):
        sock.sendall(GET)
        raw = receive(sock, lambda raw: raw.endswith(b"\r\n\r\n"))
        go_on.set()
        assert parse(raw + read_to_end(sock)[0], True).body == b"hello"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apps have all the time there is to hang up, so that nothing but our FIN can move them."""
    monkeypatch.setattr(lingering, "LINGER_SECONDS", 3600.0)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("size", [10 * 1024, 100_000])
def test_a_caller_that_has_read_enough_resets_no_app(size: int) -> None:
    ends: list[str] = []

    def serve(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(OK + b"Content-Length: 10000000\r\n\r\n" + bytes(size))
        ends.append(read_until_gone(sock))

    with (
        app(serve) as running,
        sidecar({"app": {"livenessProbe": http_probe(running.port, timeoutSeconds=60)}}) as started,
    ):
        for _ in range(20):
            with connect(started.address, LIVENESS) as sock:
                sock.sendall(GET)
                receive(sock, lambda raw: len(raw) >= 10 * 1024)
        running.wait_for(lambda _: len(ends) == 20)
        results = started.logged("probe result")
    assert set(ends) == {"fin"}
    assert [line["result"] for line in results] == ["success"]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("status", [200, 404, 500])
def test_an_app_that_goes_on_sending_sees_fin_after_a_whole_answer(status: int) -> None:
    ends: list[str] = []

    def serve(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 %d x\r\nContent-Length: 5\r\n\r\nhello and more" % status)
        ends.append(read_until_gone(sock))

    with (
        app(serve) as running,
        sidecar({"app": {"livenessProbe": http_probe(running.port)}}) as started,
    ):
        assert started.probe().status == status
        _ended(running, ends)
    assert ends == ["fin"]


def _ended(running: App, ends: list[str]) -> None:
    running.wait_for(lambda app: app.open == 0)
    assert ends


def test_what_an_app_sends_before_it_resets_arrives() -> None:
    """The kubelet's kernel would have had it, however late the kubelet reads."""
    body = bytes(30_000)

    def serve(sock: socket.socket) -> None:
        read_head(sock)
        running.popen.send_signal(signal.SIGSTOP)
        try:
            sock.sendall(response(body=body))
            end = time.monotonic() + TIMEOUT
            while unacknowledged(sock) and time.monotonic() < end:
                os.sched_yield()
            reset(sock)
        finally:
            running.popen.send_signal(signal.SIGCONT)

    with app(serve) as target:
        declared = json.dumps(
            {"app": {"livenessProbe": http_probe(target.port, timeoutSeconds=60)}}
        )
        with process("--probes", declared) as running:
            running.wait_for("ready")
            answer = get(running.address, LIVENESS, "/osm-liveness-probe")
    assert (answer.status, answer.body) == (200, body)


def unacknowledged(sock: socket.socket) -> int:
    """How many bytes the other side's kernel has not taken (tcp(7): ``SIOCOUTQ``)."""
    (count,) = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))
    return int(count)
