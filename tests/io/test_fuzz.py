"""Random bytes at all four ports: whatever they are, the next probe is answered."""

import contextlib
import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.io.apps import app
from tests.io.attacked_pod import AttackedPod, pod
from tests.io.sidecar import HEALTHCHECK, LIVENESS, READINESS, STARTUP, http_probe
from tests.io.wire import connect

PORTS = (HEALTHCHECK, LIVENESS, READINESS, STARTUP)
SMUGGLED = b"smuggled"

methods = st.sampled_from([b"GET", b"HEAD", b"POST", b"CONNECT", b"OPTIONS", b"PRI", b"get", b""])
targets = st.sampled_from(
    [
        b"/osm-healthcheck",
        b"/osm-liveness-probe/web",
        b"/osm-readiness-probe/web",
        b"/osm-startup-probe/tls",
        b"/osm-startup-probe",
        b"/healthz",
        b"/metrics",
        b"*",
        b"http://127.0.0.1:1/osm-liveness-probe/web",
        b"//x",
        b"/" + b"a" * 9000,
    ]
)
versions = st.sampled_from(
    [b" HTTP/1.1", b" HTTP/1.0", b" HTTP/0.9", b" HTTP/2.0", b" HTTP/1", b""]
)
names = st.sampled_from(
    [
        b"Host",
        b"Original-Tcp-Port",
        b"Original-Grpc-Port",
        b"Original-Grpc-Service",
        b"Content-Length",
        b"Transfer-Encoding",
        b"Content-Encoding",
        b"Connection",
        b"Upgrade",
        b"Expect",
        b"User-Agent",
        b"Sec-WebSocket-Key1",
        b"X",
        b" X",
        b"",
    ]
)
values = st.sampled_from(
    [
        *(b"", b"x", b"1", b"15904", b"0", b"5", b"-1", b"a\0b", b"a\rb", b"\xff\xfe", b"{port}"),
        *(b"chunked", b"gzip", b"br", b"close", b"upgrade", b"websocket", b"h2c", b"100-continue"),
    ]
) | st.binary(max_size=20)
line_ends = st.sampled_from([b"\r\n"] * 6 + [b"\n", b"\r", b"\r\n "])
bodies = st.sampled_from(
    [
        b"",
        b"hello",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"GET " + SMUGGLED + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
) | st.binary(max_size=50)
records = st.builds(
    lambda kind, version, size, rest: bytes([kind]) + version + size + rest,
    st.sampled_from([0x16, 0x16, 0x14, 0x15, 0x17, 0x80]),
    st.sampled_from([b"\x03\x01", b"\x03\x03", b"\x02\0", b"\xff\xff"]),
    st.binary(min_size=2, max_size=2),
    st.binary(max_size=200),
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Something like a request, right or wrong in any part."""
    end = draw(line_ends)
    data = draw(methods) + b" " + draw(targets) + draw(versions) + end
    for name, value in draw(st.lists(st.tuples(names, values), max_size=6)):
        data += name + b": " + value + draw(line_ends)
    return data + draw(line_ends) + draw(bodies)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A request that was right until some bytes of it were changed."""
    data = bytearray(b"GET /osm-liveness-probe/web HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n")
    for place, byte in draw(
        st.lists(st.tuples(st.integers(0, 99), st.integers(0, 255)), max_size=4)
    ):
        data[place % len(data)] = byte
    return bytes(data)


attacks = st.binary(max_size=300) | requests() | mutated() | records
endings = st.sampled_from(["close", "half", "reset", "read"])


@pytest.fixture(scope="module")
def attacked() -> Iterator[AttackedPod]:
    # its TLS target throws bytes back, so that both directions are in the game
    def echo(sock: socket.socket) -> None:
        while data := sock.recv(4096):
            sock.sendall(data)

    with app(echo) as back:
        probes = {"echo": {"readinessProbe": http_probe(back.port, scheme="HTTPS")}}
        with pod(probes) as running:
            yield running
            running.assert_undamaged()


@settings(
    max_examples=400,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    payloads=st.lists(
        st.tuples(st.sampled_from(PORTS), st.lists(attacks, min_size=1, max_size=3), endings),
        min_size=1,
        max_size=4,
    )
)
def test_random_bytes_stop_no_probe(
    attacked: AttackedPod, payloads: list[tuple[int, list[bytes], str]]
) -> None:
    with contextlib.ExitStack() as stack:
        for port, pieces, ending in payloads:
            sock = stack.enter_context(connect(attacked.address, port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            send(sock, pieces, ending, b"%d" % attacked.undeclared.port)
        attacked.probe_all()
    assert attacked.undeclared.connections == 0
    assert not any(SMUGGLED in request for request in attacked.web.requests)


def send(sock: socket.socket, pieces: list[bytes], ending: str, port: bytes) -> None:
    with contextlib.suppress(OSError):
        for piece in pieces:
            sock.sendall(piece.replace(b"{port}", port))
        if ending == "half":
            sock.shutdown(socket.SHUT_WR)
        elif ending == "read":
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.recv(4096)
        elif ending == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
