"""Single answers of HTTP/1 apps: our prober concludes and says what Kubernetes' own did."""

import asyncio

import pytest

from tests.differential.case import Case
from tests.differential.compare import ask_ours
from tests.differential.record import recorded

ANSWERS = list(recorded())


@pytest.mark.parametrize(("case", "verdict", "text"), ANSWERS, ids=range(len(ANSWERS)))
def test_answer(case: Case, verdict: str, text: str) -> None:
    with asyncio.Runner() as runner:
        seen = ask_ours(case, runner)
    assert (seen.verdict, seen.text) == (verdict, text)
