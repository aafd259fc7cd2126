"""The limit on log lines: bounds that hold whatever happens when."""

from hypothesis import given
from hypothesis import strategies as st

from osm_healthcheck.server.rate_limit import RateLimit

pauses = st.lists(st.floats(0, 10, allow_subnormal=False), min_size=1, max_size=60)


def allowed_at(limit: RateLimit, times: list[float]) -> list[float]:
    found = []
    for time in times:
        if limit.allows(time):
            limit.count()
            found.append(time)
    return found


def instants(pauses: list[float]) -> list[float]:
    time, found = 1000.0, []
    for pause in pauses:
        time += pause
        found.append(time)
    return found


@given(pauses, st.floats(0.1, 5), st.integers(1, 8))
def test_no_stretch_of_time_has_more_than_burst_and_rate(
    pauses: list[float], per_second: float, burst: int
) -> None:
    times = allowed_at(RateLimit(per_second, burst), instants(pauses))
    for first, start in enumerate(times):
        for last, end in enumerate(times[first:], first):
            assert last - first + 1 <= burst + per_second * (end - start) + 1e-6


@given(pauses, st.floats(0.1, 5), st.integers(1, 8))
def test_after_a_pause_one_is_allowed_and_after_a_long_one_the_burst(
    pauses: list[float], per_second: float, burst: int
) -> None:
    limit = RateLimit(per_second, burst)
    times = instants(pauses)
    allowed_at(limit, times)
    assert allowed_at(limit, [times[-1] + 1.01 / per_second])
    later = times[-1] + (burst + 2) / per_second
    assert len(allowed_at(limit, [later] * (burst + 3))) == burst
