"""For each vector about an app: a real server that behaves like that, and the probe for it.

`serve_vector` starts the server and yields a `Scenario`: whoever is asked for a verdict, the
kubelet's prober or a sidecar, has all that is needed in ``kind``, ``probe`` and ``address``.
"""

import contextlib
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.events
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.probes.probe import FieldReader, Probe, read_probe
from tests.io.apps import App, app, hold, read_head, reset, response
from tests.io.wire import TIMEOUT, black_hole, closed_port

ADDRESS = "127.0.0.1"
Server = contextlib.AbstractContextManager["Running"]
_CA = trustme.CA()
_CERTIFICATE = _CA.issue_cert("wrong.example")


@dataclass
class Running:
    """A server that runs: its port, what it was sent, other ports that it answers on.

    ``fill`` are texts for placeholders in a vector's message besides ``<ip>`` and ``<port>``.
    """

    port: int
    requests: list[bytes] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    fill: dict[str, str] = field(default_factory=dict)


@dataclass
class Scenario:
    """A vector with its server running; ``manifest`` is the probe as a manifest has it."""

    vector: Mapping[str, Any]
    manifest: dict[str, Any]
    running: Running
    address: str = ADDRESS
    kind: ProbeKind = ProbeKind.LIVENESS

    @property
    def probe(self) -> Probe:
        """The vector's probe, aimed at the server's port."""
        reader = FieldReader(self.manifest, "probe")
        probe = read_probe(reader, self.kind)
        assert probe is not None
        return probe

    def message(self) -> str | None:
        """The kubelet's message as a regular expression, placeholders filled in."""
        text: str | None = self.vector["expect"].get("output")
        if text is None:
            return None
        fill = {
            "ip": self.address,
            "host": self.address,
            "port": str(self.running.port),
            "url": self.running.facts.get("url", ""),
            **self.running.fill,
        }
        pattern = re.escape(text)
        for name, value in fill.items():
            pattern = pattern.replace(re.escape(f"<{name}>"), re.escape(value))
        loose = {"src": r"[\d.]+:\d+", "dst": re.escape(f"{self.address}:{self.running.port}")}
        loose |= {"resolver": r"\S+", "body of the 302": ".*"}
        for name, anything in loose.items():
            pattern = pattern.replace(re.escape(f"<{name}>"), anything)
        return pattern


@contextlib.contextmanager
def serve_vector(vector: Mapping[str, Any]) -> Iterator[Scenario]:
    """Run the server of ``vector`` as long as the context lasts."""
    manifest = _manifest(vector)
    with _SERVERS[vector["group"]](vector) as running:
        for name in ("httpGet", "tcpSocket", "grpc"):
            if name in manifest and running.port:
                manifest[name]["port"] = running.port
        action = manifest.get("httpGet", {})
        scheme = action.get("scheme", "HTTP").lower()
        path = action.get("path", "/")
        running.facts["url"] = f"{scheme}://{ADDRESS}:{running.port}{path}"
        yield Scenario(vector, manifest, running)


def _manifest(vector: Mapping[str, Any]) -> dict[str, Any]:
    given = vector.get("probe")
    if given is None:  # groups that vary one field of an httpGet
        fields = {k: v for k, v in vector["given"].items() if k in ("path", "httpHeaders")}
        given = {"httpGet": {"path": "/", "port": 8080, **fields}}
    copied = {k: dict(v) if isinstance(v, Mapping) else v for k, v in given.items()}
    copied.setdefault("timeoutSeconds", 1)
    return copied


@contextlib.contextmanager
def _running(serve: Callable[[socket.socket], None], requests: list[bytes]) -> Iterator[Running]:
    with app(serve) as listener:
        yield Running(listener.port, requests)


def _answering(answer: bytes, then: str = "close") -> Server:
    """Read a request's head, answer, and close or hang or reset."""
    requests: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        requests.append(read_head(sock))
        sock.sendall(answer)
        if then == "hang":
            hold(sock)
        elif then == "reset":
            reset(sock)

    return _running(serve, requests)


def _plain(vector: Mapping[str, Any]) -> Server:
    return _answering(response())


def _http(vector: Mapping[str, Any]) -> Server:
    server = vector["server"]
    match server:
        case {"behaviour": "handler panics on an invalid status code; connection dropped"}:
            return _answering(b"")
        case {"behaviour": "RST after request"}:
            return _answering(b"", "reset")
        case {"raw": raw}:
            return _answering(raw.encode("latin-1"), server["then"])
        case {"env": environ}:
            return _with_proxy(environ)
        case {"bodyBytes": count}:
            return _answering(response(str(server["status"]), b"x" * count))
        case {"bodyBytesSent": count, "headers": headers}:
            lines = [f"{name}: {value}" for name, value in headers.items()]
            head = "\r\n".join([f"HTTP/1.1 {server['status']} X", *lines, "", ""])
            return _answering(head.encode() + b"x" * count, server["then"])
        case {"status": status, "body": body}:
            if status in (204, 304):  # such an answer has no body, whatever a handler writes
                return _answering(f"HTTP/1.1 {status} X\r\n\r\n".encode())
            return _answering(response(f"{status} X", body.encode()))
    raise AssertionError(server)


@contextlib.contextmanager
def _with_proxy(environ: Mapping[str, str]) -> Iterator[Running]:
    with app(hold) as proxy, _answering(response()) as running:
        before = {name: os.environ.get(name) for name in environ}
        os.environ.update(dict.fromkeys(environ, f"http://{ADDRESS}:{proxy.port}/"))
        try:
            running.facts["proxy"] = proxy
            yield running
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _tls_context(*protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _CERTIFICATE.configure_cert(context)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def _tls(vector: Mapping[str, Any]) -> Server:
    server = vector["server"]
    requests: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        context = _tls_context("http/1.1")
        if server["tls"] == "requires client certificate":
            context.verify_mode = ssl.CERT_REQUIRED
            _CA.configure_trust(context)
        with context.wrap_socket(sock, server_side=True) as secure:
            requests.append(read_head(secure))
            secure.sendall(response())

    match server:
        case {"inspect": "ClientHello"}:
            return _running(lambda sock: _keep_hello(sock, requests), requests)
        case {"tls": False}:
            return _running(lambda sock: _speak_http(sock, requests), requests)
        case {"tls": "accepts TCP, never answers the hello"}:
            return _running(hold, requests)
        case {"tls": "self-signed, ALPN h2"}:
            return _running(lambda sock: _speak_h2(sock, requests), requests)
        case {"tls": "self-signed, wrong name, HTTP/1.1 only" | "requires client certificate"}:
            return _running(serve, requests)
    raise AssertionError(server)


def _keep_hello(sock: socket.socket, requests: list[bytes]) -> None:
    hello = b""
    while len(hello) < 5 or len(hello) < 5 + int.from_bytes(hello[3:5]):
        hello += sock.recv(65536)
    requests.append(hello)


def _speak_http(sock: socket.socket, requests: list[bytes]) -> None:
    requests.append(sock.recv(65536))
    sock.sendall(response("400 Bad Request", b"Client sent an HTTP request to an HTTPS server."))
    hold(sock)


def _speak_h2(sock: socket.socket, requests: list[bytes]) -> None:
    with _tls_context("h2", "http/1.1").wrap_socket(sock, server_side=True) as secure:
        headers = _read_h2_request(secure, [(":status", "200")])
        requests.append(b"\n".join(name + b": " + value for name, value in headers))


def _read_h2_request(
    sock: socket.socket, answer: list[tuple[str, str]]
) -> list[tuple[bytes, bytes]]:
    """Serve one HTTP/2 request with an answer without a body; its headers."""
    config = h2.config.H2Configuration(client_side=False, header_encoding=None)
    connection = h2.connection.H2Connection(config)
    connection.initiate_connection()
    sock.sendall(connection.data_to_send())
    headers: list[tuple[bytes, bytes]] = []
    while data := sock.recv(65536):
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                headers = [(bytes(name), bytes(value)) for name, value in event.headers or []]
                connection.send_headers(event.stream_id or 0, answer, end_stream=True)
        sock.sendall(connection.data_to_send())
    return headers


@contextlib.contextmanager
def _redirect(vector: Mapping[str, Any]) -> Iterator[Running]:
    server = vector["server"]
    location, _, remark = server["location"].partition(" ")
    if "<" in location:
        location, remark = server["location"], ""
    answers = int(match[1]) if (match := re.search(r"answers (\d+)", remark)) else 200
    wanted_host = match[1] if (match := re.search(r"only for Host (\S+?)\)", remark)) else ""
    requests: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        request = read_head(sock)
        requests.append(request)
        path = request.split(b" ")[1].decode()
        host = re.search(rb"\r\nHost: ([^\r]*)", request)
        if path == "/redirect" or (path == "/loop" and "itself" in remark):
            target = location if path == "/redirect" else path
            sock.sendall(response(f"{server['status']} X", b"moved", f"Location: {target}"))
        elif path == "/fail":
            sock.sendall(response("500 X"))
        elif wanted_host and (host is None or host[1].decode() != wanted_host):
            sock.sendall(response("400 X"))
        else:
            sock.sendall(response(f"{answers} X"))

    with app(serve) as here, app(serve) as other, closed_port() as closed:
        fill = {"same ip": ADDRESS, "other port": str(other.port), "closed port": str(closed)}
        for name, value in fill.items():
            location = location.replace(f"<{name}>", value)
        running = Running(here.port, requests, {"other": other}, dict(fill))
        if "closed port" in server["location"]:
            running.fill["port"] = str(closed)
        yield running


@contextlib.contextmanager
def _tcp(vector: Mapping[str, Any]) -> Iterator[Running]:
    match vector["server"]["behaviour"]:
        case "port closed":
            with closed_port() as port:
                yield Running(port)
        case "SYN dropped":
            with black_hole() as port:
                yield Running(port)
        case "NXDOMAIN":
            with _no_such_host(vector["probe"]["tcpSocket"]["host"]):
                yield Running(0)
        case behaviour:
            raise AssertionError(behaviour)


@contextlib.contextmanager
def _no_such_host(name: str) -> Iterator[None]:
    """A resolver that answers NXDOMAIN: a stand-in, as tests do not ask the machine's own."""

    def refuse(host: str, *_: object, **__: object) -> None:
        assert host == name
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    before = socket.getaddrinfo
    socket.getaddrinfo = refuse  # type: ignore[assignment]
    try:
        yield
    finally:
        socket.getaddrinfo = before


@contextlib.contextmanager
def _grpc(vector: Mapping[str, Any]) -> Iterator[Running]:
    match vector["server"]:
        case {"behaviour": "empty host, nothing listening"}:
            with closed_port() as port:
                yield Running(port)
        case {"inspect": "request metadata"}:
            requests: list[bytes] = []

            def serve(sock: socket.socket) -> None:
                trailers = [(":status", "200"), ("grpc-status", "12")]
                headers = _read_h2_request(sock, trailers)
                requests.append(b"\n".join(name + b": " + value for name, value in headers))

            with _running(serve, requests) as running:
                yield running
        case {"health": status}:
            with grpc_server(lambda _request, _context: _health(status)) as port:
                yield Running(port)
        case {"behaviour": "Check sleeps 4 s"}:
            over = threading.Event()

            def sleep(_request: object, _context: object) -> Any:
                over.wait(TIMEOUT)
                return _health("SERVING")

            with grpc_server(sleep) as port:
                try:
                    yield Running(port)
                finally:
                    over.set()
        case {"behaviour": "grpc-go health server without that service"}:
            with grpc_server(_aborting(grpc.StatusCode.NOT_FOUND, "unknown service")) as port:
                yield Running(port)
        case {"behaviour": "gRPC server without health service"}:
            # grpc-go's words for it; grpcio says "Method not found!"
            words = "unknown service grpc.health.v1.Health"
            with grpc_server(_aborting(grpc.StatusCode.UNIMPLEMENTED, words)) as port:
                yield Running(port)
        case server:
            raise AssertionError(server)


def _health(status: str) -> Any:
    return health_pb2.HealthCheckResponse(status=status)


def _aborting(code: grpc.StatusCode, words: str) -> Callable[[Any, Any], Any]:
    def check(_request: object, context: Any) -> Any:
        context.abort(code, words)

    return check


@contextlib.contextmanager
def grpc_server(check: Callable[[Any, Any], Any]) -> Iterator[int]:
    """A real gRPC server whose health service answers by ``check(request, context)``."""

    class Servicer(health_pb2_grpc.HealthServicer):
        def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
            return check(request, context)

    server = grpc.server(ThreadPoolExecutor(2))
    health_pb2_grpc.add_HealthServicer_to_server(Servicer(), server)
    port = server.add_insecure_port(f"{ADDRESS}:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait(TIMEOUT)


def app_of(running: Running) -> App:
    """The second app of a redirect's scenario."""
    other = running.facts["other"]
    assert isinstance(other, App)
    return other


_SERVERS: Mapping[str, Callable[[Mapping[str, Any]], Server]] = {
    "request_target": _plain,
    "headers": _plain,
    "http": _http,
    "tls": _tls,
    "redirect": _redirect,
    "tcp": _tcp,
    "grpc": _grpc,
}
