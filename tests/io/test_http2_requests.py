"""What an app that speaks h2 is sent for a probe's headers, or why nothing: as Go's client does."""

import contextlib
import json
import ssl
from collections.abc import Iterator

import pytest

from osm_healthcheck.probes.probe import HTTPGetAction, HTTPHeader
from tests.io.apps import app as serving
from tests.io.apps import read_head, response
from tests.io.go_http2 import FILE, by_our_prober
from tests.io.http2_cases import FINE, Talker, one, talker
from tests.io.http2_requests import REQUESTS, WEBSOCKET, seen
from tests.io.kubelet import PATIENCE, ask, verdict
from tests.io.sidecar import LIVENESS, http_probe, sidecar
from tests.io.tls import server_context

# by name: the result, its text, and the header list that the app gets, ``None`` where it gets none
GO = json.loads(FILE.read_text())["requests"]
# the app is told who asked, and that is not the kubelet here
CALLERS = ("user-agent", "accept")


@pytest.fixture(scope="module")
def app() -> Iterator[Talker]:
    with talker(server_context("h2")) as running:
        yield running


@pytest.mark.parametrize("name", REQUESTS)
def test_by_our_prober(app: Talker, name: str) -> None:
    app.play(one(FINE))
    app.requests.clear()
    headers = tuple(HTTPHeader(*pair) for pair in REQUESTS[name])
    handler = HTTPGetAction(port=app.port, path="/x?y", scheme="HTTPS", http_headers=headers)
    found = by_our_prober(handler, PATIENCE, app.port)
    result, text, fields = GO[name]
    assert (*found, _without(seen(app))) == (result, text, _without(fields))


@pytest.mark.parametrize("name", REQUESTS)
def test_through_the_sidecar(app: Talker, name: str) -> None:
    app.play(one(FINE))
    app.requests.clear()
    declared = [{"name": name, "value": value} for name, value in REQUESTS[name]]
    more = {"scheme": "HTTPS", "httpHeaders": declared, "timeoutSeconds": PATIENCE}
    with sidecar({"app": {"livenessProbe": http_probe(app.port, "/x?y", **more)}}) as here:
        answer = ask(here.address, LIVENESS, "/osm-liveness-probe/app")
    result, _, fields = GO[name]
    assert verdict(answer) == result
    assert _without(seen(app), *CALLERS) == _without(fields, *CALLERS)


def _without(fields: list[list[str]] | None, *names: str) -> list[list[str]] | None:
    # the kubelet's version is its own
    return fields and [
        [name, value.partition("/1.")[0] if name == "user-agent" else value]
        for name, value in fields
        if name not in names
    ]


@contextlib.contextmanager
def choosing(chosen: list[str | None]) -> Iterator[int]:
    """An app that prefers h2 and takes HTTP/1.1; what it has settled on goes to ``chosen``."""
    context = server_context("h2", "http/1.1")

    def serve(secure: ssl.SSLSocket) -> None:
        chosen.append(secure.selected_alpn_protocol())
        read_head(secure)
        secure.sendall(response(body=b"by http/1.1"))

    def wrapped(sock: object) -> None:
        with context.wrap_socket(sock, server_side=True) as secure:  # type: ignore[arg-type]
            serve(secure)

    with serving(wrapped) as running:
        yield running.port


def test_a_websocket_is_asked_for_by_http_1_without_alpn() -> None:
    headers = tuple(HTTPHeader(*pair) for pair in WEBSOCKET)
    chosen: list[str | None] = []
    with choosing(chosen) as port:
        handler = HTTPGetAction(port=port, scheme="HTTPS", http_headers=headers)
        assert by_our_prober(handler, PATIENCE, port) == ("success", "by http/1.1")
    assert chosen == [None]


def test_every_request_was_shown_to_go() -> None:
    assert set(REQUESTS) == set(GO)
