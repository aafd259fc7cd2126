"""What became of the probes: the last result of each, a line at every change, and the counts.

The counts are plain numbers here; ``metrics`` turns them into Prometheus' form when asked.
"""

from bisect import bisect_left
from collections.abc import Iterable
from enum import StrEnum
from typing import Protocol

from osm_healthcheck.probes.targets import DeclaredProbe
from osm_healthcheck.server.logs import Log

# seconds; a probe's own timeout is 1 s by default
LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Where no probes are declared a caller makes targets up; beyond so many they share one entry.
MAX_UNDECLARED_TARGETS = 256
_OTHERS = "others"


class TargetResult(StrEnum):
    """What a probe came to."""

    SUCCESS = "success"
    FAILURE = "failure"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    BAD_ANSWER = "bad answer"
    BROKEN = "broken"
    PASSED = "passed"


class Target(Protocol):
    """What a result is kept for: a check target or an HTTP target."""

    @property
    def probes(self) -> tuple[DeclaredProbe, ...]:
        """The probes that it stands for."""


class Tally:
    """The results of one target since the start."""

    __slots__ = ("buckets", "containers", "counts", "kinds", "last", "seconds", "target")

    def __init__(self, target: str, probes: Iterable[DeclaredProbe]) -> None:
        probes = tuple(probes)
        self.target = target
        self.kinds = ",".join(sorted({probe.kind.value for probe in probes}))
        self.containers = ",".join(sorted({probe.container for probe in probes}))
        self.counts: dict[TargetResult, int] = {}
        self.buckets = [0] * (len(LATENCY_BUCKETS) + 1)
        self.seconds = 0.0
        self.last: TargetResult | None = None


class Results:
    """All tallies, and the log lines that changes make."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self._tallies: dict[Target, Tally] = {}
        self._others: Tally | None = None

    def record(
        self, target: Target, result: TargetResult, seconds: float, reason: str = ""
    ) -> None:
        """Count one result; a change is logged, a repeated failure at ``debug`` only.

        ``seconds`` is how long it took from the request, ``reason`` what made it no success.
        """
        tally = self._tallies.get(target)
        if tally is None:
            tally = self._add(target)
        counts = tally.counts
        counts[result] = counts.get(result, 0) + 1
        tally.seconds += seconds
        tally.buckets[bisect_left(LATENCY_BUCKETS, seconds)] += 1
        if result is not tally.last:
            tally.last = result
            good = result is TargetResult.SUCCESS or result is TargetResult.PASSED
            log = self.log.info if good else self.log.warning
        elif result is TargetResult.SUCCESS or result is TargetResult.PASSED:
            return
        else:
            log = self.log.debug
        log(
            "probe result",
            probes=[str(probe) for probe in target.probes],
            target=str(target),
            result=result.value,
            reason=reason,
            ms=round(seconds * 1000, 2),
        )

    def tallies(self) -> list[Tally]:
        """Every tally there is."""
        others = [self._others] if self._others else []
        return [*self._tallies.values(), *others]

    def _add(self, target: Target) -> Tally:
        if target.probes or len(self._tallies) < MAX_UNDECLARED_TARGETS:
            tally = self._tallies[target] = Tally(str(target), target.probes)
            return tally
        self._others = self._others or Tally(_OTHERS, ())
        return self._others
