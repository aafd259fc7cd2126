"""100 probes at once, each against an app that does its worst, in the memory that a pod has."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.server.connection_limiter import MAX_UNREAD
from tests.io import http2_cases as h2
from tests.io.apps import app, read_head, read_until_gone
from tests.io.attacked_pod import open_files
from tests.io.cgroup import MemoryCgroup, memory_cgroup
from tests.io.sidecar import HEALTHCHECK, LIVENESS, Process, http_probe, process
from tests.io.tls import crowded_context, server_context
from tests.io.wire import TIMEOUT, connect, get, parse, read_to_end

PROBES = 100
# what injection sets; a container's limit counts the memory of its sockets, too
LIMIT = 64 << 20
OK = b"HTTP/1.1 200 OK\r\n"
LONG = 60
NAME = b"x" * 97_000
BODY = b"\r\n" + b"x" * (8 << 20)
APPS = {
    "half a line": OK + b"A: " + b"x" * (63 << 10),
    "half a line of 900 kB": OK + b"A: " + b"x" * 900_000,
    "half a head of tiny fields": OK + b"a:\r\n" * 470,
    "half a head of continuation lines": OK + b"A: b\r\n" + b" c\r\n" * (15 << 10),
    "informational answers": b"HTTP/1.1 103 X\r\nA: b\r\n\r\n" * 300,
    "tiny fields and a body": OK + b"a:\r\n" * 470 + BODY,
    "a long field and a body": OK + b"A: " + b"x" * (60 << 10) + b"\r\n" + BODY,
    "chunks of a byte": OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * (1 << 12),
    "fields without end": OK + b"a:\r\n" * (1 << 20),
}
OVER_TLS = ("half a line", "a long field and a body")
CASES = [(name, "HTTP") for name in APPS] + [(name, "HTTPS") for name in OVER_TLS]


class WorstApp:
    """Sends ``answer``, as far as anybody takes it, and then keeps the connection.

    ``alpn`` is what it settles on over TLS.
    """

    def __init__(self, answer: bytes, alpn: str = "") -> None:
        self._answer = answer
        self._tls = server_context(alpn) if alpn else None
        self._is_http2 = alpn == "h2"
        self._stuck = 0
        self._changed = threading.Condition()

    def serve(self, sock: socket.socket) -> None:
        with self._tls.wrap_socket(sock, server_side=True) if self._tls else sock as stream:
            if self._is_http2:
                stream.sendall(h2.settings())
                h2.read_request(stream)
            else:
                read_head(stream)
            sent = 0
            stream.settimeout(1)
            with contextlib.suppress(OSError):  # nobody takes more, or the connection was ended
                while sent < len(self._answer):
                    sent += stream.send(self._answer[sent : sent + 65536])
            with self._changed:
                self._stuck += 1
                self._changed.notify_all()
            stream.settimeout(TIMEOUT)
            with contextlib.suppress(OSError):
                read_until_gone(stream)

    def wait_until_all_are_stuck(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._stuck >= PROBES, 4 * TIMEOUT), self._stuck


class RedirectingApp:
    """Redirects each request nine times, with ``size`` bytes, and answers when all are there."""

    def __init__(self, size: int) -> None:
        self._tail = b"/" + b"x" * size
        self._all_there = threading.Barrier(PROBES)

    def serve(self, sock: socket.socket) -> None:
        count = int(read_head(sock).split(b"/", 2)[1].split(b" ")[0])
        if count < 9:
            sock.sendall(b"HTTP/1.1 302 Found\r\nLocation: /%d%b\r\n" % (count + 1, self._tail))
            sock.sendall(b"Content-Length: 0\r\n\r\n")
        else:
            self._all_there.wait(4 * TIMEOUT)
            sock.sendall(OK + b"Content-Length: 0\r\n\r\n")


# a header block of one field, which is decoded when its last byte has come
FIELDS = {
    "a name and a value in Huffman's code": b"\0" + h2.length(NAME) + NAME + h2.zeros(97_000),
    "both in Huffman's code": b"\0" + h2.zeros(60_000) + h2.zeros(38_000),
}


class LongFieldApp:
    """Sends ``block`` over HTTP/2, and its last byte when all others have come that far."""

    def __init__(self, block: bytes) -> None:
        self._answer = h2.cut(block)
        self._all_there = threading.Barrier(PROBES)
        self._tls = server_context("h2")

    def serve(self, sock: socket.socket) -> None:
        with self._tls.wrap_socket(sock, server_side=True) as stream:
            stream.sendall(h2.settings())
            h2.read_request(stream)
            stream.sendall(self._answer[:-1])
            self._all_there.wait(4 * TIMEOUT)
            stream.sendall(self._answer[-1:])
            read_until_gone(stream)


class Crowd:
    """A sidecar in the memory that a pod has, and who has asked it for many probes at once."""

    def __init__(
        self, sidecar: Process, cgroup: MemoryCgroup, callers: list[socket.socket]
    ) -> None:
        self._sidecar = sidecar
        self._cgroup = cgroup
        self.callers = callers

    def assert_fit(self, limit: int = LIMIT) -> None:
        assert get(self._sidecar.address, HEALTHCHECK, "/healthz").status == 200
        assert sum(self._cgroup.peak()) <= limit, self._cgroup.peak()


@contextlib.contextmanager
def a_hundred(probe: dict[str, Any]) -> Iterator[Crowd]:
    declared = {f"c{number}": {"livenessProbe": probe} for number in range(PROBES)}
    with memory_cgroup() as cgroup, contextlib.ExitStack() as stack:
        cgroup.limit(LIMIT)
        running = process("--probes", json.dumps(declared), prefix=cgroup.prefix)
        sidecar = stack.enter_context(running)
        sidecar.wait_for("ready")
        callers = []
        for container in declared:
            caller = stack.enter_context(connect(sidecar.address, LIVENESS))
            path = f"{ProbeKind.LIVENESS.path}/{container}"
            caller.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            callers.append(caller)
        yield Crowd(sidecar, cgroup, callers)


@pytest.mark.parametrize(("name", "scheme"), CASES)
def test_a_hundred_at_once_fit(name: str, scheme: str) -> None:
    worst = WorstApp(APPS[name], "http/1.1" if scheme == "HTTPS" else "")
    with (
        app(worst.serve) as running,
        a_hundred(http_probe(running.port, scheme=scheme, timeoutSeconds=LONG)) as hundred,
    ):
        worst.wait_until_all_are_stuck()
        hundred.assert_fit()


_BEGUN = h2.headers(h2.many(1000, 85)) + h2.frame(h2.DATA, b"x")
# An answer, and what a hundred may take: with the heads, which are not kept once they are sent, the
# first took 63 MiB.
HTTP2_APPS = {
    "a long head and a body": (
        h2.headers(h2.many(1000, 85)) + h2.frame(h2.DATA, bytes(16384)) * 100,
        58 << 20,
    ),
    "a long head, a byte, half a trailer": (
        _BEGUN + h2.cut(b"\0" + h2.length(NAME) + NAME[:-9])[:-9],
        LIMIT,
    ),
}


@pytest.mark.parametrize("name", HTTP2_APPS)
def test_a_hundred_at_once_over_http2_fit(name: str) -> None:
    answer, limit = HTTP2_APPS[name]
    worst = WorstApp(answer, "h2")
    with (
        app(worst.serve) as running,
        a_hundred(http_probe(running.port, scheme="HTTPS", timeoutSeconds=LONG)) as hundred,
    ):
        worst.wait_until_all_are_stuck()
        hundred.assert_fit(limit)


@pytest.mark.parametrize(("size", "status"), [(8000, 200), (60_000, 502)])
def test_a_hundred_that_are_redirected_fit(size: int, status: int) -> None:
    with (
        app(RedirectingApp(size).serve) as running,
        a_hundred(http_probe(running.port, "/0", timeoutSeconds=LONG)) as hundred,
    ):
        assert {parse(*read_to_end(one)).status for one in hundred.callers} == {status}
        hundred.assert_fit()


THOUSAND = 1000


@contextlib.contextmanager
def a_thousand(probe: dict[str, Any], request: bytes) -> Iterator[Crowd]:
    """A sidecar and callers that keep as little of what they get as the kernel lets them."""
    with memory_cgroup() as cgroup, contextlib.ExitStack() as stack:
        cgroup.limit(LIMIT)
        declared = json.dumps({"app": {"livenessProbe": probe}})
        with open_files(4096):
            sidecar = stack.enter_context(process("--probes", declared, prefix=cgroup.prefix))
            sidecar.wait_for("ready")
            callers = []
            for _ in range(THOUSAND):
                caller = stack.enter_context(socket.socket())
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
                caller.connect((sidecar.address, LIVENESS))
                caller.sendall(request)
                callers.append(caller)
            yield Crowd(sidecar, cgroup, callers)


def test_a_thousand_that_read_nothing_of_a_long_page_fit() -> None:
    """Whoever reaches the port can have an app's page sent, and leave it unread.

    The app sends it to all of them at once: the kernel has its part for each.
    """
    all_there = threading.Barrier(THOUSAND)

    def serve(sock: socket.socket) -> None:
        read_head(sock)
        all_there.wait(4 * TIMEOUT)
        with contextlib.suppress(OSError):
            sock.sendall(OK + b"\r\n" + bytes(200_000))

    request = b"GET /osm-liveness-probe HTTP/1.1\r\nHost: x\r\n\r\n"
    with (
        app(serve) as running,
        a_thousand(http_probe(running.port, timeoutSeconds=LONG), request) as thousand,
    ):
        running.wait_for(lambda app: app.connections == THOUSAND and app.open <= MAX_UNREAD)
        thousand.assert_fit()


def test_a_thousand_that_send_to_an_app_that_reads_nothing_fit() -> None:
    """By TLS, which is passed through, whoever reaches the port can send an app what he likes."""
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(THOUSAND)
        probe = http_probe(deaf.getsockname()[1], scheme="HTTPS", timeoutSeconds=LONG)
        with a_thousand(probe, b"\x16") as thousand:
            sending = set(thousand.callers)
            end = time.monotonic() + 4 * TIMEOUT
            while len(sending) > MAX_UNREAD:
                assert time.monotonic() < end, len(sending)
                for caller in sending.copy():
                    caller.setblocking(False)
                    try:
                        caller.send(bytes(65536))
                    except BlockingIOError:
                        pass
                    except OSError:  # broken off
                        sending.remove(caller)
            thousand.assert_fit()


@pytest.mark.parametrize("name", FIELDS)
def test_a_hundred_long_fields_fit(name: str) -> None:
    with (
        app(LongFieldApp(FIELDS[name]).serve) as running,
        a_hundred(http_probe(running.port, scheme="HTTPS", timeoutSeconds=LONG)) as hundred,
    ):
        assert {parse(*read_to_end(one)).status for one in hundred.callers} == {502}
        hundred.assert_fit()


def test_a_hundred_large_certificates_fit() -> None:
    context = crowded_context(7000)

    def serve(sock: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            context.wrap_socket(sock, server_side=True) as stream,
        ):
            read_head(stream)
            all_there.wait(4 * TIMEOUT)
            stream.sendall(OK + b"Content-Length: 0\r\n\r\n")

    all_there = threading.Barrier(PROBES)
    with (
        app(serve) as running,
        a_hundred(http_probe(running.port, scheme="HTTPS", timeoutSeconds=LONG)) as hundred,
    ):
        assert {parse(*read_to_end(one)).status for one in hundred.callers} == {502}
        hundred.assert_fit()
