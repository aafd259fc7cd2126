"""What a caller makes up does not come back in full: no answer of our own is a long one."""

import pytest

from tests.io.apps import app, hold
from tests.io.grpc_apps import grpc_server
from tests.io.sidecar import HEALTHCHECK, LIVENESS, http_probe, sidecar
from tests.io.wire import exchange

LONG = 7900
MAX_BODY = 512
CHECK = b"GET /osm-healthcheck HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (CHECK + b"Original-Grpc-Port: 7\r\nOriginal-Grpc-Service: %b\r\n\r\n", 403),
        (CHECK + b"Original-Tcp-Port: %b\r\n\r\n", 400),
        (CHECK + b"Original-Tcp-Port: 7\r\nOriginal-Grpc-Service: %b\r\n\r\n", 400),
        (CHECK + b"Original-Grpc-Port: 7\r\nOriginal-Grpc-Service: \t%b\1\r\n\r\n", 400),
        (b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"%b / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n", 400),
        (b"GET / %b\r\nHost: x\r\n\r\n", 400),
    ],
    ids=lambda value: repr(value[:60]) if isinstance(value, bytes) else None,
)
@pytest.mark.parametrize("port", [HEALTHCHECK, LIVENESS])
def test_an_error_of_ours_is_short(request_: bytes, status: int, port: int) -> None:
    with sidecar({"app": {"livenessProbe": http_probe(9)}}) as running:
        answer = exchange(running.address, port, request_ % (b"x" * LONG))
        assert answer.status == (404 if port == LIVENESS and status == 403 else answer.status)
        if port == HEALTHCHECK:
            assert answer.status == status
        assert len(answer.body) <= MAX_BODY


def test_a_service_that_nobody_declared_is_told_in_short() -> None:
    name = "x" * LONG
    with grpc_server({name: 1, name[1:]: 2}) as server, app(hold), sidecar() as running:
        for service, status in ((name, 200), (name[1:], 503)):
            answer = running.grpc(server.port, service)
            assert answer.status == status
            assert len(answer.body) <= MAX_BODY
            assert answer.body.startswith(b"grpc://:%d/xxx" % server.port)
        for line in running.logged("probe result"):
            assert len(line["target"]) <= MAX_BODY


def test_one_that_is_declared_is_told_in_full() -> None:
    name = "declared." * 30
    probe = {"livenessProbe": {"grpc": {"port": 0, "service": name}}}
    with grpc_server({name: 1}) as server:
        probe["livenessProbe"]["grpc"]["port"] = server.port
        with sidecar({"app": probe}) as running:
            assert f"/{name}: SERVING" in running.grpc(server.port, name).body.decode()
