"""The kubelet's vectors for tcpSocket probes and for ports, through the sidecar."""

from typing import Any

import pytest

from osm_healthcheck.errors import InvalidInputError
from tests.io import vectors
from tests.io.apps import app, hold
from tests.io.kubelet import verdict
from tests.io.sidecar import sidecar, tcp_probe
from tests.io.wire import black_hole, closed_port

TCP = vectors.kubelet("tcp")
PORTS = vectors.kubelet("port")


def test_a_closed_port_is_refused() -> None:
    with closed_port() as port, sidecar({"app": {"livenessProbe": tcp_probe(port)}}) as running:
        answer = running.check(port)
    assert verdict(answer) == TCP["tcp-03"]["expect"]["result"]
    assert answer.status == 404
    dialled = TCP["tcp-03"]["expect"]["output"].replace("<ip>:<port>", f"127.0.0.1:{port}")
    assert dialled.replace(" tcp", "").replace("connect: ", "") in answer.body.decode()


def test_a_dropped_syn_times_out() -> None:
    with black_hole() as port, sidecar({"app": {"livenessProbe": tcp_probe(port)}}) as running:
        answer = running.check(port)
    assert verdict(answer) == TCP["tcp-04"]["expect"]["result"]
    assert answer.status == 504


def test_another_machine_is_left_to_the_kubelet() -> None:
    """DESIGN.md section 2: a probe with ``host`` is not rewritten, so the sidecar refuses it."""
    probe = {"tcpSocket": TCP["tcp-05"]["probe"]["tcpSocket"]}
    with pytest.raises(InvalidInputError, match="leave it to the kubelet"):
        declare(probe)


def declare(probe: dict[str, Any]) -> None:
    with sidecar({"app": {"livenessProbe": probe}}):
        pass


# ``inject`` resolves names against a container's ports, which the sidecar does not know. A number
# in quotes is no port to the API server since it wants a letter in a name (vector api-12).
NAMES = {"port-05", "port-07", "port-10", "port-11"}
NO_PORTS = {"port-01", "port-02", "port-03", "port-09"}


@pytest.mark.parametrize("name", sorted(NO_PORTS))
def test_no_port_is_refused_at_the_start(name: str) -> None:
    assert "error" in PORTS[name]["expect"]
    with pytest.raises(InvalidInputError, match=r"app\.livenessProbe\.tcpSocket\.port"):
        declare(tcp_probe(PORTS[name]["given"]["port"]))


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_name_is_for_inject_to_resolve(name: str) -> None:
    port = PORTS[name]["given"]["port"]
    with pytest.raises(InvalidInputError, match="must"):
        declare(tcp_probe(port))


def test_a_number_needs_no_declared_container_port() -> None:
    assert PORTS["port-08"]["expect"]["port"] == PORTS["port-08"]["given"]["port"]
    with (
        app(hold) as target,
        sidecar({"app": {"livenessProbe": tcp_probe(target.port)}}) as running,
    ):
        assert running.check(target.port).status == 200


def test_every_vector_is_covered() -> None:
    assert set(TCP) == {"tcp-03", "tcp-04", "tcp-05"}
    assert set(PORTS) == NAMES | NO_PORTS | {"port-08"}
