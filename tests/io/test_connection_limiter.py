"""Too many connections at once: who has to leave, and that the kubelet never has to."""

import contextlib
import resource
import select
import socket
from collections.abc import Iterator

import pytest

from osm_healthcheck.server.connection_limiter import (
    MAX_CONNECTIONS,
    MAX_UNREAD,
    TooFewFilesError,
    connection_limit,
)
from tests.io.apps import App, app, hold, read_head
from tests.io.attacked_pod import AttackedPod, descriptors, open_files, pod
from tests.io.sidecar import HEALTHCHECK, LIVENESS, STARTUP, http_probe
from tests.io.wire import TIMEOUT, get, read_to_end

PORTS = (HEALTHCHECK, LIVENESS, STARTUP)
SCARCE = 256
SCARCE_CAP = 64  # (256 - 64) / 3
SLOW = b"GET /osm-liveness-probe/slow HTTP/1.1\r\nHost: x\r\n\r\n"
SMALL = 8 * 1024


@pytest.fixture
def many_files() -> Iterator[None]:
    with open_files(16384):
        yield


@contextlib.contextmanager
def callers() -> Iterator[list[socket.socket]]:
    """Connections that are closed in the end."""
    sockets: list[socket.socket] = []
    try:
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


@pytest.mark.parametrize(
    ("files", "limit"),
    [(67, 1), (69, 1), (70, 2), (SCARCE, SCARCE_CAP), (3135, 1023), (3136, 1024), (4096, 1024)],
)
def test_of_the_files_that_there_are_each_connection_may_take_three(files: int, limit: int) -> None:
    with open_files(files):
        assert connection_limit() == limit


@pytest.mark.parametrize("files", [63, 64, 66])
def test_too_few_files_for_one_connection_are_an_error(files: int) -> None:
    with open_files(files), pytest.raises(TooFewFilesError, match=f"{files} .*let it have 67 "):
        connection_limit()


def test_where_files_have_no_limit_connections_have_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    # Said in place of the kernel: Linux gives no process more than fs.nr_open.
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: unlimited)
    assert connection_limit() == MAX_CONNECTIONS


def burst(
    attacked: AttackedPod, sockets: list[socket.socket], count: int, data: bytes = b""
) -> None:
    """Open connections on all ports without a look at what becomes of them, then at all."""
    new = []
    for number in range(count):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex((attacked.address, PORTS[number % len(PORTS)]))
        new.append(sock)
    sockets += new
    poll = select.poll()
    for sock in new:
        poll.register(sock, select.POLLOUT)
    left = {sock.fileno(): sock for sock in new}
    while left:
        ready = poll.poll(TIMEOUT * 1000)
        assert ready, f"{len(left)} callers could not connect"
        for number, _ in ready:
            poll.unregister(number)
            sock = left.pop(number)
            with contextlib.suppress(OSError):  # it may have had to make room already
                if data:
                    sock.send(data)


def small_socket(attacked: AttackedPod) -> socket.socket:
    """A caller for whom the kernel keeps little: that memory is not the sidecar's."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    sock.settimeout(TIMEOUT)
    sock.connect((attacked.address, LIVENESS))
    return sock


def reached(target: App, count: int) -> None:
    """Wait until an app has had so many connections."""
    target.wait_for(lambda app: app.connections >= count)


def accepted(attacked: AttackedPod) -> None:
    """Wait until the sidecar has taken in every caller: each port takes them in their order."""
    for port in PORTS:
        assert get(attacked.address, port, "/nothing").status == 404


def is_open(sock: socket.socket) -> bool:
    """Whether the sidecar holds on to this connection, on which it has nothing to say."""
    try:
        return bool(sock.recv(1))
    except BlockingIOError:
        return True
    except OSError:
        return False


@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize("data", [b"", b"G", b"GET / HTTP/1.1\r\nX: "], ids=repr)
def test_silent_callers_are_held_up_to_the_cap_then_the_oldest_makes_room(data: bytes) -> None:
    with pod() as attacked, callers() as sockets:
        burst(attacked, sockets, MAX_CONNECTIONS - 1, data)
        accepted(attacked)
        assert all(map(is_open, sockets))
        burst(attacked, sockets, 1, data)
        accepted(attacked)
        assert not is_open(sockets[0])
        assert all(map(is_open, sockets[1:]))
        attacked.assert_undamaged()


@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\n"], ids=repr)
def test_10000_callers_that_say_nothing_keep_no_probe_waiting(data: bytes) -> None:
    with pod() as attacked, callers() as sockets:
        with attacked.kubelet() as answered:
            for _ in range(10):
                burst(attacked, sockets, 1000, data)
                attacked.probe_all()
                answered()
        accepted(attacked)
        assert descriptors(attacked.process.popen.pid) <= MAX_CONNECTIONS + 64
        assert sum(map(is_open, sockets)) <= MAX_CONNECTIONS
        attacked.assert_undamaged()


@pytest.mark.usefixtures("many_files")
def test_10000_callers_that_come_and_go_leave_nothing_behind() -> None:
    with pod() as attacked:
        before = descriptors(attacked.process.popen.pid)
        with attacked.kubelet() as answered:
            for _ in range(10):
                with callers() as sockets:
                    burst(attacked, sockets, 1000, b"GET ")
                    answered()
        attacked.assert_undamaged()
        assert descriptors(attacked.process.popen.pid) <= before + 8


# -- callers that have asked


@contextlib.contextmanager
def slow_pod(serve: object = hold, files: int = 4096) -> Iterator[tuple[AttackedPod, App]]:
    """A pod one of whose containers takes its time."""
    with app(serve) as slow:  # type: ignore[arg-type]
        probes = {"slow": {"livenessProbe": http_probe(slow.port, timeoutSeconds=600)}}
        with pod(probes, files=files) as attacked:
            yield attacked, slow


def test_where_all_have_asked_the_oldest_makes_room() -> None:
    with slow_pod(files=SCARCE) as (attacked, slow), callers() as sockets:
        with attacked.kubelet():
            for number in range(3 * SCARCE_CAP):
                sockets.append(attacked.open(LIVENESS, SLOW))
                reached(slow, number + 1)
        slow.wait_for(lambda app: app.open <= SCARCE_CAP)
        for sock in sockets:
            sock.setblocking(False)
        assert not any(map(is_open, sockets[:SCARCE_CAP]))
        assert is_open(sockets[-1])
        attacked.assert_undamaged()


def test_half_an_answer_that_has_to_make_room_does_not_end_like_a_whole_one() -> None:
    def serve(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        hold(sock)

    with slow_pod(serve, files=SCARCE) as (attacked, slow), callers() as sockets:
        for number in range(2 * SCARCE_CAP):
            sockets.append(attacked.open(LIVENESS, SLOW))
            reached(slow, number + 1)
            if number < SCARCE_CAP // 2:
                assert receive(sockets[-1]).endswith(b"half")
        for sock in sockets[: SCARCE_CAP // 2]:
            assert read_to_end(sock) == (b"", False)
        attacked.assert_undamaged()


def receive(sock: socket.socket) -> bytes:
    """An answer's head, and what has come of its body."""
    raw = b""
    while not raw.partition(b"\r\n\r\n")[2]:
        piece = sock.recv(65536)
        assert piece, raw
        raw += piece
    return raw


def test_few_descriptors_mean_few_connections_and_no_errors() -> None:
    with slow_pod(files=SCARCE) as (attacked, slow), callers() as sockets:
        with attacked.kubelet() as answered:
            for number in range(SCARCE_CAP // 2):
                sockets.append(attacked.open(LIVENESS, SLOW))
                reached(slow, number + 1)
            for _ in range(10):
                burst(attacked, sockets, 30)
                answered()
        assert descriptors(attacked.process.popen.pid) < SCARCE
        assert slow.open >= SCARCE_CAP // 2  # they have asked, and were worth more than the silent
        attacked.assert_undamaged()


def test_apps_that_do_not_hang_up_use_up_no_descriptors() -> None:
    rude: list[socket.socket] = []

    def serve(sock: socket.socket) -> None:
        read_head(sock)
        rude.append(sock.dup())  # open for as long as the test has it

    with slow_pod(serve, files=SCARCE) as (attacked, slow):
        try:
            with attacked.kubelet():
                for number in range(2 * SCARCE):
                    with attacked.open(LIVENESS, SLOW):
                        reached(slow, number + 1)
            attacked.assert_undamaged()
        finally:
            for sock in rude:
                sock.close()


@pytest.mark.usefixtures("many_files")
def test_1000_slow_readers_of_a_big_body_fit_into_memory() -> None:
    def serve(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * SMALL)
        read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            sock.sendall(bytes(8 * SMALL))

    with slow_pod(serve) as (attacked, slow), callers() as sockets:
        with attacked.kubelet():
            for _ in range(1000):
                sockets.append(small_socket(attacked))
                sockets[-1].sendall(SLOW)
            slow.wait_for(lambda app: app.connections == 1000 and app.open == MAX_UNREAD)
            for _ in range(3):
                for sock in sockets[-MAX_UNREAD:]:
                    assert sock.recv(1024)
        assert slow.open == MAX_UNREAD
        attacked.assert_undamaged()
        for sock in sockets:
            sock.close()
        slow.wait_for(lambda app: app.open == 0)


@pytest.mark.usefixtures("many_files")
def test_1000_uploads_that_no_app_reads_fit_into_memory() -> None:
    with app(lambda sock: stuck.append(sock.dup())) as tls, callers() as stuck:
        probe = http_probe(tls.port, scheme="HTTPS", timeoutSeconds=600)
        with pod({"tls": {"livenessProbe": probe}}) as attacked, callers() as sockets:
            with attacked.kubelet():
                for number in range(1000):
                    sock = small_socket(attacked)
                    sockets.append(sock)
                    sock.sendall(b"\x16")
                    reached(tls, number + 1)
                    sock.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        while True:
                            sock.send(bytes(SMALL))
            attacked.assert_undamaged()


def test_a_caller_that_never_reads_is_cut_off_at_the_deadline() -> None:
    def serve(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            sock.sendall(bytes(65536))

    with app(serve) as big, pod({"slow": {"livenessProbe": http_probe(big.port)}}) as attacked:
        with callers() as sockets, attacked.kubelet():
            sockets += [attacked.open(LIVENESS, SLOW) for _ in range(50)]
            big.wait_for(lambda app: app.connections == 50)
            big.wait_for(lambda app: app.open == 0)
            data, _ = read_to_end(sockets[0])
            assert len(data) < 1_000_000_000
        attacked.assert_undamaged()
