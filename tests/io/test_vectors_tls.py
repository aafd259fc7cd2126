"""The kubelet's vectors for HTTPS probes, both ways: passed through, and made by the sidecar."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from osm_healthcheck.wire.errors import PlainHTTPError
from osm_healthcheck.wire.lingering import LingeringSockets
from osm_healthcheck.wire.stream import Stream
from osm_healthcheck.wire.tls import TLSStream
from tests.io import vectors
from tests.io.apps import app, hold, read_until_gone
from tests.io.h2_app import h2_app
from tests.io.kubelet import PATIENCE, ask, client_context, verdict
from tests.io.sidecar import LIVENESS, Sidecar, http_probe, sidecar
from tests.io.tls import server_context
from tests.io.vector_servers import answering, status
from tests.io.wire import Answer, connect

VECTORS = vectors.kubelet("tls")
WAYS = pytest.mark.parametrize("way", ["passed through", "made by the sidecar"])


@contextmanager
def secure(port: int, seconds: int = PATIENCE) -> Iterator[Sidecar]:
    probe = http_probe(port, scheme="HTTPS", timeoutSeconds=seconds)
    with sidecar({"app": {"livenessProbe": probe}}) as running:
        yield running


def probe(running: Sidecar, way: str) -> Answer | None:
    if way == "passed through":
        return ask(running.address, LIVENESS, "/", tls=client_context())
    return ask(running.address, LIVENESS, "/osm-liveness-probe/app")


def expected(name: str) -> dict[str, Any]:
    found: dict[str, Any] = VECTORS[name]["expect"]
    return found


@WAYS
def test_a_certificate_is_not_looked_at(way: str) -> None:
    with answering(status(200, b"fine"), server_context("http/1.1")) as target:
        with secure(target.port) as running:
            answer = probe(running, way)
        target.wait_for(lambda target: target.open == 0)
    assert verdict(answer) == expected("tls-01")["result"]
    assert answer is not None
    assert answer.body == b"fine"
    host = f"127.0.0.1:{target.port}"
    if way == "passed through":  # DESIGN.md section 6: the app sees the caller's own Host
        host = f"{running.address}:{LIVENESS}"
    assert f"Host: {host}".encode() in target.requests[0].split(b"\r\n")
    assert target.ends == ["fin"]


def test_h2_is_spoken_where_the_app_prefers_it() -> None:
    with h2_app("h2", "http/1.1") as target, secure(target.port) as running:
        answer = probe(running, "made by the sidecar")
    expect = expected("tls-02")
    assert verdict(answer) == expect["result"]
    assert answer is not None
    assert (answer.body, answer.header("x-app")) == (b"over h2", "yes")
    (scope,) = target.scopes
    assert {"h2": "2"}[expect["negotiated"]] == scope["http_version"]
    headers = dict(scope["headers"])
    assert headers[b"user-agent"] == b"kube-probe/1.34"
    assert b"connection" not in headers
    assert (scope["path"], scope["scheme"]) == ("/", "https")


def test_h2_goes_through_untouched() -> None:
    context = client_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        h2_app("h2") as target,
        secure(target.port) as running,
        connect(running.address, LIVENESS) as plain,
        context.wrap_socket(plain) as sock,
    ):
        assert sock.selected_alpn_protocol() == expected("tls-02")["negotiated"]


@WAYS
def test_an_app_without_tls_fails(way: str) -> None:
    ends: list[str] = []

    def serve(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        ends.append(read_until_gone(sock))

    with app(serve) as target, secure(target.port) as running:
        answer = probe(running, way)
        target.wait_for(lambda target: target.open == 0)
    expect = expected("tls-03")
    assert verdict(answer) == expect["result"]
    if answer is not None:
        assert answer.status == 502
        assert expect["output"].partition(": ")[2] in answer.body.decode()
    assert ends == ["fin"]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 100])
def test_an_app_without_tls_fails_likewise_in_pieces(size: int) -> None:
    """``RecordHeaderError`` of crypto/tls: five bytes tell HTTP from TLS."""

    async def shake_hands() -> None:
        ours, app = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, app:
            ours.setblocking(False)
            text = b"HTTP/1.1 400 Bad Request\r\n\r\n"
            for at in range(0, len(text), size):
                app.send(text[at : at + size])
            loop = asyncio.get_running_loop()
            stream = Stream(ours, loop, ("127.0.0.1", 1), LingeringSockets())
            await TLSStream(stream, "127.0.0.1").handshake()

    with pytest.raises(PlainHTTPError):
        asyncio.run(shake_hands())


@WAYS
def test_an_app_that_wants_a_client_certificate_fails(way: str) -> None:
    context = server_context(client_certificate=True)
    with answering(status(200), context) as target, secure(target.port) as running:
        answer = probe(running, way)
    assert verdict(answer) == expected("tls-05")["result"]
    assert target.requests == []
    if answer is not None:
        assert answer.status == 502
        assert b"certificate required" in answer.body


@WAYS
def test_an_app_that_never_answers_the_hello_times_out(way: str) -> None:
    seconds = VECTORS["tls-06"]["probe"]["timeoutSeconds"]
    with app(hold) as target, secure(target.port, seconds) as running:
        answer = probe(running, way)
        target.wait_for(lambda target: target.open == 0)
    assert verdict(answer) == expected("tls-06")["result"]
    assert answer is None or answer.status == 504
    assert target.errors == []


def test_the_hello_is_the_kubelets() -> None:
    hellos: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        hellos.append(sock.recv(65536))

    with app(serve) as target, secure(target.port) as running:
        probe(running, "made by the sidecar")
    expect = expected("tls-08")["clientHello"]
    extensions = read_extensions(hellos[0])
    assert expect["sni"].startswith("absent for an IP host")
    assert SERVER_NAME not in extensions
    assert read_alpn(extensions[ALPN]) == expect["alpn"]
    versions = {"1.2": b"\x03\x03", "1.3": b"\x03\x04"}
    offered = extensions[SUPPORTED_VERSIONS][1:]
    assert [offered[i : i + 2] for i in range(0, len(offered), 2)] == [
        versions[expect["maxVersion"]],
        versions[expect["minVersion"]],
    ]


def test_the_callers_hello_goes_through_untouched() -> None:
    heard: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        heard.append(sock.recv(65536))

    hello = b"\x16\x03\x01\x00\x05hello"
    with (
        app(serve) as target,
        secure(target.port) as running,
        connect(running.address, LIVENESS) as sock,
    ):
        sock.sendall(hello)
        assert sock.recv(1) == b""
    assert heard == [hello]


def test_every_vector_is_covered() -> None:
    tests = {
        "tls-01": test_a_certificate_is_not_looked_at,
        "tls-02": test_h2_is_spoken_where_the_app_prefers_it,
        "tls-03": test_an_app_without_tls_fails,
        "tls-05": test_an_app_that_wants_a_client_certificate_fails,
        "tls-06": test_an_app_that_never_answers_the_hello_times_out,
        "tls-08": test_the_hello_is_the_kubelets,
    }
    assert set(tests) == set(VECTORS)


SERVER_NAME, ALPN, SUPPORTED_VERSIONS = 0, 16, 43  # RFC 6066, RFC 7301, RFC 8446


def read_extensions(record: bytes) -> dict[int, bytes]:
    """The extensions of a ClientHello (RFC 8446 section 4.1.2) in its first record."""
    at = 5 + 4 + 2 + 32  # record, handshake, version, random
    at += 1 + record[at]  # session
    at += 2 + int.from_bytes(record[at : at + 2], "big")  # cipher suites
    at += 1 + record[at]  # compression
    end = at + 2 + int.from_bytes(record[at : at + 2], "big")
    at += 2
    found = {}
    while at < end:
        kind, length = (int.from_bytes(record[at + i : at + i + 2], "big") for i in (0, 2))
        found[kind] = record[at + 4 : at + 4 + length]
        at += 4 + length
    return found


def read_alpn(extension: bytes) -> list[str]:
    names, at = [], 2
    while at < len(extension):
        length = extension[at]
        names.append(extension[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return names


def test_read_extensions_reads_what_openssl_writes() -> None:
    """The reader itself, on a hello with a known server name."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = client_context()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="name.example")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    assert read_extensions(outgoing.read())[SERVER_NAME].endswith(b"name.example")
