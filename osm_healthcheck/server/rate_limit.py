"""How often something may happen: a token bucket."""


class RateLimit:
    """So many at once, and then so many a second.

    In any ``t`` seconds it allows at most ``burst + per_second * t``.

    Args:
        per_second: how many it allows in the long run.
        burst: how many it allows after a long pause; at least 1.
    """

    __slots__ = ("_at", "_burst", "_per_second", "_tokens")

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._tokens = float(burst)
        self._at = 0.0

    def allows(self, now: float) -> bool:
        """Whether one more is within the limit. ``now`` is of a clock that is never set back."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        return self._tokens >= 1

    def count(self) -> None:
        """Count one that was allowed."""
        self._tokens -= 1
