"""Real servers that shut down while they answer: their answer counts, as it does for Go.

Where what they say is a matter of chance, or cannot be had, the frames are in `http2_cases`.
"""

from pathlib import Path

import pytest

from osm_healthcheck.probes.probe import GRPCAction, HTTPGetAction
from tests.io.go_http2 import by_our_prober
from tests.io.goaway_servers import envoy_proxy, go_grpc, go_https, node_https
from tests.io.grpc_apps import grpc_server
from tests.io.h2_app import h2_app
from tests.io.kubelet import PATIENCE, ask, verdict
from tests.io.sidecar import LIVENESS, http_probe, sidecar


def assert_healthy_https(port: int, path: str, body: str) -> None:
    """The sidecar, asking by request, and our prober both come to success."""
    probe = http_probe(port, path, scheme="HTTPS", timeoutSeconds=PATIENCE)
    with sidecar({"app": {"livenessProbe": probe}}) as running:
        answer = ask(running.address, LIVENESS, "/osm-liveness-probe/app")
    assert answer is not None
    assert (verdict(answer), answer.body.decode()) == ("success", body), answer
    assert_healthy_https_by_our_prober(port, path, body)


def assert_healthy_https_by_our_prober(port: int, path: str, body: str) -> None:
    handler = HTTPGetAction(port=port, path=path, scheme="HTTPS")
    assert by_our_prober(handler, PATIENCE, port) == ("success", body)


def assert_healthy_grpc(port: int) -> None:
    probe = {"grpc": {"port": port}, "timeoutSeconds": PATIENCE}
    with sidecar({"app": {"livenessProbe": probe}}) as running:
        answer = running.grpc(port)
    assert answer.status == 200, answer.body
    assert_healthy_grpc_by_our_prober(port)


def assert_healthy_grpc_by_our_prober(port: int) -> None:
    found = by_our_prober(GRPCAction(port=port), PATIENCE, port)
    assert found == ("success", "service healthy")


def test_node_that_closes_its_session() -> None:
    with node_https() as port:
        assert_healthy_https(port, "/", "closed")


def test_envoy_with_one_request_a_connection() -> None:
    with envoy_proxy() as port:
        assert_healthy_https(port, "/", "ok")


def test_envoy_with_one_request_a_connection_before_grpc() -> None:
    with grpc_server() as server, envoy_proxy(server.port) as port:
        assert_healthy_grpc(port)


def test_hypercorn() -> None:
    with h2_app("h2") as running:
        assert_healthy_https(running.port, "/", "over h2")


def test_grpcio() -> None:
    with grpc_server() as server:
        assert_healthy_grpc(server.port)


@pytest.mark.slow
def test_go_with_connection_close(tmp_path: Path) -> None:
    with go_https(tmp_path) as port:
        assert_healthy_https(port, "/close", "closed")


@pytest.mark.slow
def test_go_that_shuts_down(tmp_path: Path) -> None:
    with go_https(tmp_path) as port:
        probe = http_probe(port, "/shutdown", scheme="HTTPS", timeoutSeconds=PATIENCE)
        with sidecar({"app": {"livenessProbe": probe}}) as running:
            answer = ask(running.address, LIVENESS, "/osm-liveness-probe/app")
        assert answer is not None
        assert (verdict(answer), answer.body) == ("success", b"shut down")
    with go_https(tmp_path) as port:
        assert_healthy_https_by_our_prober(port, "/shutdown", "shut down")


@pytest.mark.slow
def test_grpc_go_with_a_maximum_age(tmp_path: Path) -> None:
    with go_grpc(tmp_path, "age") as port:
        assert_healthy_grpc(port)


@pytest.mark.slow
def test_grpc_go_takes_a_timeout_of_days(tmp_path: Path) -> None:
    with go_grpc(tmp_path, "age") as port:
        found = by_our_prober(GRPCAction(port=port), 200_000, port)
        assert found == ("success", "service healthy")


@pytest.mark.slow
def test_grpc_go_that_stops(tmp_path: Path) -> None:
    with go_grpc(tmp_path, "stop") as port:
        probe = {"grpc": {"port": port}, "timeoutSeconds": PATIENCE}
        with sidecar({"app": {"livenessProbe": probe}}) as running:
            assert running.grpc(port).status == 200
    with go_grpc(tmp_path, "stop") as port:
        assert_healthy_grpc_by_our_prober(port)
