"""Our prober concludes, says and sends what Kubernetes' own does; what does not is explained."""

from pathlib import Path

import pytest

from tests.differential.compare import compare
from tests.differential.report import render
from tests.differential.zoo import GROUPS


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("group", GROUPS)
def test_nothing_differs_without_a_reason(program: Path, group: str) -> None:
    cases = list(GROUPS[group]())
    text, unexplained = render(group, len(cases), compare(cases, program))
    assert not unexplained, text
