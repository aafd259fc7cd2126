"""Single answers of HTTP/1 apps: our prober concludes and says what Kubernetes' own did.

So does who asks through the sidecar, but for the text.
"""

import asyncio

import pytest

from tests.differential.case import Case
from tests.differential.compare import ask_ours
from tests.differential.puppet import puppet
from tests.differential.record import HANGS, recorded
from tests.io.kubelet import PATIENCE, ask, verdict
from tests.io.sidecar import LIVENESS, http_probe, sidecar

ANSWERS = list(recorded())
answers = pytest.mark.parametrize(("case", "wanted", "text"), ANSWERS, ids=range(len(ANSWERS)))


@answers
def test_answer(case: Case, wanted: str, text: str) -> None:
    with asyncio.Runner() as runner:
        seen = ask_ours(case, runner)
    assert (seen.verdict, seen.text) == (wanted, text)


@answers
def test_through_the_sidecar(case: Case, wanted: str, text: str) -> None:
    seconds = 1 if case.time_limit == HANGS else PATIENCE
    with puppet(case.address, case) as app:
        probe = http_probe(app.port, timeoutSeconds=seconds)
        with sidecar({"app": {"livenessProbe": probe}}) as running:
            answer = ask(running.address, LIVENESS, "/osm-liveness-probe")
    assert verdict(answer) == wanted, text
