"""Apps that speak gRPC, or nearly: what grpc-go makes of each, our prober and sidecar do too."""

from collections.abc import Iterator

import pytest

from osm_healthcheck.probes.probe import GRPCAction
from tests.io.go_http2 import by_our_prober, expected, patience
from tests.io.http2_cases import GRPC, GRPC_RACES, Talker, talker
from tests.io.kubelet import PATIENCE, verdict
from tests.io.sidecar import Sidecar, sidecar

GO = expected("grpc")


@pytest.fixture(scope="module")
def app() -> Iterator[Talker]:
    with talker() as running:
        yield running


@pytest.fixture(scope="module")
def between(app: Talker) -> Iterator[Sidecar]:
    """A sidecar that is patient with one name of a service, and not with the other."""

    def probe(service: str, seconds: int) -> dict[str, object]:
        return {"grpc": {"port": app.port, "service": service}, "timeoutSeconds": seconds}

    probes = {"livenessProbe": probe("slow", PATIENCE), "readinessProbe": probe("quick", 1)}
    with sidecar({"app": probes}) as running:
        yield running


@pytest.mark.parametrize("name", GRPC)
def test_by_our_prober(app: Talker, name: str) -> None:
    app.play(GRPC[name])
    found = by_our_prober(GRPCAction(port=app.port), patience("grpc", name), app.port)
    assert found[0] == GO[name][0], found[1]
    assert GO[name][1] in (None, found[1])


@pytest.mark.parametrize("name", GRPC)
def test_through_the_sidecar(app: Talker, between: Sidecar, name: str) -> None:
    app.play(GRPC[name])
    service = "slow" if patience("grpc", name) > 1 else "quick"
    answer = between.grpc(app.port, service)
    assert verdict(answer) == GO[name][0], answer.body


@pytest.mark.parametrize("name", GRPC_RACES)
def test_an_end_before_the_call_is_not_the_calls(app: Talker, between: Sidecar, name: str) -> None:
    case, is_healthy = GRPC_RACES[name]
    app.play(case)
    found = by_our_prober(GRPCAction(port=app.port), PATIENCE if is_healthy else 1, app.port)
    assert found[0] == ("success" if is_healthy else "failure")
    app.play(case)
    answer = between.grpc(app.port, "slow" if is_healthy else "quick")
    assert (answer.status == 200) is is_healthy


def test_every_case_was_shown_to_go() -> None:
    assert set(GRPC) == set(GO)
