"""What differs from Kubernetes' own prober asking the app itself is explained, case by case.

Our prober is to conclude, say and send the same; Kubernetes' own is to conclude the same through
the sidecar.
"""

from functools import partial
from pathlib import Path

import pytest

from tests.differential.compare import compare
from tests.differential.report import DIRECTLY_AND_THROUGH, render
from tests.differential.through import ask_through, cases_of
from tests.differential.zoo import GROUPS, SIDECAR_GROUPS

# apps of the group tls have TLS 1.0 and 1.1
pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("group", GROUPS)
def test_nothing_differs_without_a_reason(program: Path, group: str) -> None:
    cases = list(GROUPS[group]())
    text, unexplained = render(group, len(cases), compare(cases, program))
    assert not unexplained, text


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("group", SIDECAR_GROUPS)
def test_no_verdict_through_the_sidecar_differs_without_a_reason(program: Path, group: str) -> None:
    for name, https, cases in cases_of(group):
        found = compare(cases, program, partial(ask_through, https))
        text, unexplained = render(name, len(cases), found, DIRECTLY_AND_THROUGH)
        assert not unexplained, text
