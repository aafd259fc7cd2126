"""Mesh cases of the check endpoint and of the sidecar's life; see ``mesh_cases``."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2

from tests.io.apps import app, hold, http_app, response
from tests.io.grpc_apps import grpc_server
from tests.io.kubelet import verdict
from tests.io.mesh_cases import CASES, case, target
from tests.io.sidecar import (
    HEALTHCHECK,
    Sidecar,
    http_probe,
    process,
    sidecar,
    tcp_probe,
)
from tests.io.wire import black_hole, closed_port, get
from tests.net.pod_addresses import statuses_in_a_pod

PATH = "/osm-liveness-probe"
CHECK = "/osm-healthcheck"


@pytest.fixture(scope="module")
def undeclared() -> Iterator[Sidecar]:
    """The sidecar as OSM's injector starts it."""
    with sidecar() as running:
        yield running


# -- 15904


@case("RT-001", "RT-012", "RT-019", "RT-020")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_an_open_port(undeclared: Sidecar, address: str) -> None:
    with app(hold, address) as listener:
        answer = undeclared.check(listener.port)
    assert {target(name) for name in ("RT-001", "RT-012", "RT-019", "RT-020")} == {answer.status}


@case("RT-002", "RT-003", "RT-006", "RT-057")
@pytest.mark.parametrize("name", ["RT-002", "RT-003", "RT-006", "RT-057"])
def test_a_header_that_names_no_port_of_an_app(undeclared: Sidecar, name: str) -> None:
    headers = CASES[name]["input"].get("headers", {})
    if name == "RT-057":
        headers = {"Original-Tcp-Port": CASES[name]["input"]["Original-Tcp-Port"]}
    assert get(undeclared.address, HEALTHCHECK, CHECK, headers).status == target(name)


@case("RT-007")
@pytest.mark.parametrize("value", CASES["RT-007"]["input"]["headers"]["Original-Tcp-Port"])
def test_what_go_would_look_up_is_no_port(undeclared: Sidecar, value: str | int) -> None:
    # YAML 1.1 reads 080 as a string only because it is no octal number
    assert undeclared.check(value).status == target("RT-007")


@case("RT-008")
def test_two_ports_are_ambiguous(undeclared: Sidecar) -> None:
    with app(hold) as listener:
        ports = [("Original-Tcp-Port", str(listener.port)), ("Original-Tcp-Port", "1")]
        answer = get(undeclared.address, HEALTHCHECK, CHECK, ports)
    assert answer.status == target("RT-008")
    assert listener.connections == 0


@case("RT-009")
@pytest.mark.parametrize("method", CASES["RT-009"]["input"]["method"])
def test_a_check_is_a_get(undeclared: Sidecar, method: str) -> None:
    with app(hold) as listener:
        assert undeclared.check(listener.port, method=method).status == target("RT-009")
    assert listener.connections == 0


@case("RT-013")
def test_a_dropped_syn_is_answered_in_time() -> None:
    """Within timeoutSeconds, not 2xx, and the socket is given back."""
    seconds = CASES["RT-013"]["input"]["kubelet_timeout_s"]
    with black_hole() as port:
        probe = tcp_probe(port, timeoutSeconds=seconds)
        with sidecar({"app": {"livenessProbe": probe}}) as running:
            before = open_sockets()
            assert running.check(port).status == 504
            until_no_more_than(before)


@case("RT-014", "RT-053")
def test_an_open_and_a_wrong_port() -> None:
    with app(hold) as listener, closed_port() as wrong:
        probes = {
            "app": {"readinessProbe": tcp_probe(listener.port), "livenessProbe": tcp_probe(wrong)}
        }
        with sidecar(probes) as running:
            assert verdict(running.check(listener.port)) == "success"
            refused = running.check(wrong)
    assert verdict(refused) == "failure"
    assert str(refused.status) in CASES["RT-053"]["expected"]["osm_equivalent"]


@case("RT-056")
def test_a_stranger_cannot_scan_ports() -> None:
    assert target("RT-056") == 403
    with (
        app(hold) as declared,
        app(hold) as other,
        closed_port() as closed,
        sidecar({"app": {"livenessProbe": tcp_probe(declared.port)}}) as running,
    ):
        assert running.check(other.port).status == 403
        assert running.check(closed).status == 403
        assert running.grpc(declared.port).status == 403
    assert (declared.connections, other.connections) == (0, 0)


# -- gRPC


@case("RT-040", "RT-042")
@pytest.mark.parametrize(("name", "said"), [("RT-040", "NOT_SERVING"), ("RT-042", "UNKNOWN")])
def test_grpc_not_serving(undeclared: Sidecar, name: str, said: str) -> None:
    service = CASES[name]["input"]["service"]
    value = health_pb2.HealthCheckResponse.ServingStatus.Value(said)
    with grpc_server({service: value}) as server:
        assert undeclared.grpc(server.port, service).status == target(name)


@contextlib.contextmanager
def grpc_declared(port: int) -> Iterator[Sidecar]:
    with sidecar({"app": {"livenessProbe": {"grpc": {"port": port}}}}) as running:
        yield running


@case("RT-043")
def test_grpc_port_closed() -> None:
    with closed_port() as port, grpc_declared(port) as running:
        assert running.grpc(port).status == 404


@case("RT-044")
def test_grpc_slower_than_its_timeout() -> None:
    with grpc_server(hangs=True) as server, grpc_declared(server.port) as running:
        assert running.grpc(server.port).status == 504


@case("RT-045")
def test_grpc_without_a_health_service(undeclared: Sidecar) -> None:
    with grpc_server(health_service=False) as server:
        assert undeclared.grpc(server.port).status == target("RT-045")


# -- which address


@case("RT-054", "RT-055")
def test_the_address_that_the_app_listens_on() -> None:
    assert CASES["RT-054"]["target"] == "ok"
    assert CASES["RT-055"]["target"] == "fails by default; opt-in for localhost"
    statuses = statuses_in_a_pod()
    for probe in ("http", "tcp"):
        assert statuses[f"{probe} on pod IP"] == 200
        assert statuses[f"{probe} on loopback"] in (404, 503)
    assert statuses["http on loopback, --target-host"] == 200


# -- for days


@case("RT-058")
def test_a_connection_per_probe_and_none_left_over() -> None:
    with http_app(response()) as web, app(hold) as listener:
        probes = {
            "app": {
                "livenessProbe": http_probe(web.port),
                "readinessProbe": tcp_probe(listener.port),
            }
        }
        with sidecar(probes) as running:
            before = open_sockets()
            count = CASES["RT-058"]["input"]["probes"] // 2
            for _ in range(count):
                assert running.probe().status == 200
                assert running.check(listener.port).status == 200
            for one in (web, listener):
                one.wait_for(lambda one: one.connections == count and one.open == 0)
                assert one.errors == []
            until_no_more_than(before)


def open_sockets() -> int:
    """The sockets that this process holds, the sidecar's among them."""
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            count += descriptor.readlink().name.startswith("socket:")
    return count


def until_no_more_than(limit: int) -> None:
    """Wait until the sockets are back: each is closed by the thread that owns it."""
    patience = threading.Event()
    for _ in range(400):
        if open_sockets() <= limit:
            return
        patience.wait(0.02)
    raise AssertionError(f"{open_sockets()} sockets are open, there were {limit}")


@case("RT-059")
def test_start_and_stop() -> None:
    with process("--verbosity", "info") as running:
        running.wait_for("ready")
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
