"""On bad days every verdict is the one without a mesh, and nothing is left over."""

from typing import Any

import pytest

from . import soak
from .bad_days import DAYS, covering_threshold
from .faults import Figures

every_day = pytest.mark.parametrize("day", DAYS)


def assert_good(figures: Figures) -> None:
    assert figures.wrong == ()
    assert figures.connections == 0
    before, after = figures.descriptors
    assert after <= before


@every_day
def test_a_bad_day(day: str) -> None:
    short, _ = DAYS[day]
    assert_good(short())


@pytest.mark.slow
@pytest.mark.timeout(300)
@every_day
def test_a_long_bad_day(day: str) -> None:
    _, in_full = DAYS[day]
    assert_good(in_full())


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("https", soak.HTTPS)
def test_a_soak(https: str) -> None:
    soaked = soak.soak(https, 20_000)
    assert soaked.wrong == []
    assert soaked.good, soak.table([soaked])
    assert soaked.probes.total() >= 20_000


@pytest.mark.parametrize(
    ("found", "good"),
    [
        ({}, True),
        ({"memory": (50_000_000, 51_000_000)}, True),
        ({"memory": (50_000_000, 53_000_000)}, False),
        ({"descriptors": (20, 19)}, True),
        ({"descriptors": (20, 21)}, False),
        ({"connections": 1}, False),
        ({"wrong": ["one"]}, False),
    ],
)
def test_what_a_good_soak_is(found: dict[str, Any], good: bool) -> None:
    assert soak.Soaked("by request", **found).good is good


def test_the_failure_threshold_that_covers_a_gap() -> None:
    assert [covering_threshold(gap, 10) for gap in (0.3, 9.9, 10, 25)] == [2, 2, 3, 4]
