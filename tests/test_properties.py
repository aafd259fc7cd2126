"""A property fails by what it asserts, and never by the time that a busy machine takes."""

import time

from hypothesis import given
from hypothesis import strategies as st

_SLOW = 1.1  # seconds: Hypothesis would give up at 1 to draw in, and at 0.2 to run in


@st.composite
def _drawn_slowly(draw: st.DrawFn) -> int:
    value = draw(st.integers(0, 1))
    time.sleep(_SLOW)
    return value


def test_a_slow_machine_fails_none() -> None:
    seen = []

    @given(_drawn_slowly())
    def slow(value: int) -> None:
        seen.append(value)
        time.sleep(_SLOW)

    slow()
    assert sorted(seen) == [0, 1]
