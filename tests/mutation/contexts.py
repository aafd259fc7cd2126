"""A pytest plugin, ``-p tests.mutation.contexts``: coverage is told which test is running.

Coverage itself is started by ``COVERAGE_PROCESS_START``, so that the processes that tests start are
measured as well.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest

_seconds: dict[str, float] = {}
_failed: set[str] = set()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Name the test as the context of the lines that it runs."""
    running = coverage.Coverage.current()
    assert running is not None, "COVERAGE_PROCESS_START is not set"
    running.switch_context(item.nodeid)
    return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember how long each test took, in seconds, and which ones did not pass."""
    _seconds[report.nodeid] = _seconds.get(report.nodeid, 0.0) + report.duration
    if not report.passed:
        _failed.add(report.nodeid)


def pytest_sessionfinish() -> None:
    """Write the times of the tests that passed next to the coverage data."""
    passed = {test: round(took, 3) for test, took in _seconds.items() if test not in _failed}
    out = Path(os.environ["COVERAGE_DIRECTORY"], "seconds.json")
    out.write_text(json.dumps(passed))
