"""15904: every outcome of a gRPC check, against grpcio and against raw peers."""

import asyncio
import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import h2.errors
import pytest
from grpc_health.v1 import health_pb2

from osm_healthcheck.wire.dial import Network, dial
from osm_healthcheck.wire.grpc_health import encode_timeout
from tests.io import vectors
from tests.io.apps import app, hold, http_app, read_until_gone, reset, response
from tests.io.grpc_apps import OK_HEADERS, OK_TRAILERS, Call, framed, grpc_server, raw_grpc
from tests.io.kubelet import verdict
from tests.io.sidecar import HEALTHCHECK, Sidecar, sidecar
from tests.io.tls import server_context
from tests.io.vector_servers import answering
from tests.io.wire import closed_port, connect

VECTORS = vectors.kubelet("grpc")
SERVING = b"\x08\x01"


def declared(port: int, service: str = "", **more: Any) -> dict[str, Any]:
    action = {"port": port, "service": service}
    return {"app": {"livenessProbe": {"grpc": action, **more}}}


@pytest.fixture(scope="module")
def undeclared() -> Iterator[Sidecar]:
    """A sidecar that checks any port, with a deadline that no test meets."""
    with sidecar() as running:
        yield running


# -- grpcio's own server


def test_serving_is_200(undeclared: Sidecar) -> None:
    with grpc_server({"my.Service": health_pb2.HealthCheckResponse.SERVING}) as server:
        whole, one = undeclared.grpc(server.port), undeclared.grpc(server.port, "my.Service")
    assert (whole.status, one.status) == (200, 200)
    assert one.body == f"grpc://:{server.port}/my.Service: SERVING\n".encode()


@pytest.mark.parametrize("status", ["NOT_SERVING", "UNKNOWN", "SERVICE_UNKNOWN"])
def test_any_other_status_is_503(undeclared: Sidecar, status: str) -> None:
    value = health_pb2.HealthCheckResponse.ServingStatus.Value(status)
    with grpc_server({"my.Service": value}) as server:
        answer = undeclared.grpc(server.port, "my.Service")
    assert answer.status == 503
    expected = VECTORS["grpc-03"]["expect"]
    assert verdict(answer) == expected["result"]
    assert expected["output"].replace("NOT_SERVING", status) in answer.body.decode()


def test_a_service_that_changes_its_mind(undeclared: Sidecar) -> None:
    with grpc_server() as server:
        assert undeclared.grpc(server.port).status == 200
        server.health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        assert undeclared.grpc(server.port).status == 503
        server.health.set("", health_pb2.HealthCheckResponse.SERVING)
        assert undeclared.grpc(server.port).status == 200


def test_an_unknown_service_is_503(undeclared: Sidecar) -> None:
    vector = VECTORS["grpc-08"]
    with grpc_server() as server:
        answer = undeclared.grpc(server.port, vector["probe"]["grpc"]["service"])
    assert answer.status == 503
    assert verdict(answer) == vector["expect"]["result"]
    # the text after desc is the server's own, and grpcio has none
    assert vector["expect"]["output"].partition(" desc")[0] in answer.body.decode()


def test_no_health_service_is_503(undeclared: Sidecar) -> None:
    vector = VECTORS["grpc-09"]
    with grpc_server(health_service=False) as server:
        answer = undeclared.grpc(server.port)
    assert answer.status == 503
    assert verdict(answer) == vector["expect"]["result"]
    assert vector["expect"]["output"].rpartition(": ")[0] in answer.body.decode()


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.value[0]])
def test_any_other_code_is_503(undeclared: Sidecar, code: grpc.StatusCode) -> None:
    with grpc_server(code=code) as server:
        answer = undeclared.grpc(server.port)
    assert answer.status == 503
    if code is not grpc.StatusCode.UNIMPLEMENTED:
        name = "".join(part.capitalize() for part in code.name.split("_"))
        name = name.replace("Cancelled", "Canceled")
        assert f"rpc error: code = {name} desc = as told" in answer.body.decode()


def test_a_check_that_hangs_is_504() -> None:
    vector = VECTORS["grpc-04"]
    with grpc_server(hangs=True) as server:
        timeout = vector["probe"]["timeoutSeconds"]
        with sidecar(declared(server.port, timeoutSeconds=timeout)) as running:
            answer = running.grpc(server.port)
    assert answer.status == 504
    assert verdict(answer) == vector["expect"]["result"]
    (deadline,) = server.deadlines
    assert 0 < deadline <= timeout


def test_what_the_server_sees(undeclared: Sidecar) -> None:
    expected = VECTORS["grpc-13"]["expect"]["metadata"]
    with grpc_server() as server:
        assert undeclared.grpc(server.port).status == 200
    (metadata,) = server.metadata
    pattern = re.escape(expected["user-agent"])
    pattern = pattern.replace("<major>\\.<minor>", r"1\.34").replace("<version>", r"\d+\.\d+\.\d+")
    assert re.fullmatch(pattern, metadata["user-agent"])
    # grpcio keeps the rest for itself; a raw server shows it
    calls: list[Call] = []

    def answer(call: Call) -> None:
        calls.append(call)
        call.answer(framed(SERVING))

    with raw_grpc(answer) as raw:
        assert undeclared.grpc(raw.port, "s").status == 200
    headers = calls[0].headers
    assert headers.pop("grpc-timeout").endswith("u")
    assert re.fullmatch(pattern, headers.pop("user-agent"))
    assert headers == {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/grpc.health.v1.Health/Check",
        ":authority": expected[":authority"].replace("<ip>:<port>", f"127.0.0.1:{raw.port}"),
        "content-type": expected["content-type"],
        "te": "trailers",
    }
    assert raw.requests == [framed(b"\x0a\x01s")]


# grpcutil.EncodeDuration of grpc-go 1.79.3; the last is the largest that Kubernetes takes
@pytest.mark.parametrize(
    ("seconds", "header"),
    [
        (0.05, b"50000000n"),
        (1, b"1000000u"),
        (99.999999, b"99999999u"),
        (100, b"100000m"),
        (99_999.9999, b"100000S"),
        (100_000, b"100000S"),
        (2**31 - 1, b"35791395M"),
    ],
)
def test_a_timeout_has_eight_digits_at_most(seconds: float, header: bytes) -> None:
    assert encode_timeout(seconds) == header


# -- dialling


def test_a_refused_dial_is_404_at_the_deadline() -> None:
    vector = VECTORS["grpc-01"]
    with closed_port() as port:
        timeout = vector["probe"]["timeoutSeconds"]
        with sidecar(declared(port, timeoutSeconds=timeout)) as running:
            answer = running.grpc(port)
    assert answer.status == 404
    assert verdict(answer) == vector["expect"]["result"]
    assert b"connection refused" in answer.body


def test_an_app_that_comes_up_within_the_deadline_is_200() -> None:
    """grpc-go dials again after a second, so a restart is not a failure."""
    answers: list[int] = []
    turned_away = threading.Event()

    def turn_away(sock: socket.socket) -> None:
        reset(sock)
        turned_away.set()

    with app(turn_away) as early, sidecar(declared(early.port, timeoutSeconds=20)) as running:
        caller = threading.Thread(
            target=lambda: answers.append(running.grpc(early.port).status), daemon=True
        )
        caller.start()
        assert turned_away.wait(20)
        early.close()
        with grpc_server(port=early.port):
            caller.join(20)
    assert answers == [200]


def test_a_caller_that_leaves_ends_its_check(undeclared: Sidecar) -> None:
    with app(hold) as target:
        with connect(undeclared.address, HEALTHCHECK) as sock:
            head = f"GET /osm-healthcheck HTTP/1.1\r\nHost: x\r\nOriginal-Grpc-Port: {target.port}"
            sock.sendall(f"{head}\r\n\r\n".encode())
            target.wait_for(lambda target: target.open == 1)
        target.wait_for(lambda target: target.open == 0)
    assert target.errors == []


def test_two_writes_in_a_row_do_not_wait_for_an_acknowledgement() -> None:
    """The settings and the call are two: 40 ms of every check's deadline would go by between."""

    async def option(port: int) -> int:
        stream, _ = await dial(("127.0.0.1",), port, Network())
        try:
            return stream.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        finally:
            stream.close()

    with app(hold) as target:
        assert asyncio.run(option(target.port))


# -- peers that are no gRPC server


def _garbage(sock: socket.socket) -> None:
    sock.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")
    read_until_gone(sock)


def test_what_is_no_grpc_server_is_503() -> None:
    """Each is dialled again until the deadline, as grpc-go does; so they are asked together."""
    with contextlib.ExitStack() as stack:
        peers = [
            stack.enter_context(http_app(response("400 Bad Request"))),
            stack.enter_context(answering(b"", server_context("h2"))),
            stack.enter_context(app(_garbage)),
            stack.enter_context(app(lambda sock: None)),
        ]
        probes = {f"app{peer.port}": declared(peer.port)["app"] for peer in peers}
        running = stack.enter_context(sidecar(probes))
        pool = stack.enter_context(ThreadPoolExecutor(len(peers)))
        answers = list(pool.map(lambda peer: running.grpc(peer.port), peers))
    for answer in answers:
        assert answer.status == 503
        assert b"not a gRPC server" in answer.body


def test_a_peer_that_says_nothing_is_504() -> None:
    with app(hold) as target, sidecar(declared(target.port)) as running:
        answer = running.grpc(target.port)
    assert answer.status == 504


# -- answers on the wire


def _in_bytes(call: Call) -> None:
    call.answer(*(bytes([byte]) for byte in framed(SERVING)))


def _unknown_fields(call: Call) -> None:
    fields = b"\x12\x03abc" + b"\x18\x96\x01" + b"\x21" + b"8" * 8 + b"\x2d" + b"4444"
    call.answer(framed(fields + SERVING + b"\xfa\x01\x00"))


def _last_value_counts(call: Call) -> None:
    call.answer(framed(b"\x08\x02" + SERVING))


def _long_varint(call: Call) -> None:
    call.answer(framed(b"\x08\x81\x80\x00"))


def _big_unknown_field(call: Call) -> None:
    """More than a window holds: it has to be opened again as the answer is read."""
    size = 1 << 20
    field = b"\x12" + b"\x80\x80\x40" + b"x" * size
    data = framed(field + SERVING)
    call.connection.send_headers(call.stream, OK_HEADERS)
    while data:
        room = min(
            call.connection.local_flow_control_window(call.stream),
            call.connection.max_outbound_frame_size,
        )
        if room:
            call.connection.send_data(call.stream, data[:room])
            data = data[room:]
            call.send()
        else:
            call.connection.receive_data(call.sock.recv(65536))
    call.connection.send_headers(call.stream, OK_TRAILERS, end_stream=True)
    call.send()


@pytest.mark.parametrize(
    "answer", [_in_bytes, _unknown_fields, _last_value_counts, _long_varint, _big_unknown_field]
)
def test_serving_however_it_is_said(undeclared: Sidecar, answer: Callable[[Call], None]) -> None:
    with raw_grpc(answer) as target:
        result = undeclared.grpc(target.port)
        target.wait_for(lambda target: target.open == 0)
    assert result.status == 200
    assert target.errors == []


def _says(*pieces: bytes, **more: Any) -> Callable[[Call], None]:
    return lambda call: call.answer(*pieces, **more)


def _trailers_only(code: str, message: str) -> Callable[[Call], None]:
    def answer(call: Call) -> None:
        headers = [*OK_HEADERS, ("grpc-status", code), ("grpc-message", message)]
        call.connection.send_headers(call.stream, headers, end_stream=True)
        call.send()

    return answer


def _resets(call: Call) -> None:
    call.connection.reset_stream(call.stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
    call.send()


def _goes_away(call: Call) -> None:
    call.connection.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
    call.send()
    call.sock.shutdown(socket.SHUT_WR)


def _breaks_off(call: Call) -> None:
    call.answer(framed(SERVING)[:3], trailers=None)
    call.sock.shutdown(socket.SHUT_WR)


def _answers_http(status: str) -> Callable[[Call], None]:
    def answer(call: Call) -> None:
        headers = [(":status", status), ("content-type", "text/html")]
        call.connection.send_headers(call.stream, headers, end_stream=True)
        call.send()

    return answer


UNHEALTHY: dict[str, tuple[Callable[[Call], None], str]] = {
    "status 2": (_says(framed(b"\x08\x02")), '"NOT_SERVING"'),
    "an empty message": (_says(framed(b"")), '"UNKNOWN"'),
    "a status that nobody knows": (_says(framed(b"\x08\x07")), '"7"'),
    "serving, and then an error": (
        _says(framed(SERVING), trailers=[("grpc-status", "13"), ("grpc-message", "late")]),
        "code = Internal desc = late",
    ),
    "an error in the headers": (
        _trailers_only("7", "not%20you"),
        "code = PermissionDenied desc = not you",
    ),
    "unimplemented in the headers": (
        _trailers_only("12", "unknown"),
        "does not implement the grpc health protocol (grpc.health.v1.Health): unknown",
    ),
    "a code that nobody knows": (_trailers_only("99", "x"), "code = Code(99)"),
    "a code that is no number": (_trailers_only("x", "x"), "code = Unknown"),
    "no message": (_says(), "code = Internal desc = cardinality violation"),
    "half a message": (_says(framed(SERVING)[:6]), "code = Internal"),
    "two messages": (_says(framed(SERVING) * 2), "code = Internal"),
    "a compressed message": (_says(b"\x01" + framed(SERVING)[1:]), "code = Internal"),
    "a broken field": (_says(framed(b"\x08\x81")), "code = Internal"),
    "a length past the end": (_says(framed(b"\x12\x7f")), "code = Internal"),
    # https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
    **{
        f"HTTP {status}": (_answers_http(status), f"code = {code}")
        for code, statuses in {
            "Internal": ("400",),
            "Unauthenticated": ("401",),
            "PermissionDenied": ("403",),
            "Unavailable": ("429", "502", "503", "504"),
            "Unknown": ("418", "500", "501"),
        }.items()
        for status in statuses
    },
    "HTTP 404": (_answers_http("404"), "does not implement"),
    "HTTP 200 without a code": (_answers_http("200"), "code = Unknown"),
    "a reset stream": (
        _resets,
        "code = Internal desc = stream terminated by RST_STREAM with error code: INTERNAL_ERROR",
    ),
    "GOAWAY": (_goes_away, "code = Unavailable"),
    "a connection that ends": (_breaks_off, "code = Unavailable"),
}


@pytest.mark.parametrize("name", UNHEALTHY)
def test_any_other_answer_is_503(undeclared: Sidecar, name: str) -> None:
    answer, words = UNHEALTHY[name]
    with raw_grpc(answer) as target:
        result = undeclared.grpc(target.port)
        target.wait_for(lambda target: target.open == 0)
    assert result.status == 503
    assert words in result.body.decode()
    assert not [error for error in target.errors if isinstance(error, ConnectionResetError)]


def test_every_vector_is_covered() -> None:
    tests = {
        "grpc-01": test_a_refused_dial_is_404_at_the_deadline,
        "grpc-03": test_any_other_status_is_503,
        "grpc-04": test_a_check_that_hangs_is_504,
        "grpc-08": test_an_unknown_service_is_503,
        "grpc-09": test_no_health_service_is_503,
        "grpc-13": test_what_the_server_sees,
    }
    assert set(tests) == set(VECTORS)
