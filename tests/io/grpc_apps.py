"""gRPC apps: grpcio's own server, and one that says on the wire what it is told to."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass, field

import grpc
import h2.config
import h2.connection
import h2.events
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tests.io.apps import App, app, read_until_gone
from tests.io.wire import TIMEOUT

SERVING = health_pb2.HealthCheckResponse.SERVING
Header = tuple[str, str]
OK_HEADERS: Sequence[Header] = [(":status", "200"), ("content-type", "application/grpc")]
OK_TRAILERS: Sequence[Header] = [("grpc-status", "0")]


@dataclass
class GRPCServer:
    """A running grpcio server."""

    port: int
    health: health.HealthServicer
    metadata: list[dict[str, str]] = field(default_factory=list)
    deadlines: list[float] = field(default_factory=list)
    authorities: list[str] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def grpc_server(
    statuses: dict[str, int] | None = None,
    *,
    port: int = 0,
    code: grpc.StatusCode | None = None,
    hangs: bool = False,
    health_service: bool = True,
) -> Iterator[GRPCServer]:
    """Run grpcio's server with its health service, the server itself ``SERVING``.

    ``code`` is what every check is answered with instead; with ``hangs`` none is answered until
    the test ends.
    """
    servicer = health.HealthServicer()
    for service, status in {"": SERVING, **(statuses or {})}.items():
        servicer.set(service, status)

    class Interceptor(grpc.ServerInterceptor):
        def intercept_service(self, continuation, details):  # type: ignore[no-untyped-def]
            running.metadata.append(dict(details.invocation_metadata))
            return continuation(details)

    class Servicer(health.HealthServicer):
        def Check(self, request, context):  # type: ignore[no-untyped-def] # noqa: N802
            running.deadlines.append(context.time_remaining())
            if hangs:
                running.release.wait(TIMEOUT)
            if code is not None:
                context.abort(code, "as told")
            return servicer.Check(request, context)

    pool = futures.ThreadPoolExecutor(max_workers=2)
    server = grpc.server(pool, interceptors=[Interceptor()])
    if health_service:
        health_pb2_grpc.add_HealthServicer_to_server(Servicer(), server)
    running = GRPCServer(server.add_insecure_port(f"127.0.0.1:{port}"), servicer)
    server.start()
    try:
        yield running
    finally:
        running.release.set()
        server.stop(None).wait(TIMEOUT)
        pool.shutdown()


@dataclass
class Call:
    """One call to a raw server: its headers, and a way to answer."""

    headers: dict[str, str]
    connection: h2.connection.H2Connection
    sock: socket.socket
    stream: int
    message: bytes = b""

    def send(self) -> None:
        self.sock.sendall(self.connection.data_to_send())

    def answer(
        self,
        *pieces: bytes,
        headers: Sequence[Header] = OK_HEADERS,
        trailers: Sequence[Header] | None = OK_TRAILERS,
    ) -> None:
        """Send headers, the pieces each in a frame of its own, and the trailers."""
        self.connection.send_headers(self.stream, headers)
        self.send()
        for piece in pieces:
            self.connection.send_data(self.stream, piece)
            self.send()
        if trailers is not None:
            self.connection.send_headers(self.stream, trailers, end_stream=True)
            self.send()


@contextlib.contextmanager
def raw_grpc(answer: Callable[[Call], None]) -> Iterator[App]:
    """Run a server that speaks HTTP/2 and lets ``answer`` deal with each call."""
    config = h2.config.H2Configuration(
        client_side=False, header_encoding="utf-8", validate_outbound_headers=False
    )

    def serve(sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        sock.sendall(connection.data_to_send())
        call: Call | None = None
        while data := sock.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    headers = {str(n): str(v) for n, v in event.headers or []}
                    call = Call(headers, connection, sock, event.stream_id or 0)
                elif isinstance(event, h2.events.DataReceived) and call is not None:
                    call.message += event.data or b""
                elif isinstance(event, h2.events.StreamEnded) and call is not None:
                    running.requests.append(call.message)
                    answer(call)
            if sock.fileno() < 0:
                return
            if out := connection.data_to_send():
                sock.sendall(out)
        ends.append(read_until_gone(sock))

    ends: list[str] = []
    with app(serve) as running:
        running.ends = ends  # type: ignore[attr-defined]
        yield running


def framed(message: bytes) -> bytes:
    """A message as gRPC frames it: not compressed, with its length."""
    return struct.pack(">BI", 0, len(message)) + message
