"""``go-http2.json``, which our prober and the sidecar are held to, is what Kubernetes comes to."""

import json
from pathlib import Path

import pytest

from tests.differential.http2 import KINDS, ask_kubernetes
from tests.io.go_http2 import FILE


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_recorded_is_what_kubernetes_comes_to(program: Path, kind: str) -> None:
    assert dict(ask_kubernetes(program, kind)) == json.loads(FILE.read_text())[kind]
