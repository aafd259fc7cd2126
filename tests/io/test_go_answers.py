"""Which answers are one: what Go's client made of these bytes is what comes out of the sidecar."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.io.apps import App, app, read_head
from tests.io.kubelet import PATIENCE, ask, verdict
from tests.io.sidecar import LIVENESS, Sidecar, http_probe, sidecar

_FILE = Path(__file__).parent.parent / "vectors" / "go-answers.json"
ANSWERS = json.loads(_FILE.read_text(encoding="utf-8"))["answers"]


class ScriptedApp:
    """An app that answers with ``bytes``, and the sidecar in front of it."""

    answer = b""
    app: App
    sidecar: Sidecar


@pytest.fixture(scope="module")
def scripted_app() -> Iterator[ScriptedApp]:
    told = ScriptedApp()

    def serve(sock):  # type: ignore[no-untyped-def]
        read_head(sock)
        sock.sendall(told.answer)

    with app(serve) as told.app:
        probes = {"app": {"livenessProbe": http_probe(told.app.port, timeoutSeconds=PATIENCE)}}
        with sidecar(probes) as told.sidecar:
            yield told


@pytest.mark.parametrize(("raw", "expected", "status", "body"), ANSWERS, ids=range(len(ANSWERS)))
def test_answer(
    scripted_app: ScriptedApp, raw: str, expected: str, status: int | None, body: str | None
) -> None:
    scripted_app.answer = raw.encode("latin-1")
    answer = ask(scripted_app.sidecar.address, LIVENESS, "/osm-liveness-probe")
    assert answer is not None
    assert verdict(answer) == expected
    if status is None:
        assert answer.status == 502
    else:
        assert answer.status == status
    if body is not None:
        assert answer.body.decode("latin-1") == body
