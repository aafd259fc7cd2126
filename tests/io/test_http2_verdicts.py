"""HTTPS apps that speak h2: what Go's client makes of each, our prober and the sidecar do too."""

from collections.abc import Iterator

import pytest

from osm_healthcheck.probes.probe import HTTPGetAction
from tests.io.go_http2 import by_our_prober, expected, patience
from tests.io.http2_cases import HTTPS, Talker, talker
from tests.io.kubelet import NO_VERDICT, PATIENCE, ask, verdict
from tests.io.sidecar import LIVENESS, READINESS, Sidecar, http_probe, sidecar
from tests.io.tls import server_context

GO = expected("https")
# What has no body in HTTP/1 cannot break off in one: the caller gets 502 instead.
FAILS_INSTEAD = {"a status of 204 that does not end"}


@pytest.fixture(scope="module")
def app() -> Iterator[Talker]:
    with talker(server_context("h2")) as running:
        yield running


@pytest.fixture(scope="module")
def between(app: Talker) -> Iterator[Sidecar]:
    """A sidecar that asks the app by request: liveness is patient, readiness is not."""

    def probe(seconds: int) -> dict[str, object]:
        return http_probe(app.port, scheme="HTTPS", timeoutSeconds=seconds)

    probes = {"app": {"livenessProbe": probe(PATIENCE), "readinessProbe": probe(1)}}
    with sidecar(probes) as running:
        yield running


@pytest.mark.parametrize("name", HTTPS)
def test_by_our_prober(app: Talker, name: str) -> None:
    app.play(HTTPS[name])
    handler = HTTPGetAction(port=app.port, scheme="HTTPS")
    result, text = by_our_prober(handler, patience("https", name), app.port)
    assert result == GO[name][0], text
    assert GO[name][1] in (None, text)


@pytest.mark.parametrize("name", HTTPS)
def test_through_the_sidecar(app: Talker, between: Sidecar, name: str) -> None:
    app.play(HTTPS[name])
    kind, port = ("liveness", LIVENESS) if patience("https", name) > 1 else ("readiness", READINESS)
    answer = ask(between.address, port, f"/osm-{kind}-probe/app")
    wanted = GO[name][0]
    if name in FAILS_INSTEAD:
        assert wanted == NO_VERDICT
        wanted = "failure"
    assert verdict(answer) == wanted
    assert answer is not None
    assert "set-cookie" not in {header.lower() for header, _ in answer.headers}


def test_every_case_was_shown_to_go() -> None:
    assert set(HTTPS) == set(GO)
