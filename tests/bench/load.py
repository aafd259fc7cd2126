"""The load: probes as the kubelet sends them, a connection each, one after the other.

Every probe comes from another address of 127.0.0.0/8, so that neither ports nor TIME_WAIT run out
on the caller's side.
"""

import itertools
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench.errors import BenchError
from tests.bench.process import Process

_HOST = "127.0.0.1"
_PATIENCE_SECONDS = 5
_START_SECONDS = 30
_POLL_SECONDS = 0.0005
_TIMEOUT = struct.pack("ll", _PATIENCE_SECONDS, 0)
# Linux's own number: the socket module knows the name only in newer versions.
_IP_BIND_ADDRESS_NO_PORT = 24
_SOURCES = itertools.cycle([f"127.1.{c}.{d}" for c in range(1, 5) for d in range(1, 251)])


@dataclass(frozen=True)
class Probe:
    """A probe that is sent again and again: where it goes, and what it says each time."""

    port: int
    requests: Iterator[bytes]


def tcp_check(port: int, *, app_port: int) -> Probe:
    """Return the probe that a tcpSocket probe is rewritten to."""
    return _get(port, "/osm-healthcheck", f"Original-Tcp-Port: {app_port}\r\n")


def grpc_check(port: int, *, app_port: int) -> Probe:
    """Return the probe that a grpc probe is rewritten to."""
    return _get(port, "/osm-healthcheck", f"Original-Grpc-Port: {app_port}\r\n")


def healthz(port: int) -> Probe:
    """Return the sidecar's own startup probe."""
    return _get(port, "/healthz", "")


def metrics(port: int) -> Probe:
    """Return what Prometheus asks."""
    return _get(port, "/metrics", "")


def liveness(port: int, container: str = "") -> Probe:
    """Return the probe that an httpGet liveness probe is rewritten to."""
    return _get(port, "/osm-liveness-probe" + (container and f"/{container}"), "")


def never_the_same(probe: Probe) -> Probe:
    """Return a probe that says the same with another head each time, as long as the one before."""
    line, end, fields = next(probe.requests).partition(b"\r\n")
    numbered = (
        b"".join((line, end, b"X-Request-Id: %09d\r\n" % number, fields))
        for number in itertools.count()
    )
    return Probe(probe.port, numbered)


def _get(port: int, path: str, fields: str) -> Probe:
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {_HOST}:{port}\r\nUser-Agent: kube-probe/1.34\r\n"
        f"Accept: */*\r\n{fields}Connection: close\r\n\r\n"
    )
    return Probe(port, itertools.repeat(request.encode()))


def ask(port: int, request: bytes) -> bytes:
    """Send one request and return the whole answer, read to the end of the connection."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as caller:
        # The kernel's timeouts, not Python's: those would cost a poll() before every call.
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEOUT)
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEOUT)
        caller.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        caller.bind((next(_SOURCES), 0))
        caller.connect((_HOST, port))
        caller.sendall(request)
        answer = b""
        while received := caller.recv(65536):
            answer += received
        return answer


def send(server: Process, probe: Probe, count: int) -> list[int]:
    """Send a number of probes, one at a time; return the nanoseconds that each took."""
    latencies = []
    clock = time.perf_counter_ns
    for _ in range(count):
        request = next(probe.requests)
        start = clock()
        try:
            answer = ask(probe.port, request)
        except OSError as error:
            server.require_alive()
            raise BenchError(f"{server.name}: a probe failed: {error}") from error
        latencies.append(clock() - start)
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise BenchError(f"{server.name}: a probe was answered by {answer[:200]!r}")
    return latencies


def at_a_rate(rate: float, seconds: float) -> Iterator[int]:
    """Count, each number at its time: ``rate`` a second, for so long."""
    began = time.perf_counter()
    for number in range(int(seconds * rate)):
        time.sleep(max(0.0, began + number / rate - time.perf_counter()))
        yield number


def until_ready(server: Process, probe: Probe) -> float:
    """Ask until the first 200; return the seconds since the server was started."""
    deadline = time.monotonic() + _START_SECONDS
    answer = b""
    while time.monotonic() < deadline:
        try:
            answer = ask(probe.port, next(probe.requests))
        except OSError:
            answer = b""
        if answer.startswith(b"HTTP/1.1 200 "):
            return (time.perf_counter_ns() - server.started_ns) / 1e9
        server.require_alive()
        time.sleep(_POLL_SECONDS)
    raise BenchError(
        f"{server.name}: no 200 within {_START_SECONDS} s; last answer {answer[:200]!r}\n"
        f"{server.last_words()}"
    )


def until_listening(app: Process, port: int) -> None:
    """Wait until an app accepts connections."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        app.require_alive()
        with socket.socket() as caller:
            if caller.connect_ex((_HOST, port)) == 0:
                return
        time.sleep(_POLL_SECONDS)
    raise BenchError(f"{app.name}: does not listen after {_START_SECONDS} s")
