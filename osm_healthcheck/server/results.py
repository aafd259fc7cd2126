"""What became of the probes: the last results of each, a line at every change, and the counts.

These are plain values here; ``metrics`` and ``status`` make pages of them when asked.
"""

import logging
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from enum import StrEnum
from time import time
from typing import Protocol

from osm_healthcheck.probes.hooks import LifecycleHook
from osm_healthcheck.server.logs import TARGET_BURST, TARGET_PER_SECOND, Log
from osm_healthcheck.server.rate_limit import RateLimit

# seconds; a probe's own timeout is 1 s by default
LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Where no probes are declared a caller makes targets up; beyond so many they share one entry.
MAX_UNDECLARED_TARGETS = 64
OTHER = "other"
# What the status page shows of each target: five minutes of a probe every 10 s.
RECENT_RESULTS = 32
MAX_RECENT_REASON = 200


class TargetResult(StrEnum):
    """What a probe came to."""

    SUCCESS = "success"
    FAILURE = "failure"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    BAD_ANSWER = "bad answer"
    BROKEN = "broken"
    PASSED = "passed"


# When it came (Unix time), what it was, how long it took (seconds), and why. A bare tuple, because
# there is one for each probe.
RecentResult = tuple[float, TargetResult, float, str]

_HOOKS = frozenset(hook.value for hook in LifecycleHook)
GOOD = frozenset({TargetResult.SUCCESS, TargetResult.PASSED})


class Declared(Protocol):
    """A probe or lifecycle hook of a container."""

    @property
    def container(self) -> str:
        """The container's name."""

    @property
    def kind(self) -> StrEnum:
        """Which of its probes or hooks."""


class Target(Protocol):
    """What a result is kept for: a check target, an HTTP target, or that of a hook."""

    @property
    def port(self) -> int:
        """The app's port."""

    @property
    def probes(self) -> Sequence[Declared]:
        """The probes, or the hook, that it stands for."""

    @property
    def deadline(self) -> float | None:
        """Seconds until it fails; ``None`` where its caller alone ends it."""


class Tally:
    """The results of one target since the start; of all that are checked as `OTHER` together.

    ``recent`` has the last of them, the latest at the end. ``deadline`` is in seconds; ``None``
    where there is none.
    """

    __slots__ = (
        "buckets",
        "containers",
        "counts",
        "deadline",
        "kinds",
        "recent",
        "seconds",
        "target",
    )

    def __init__(
        self, target: str, probes: Iterable[Declared], deadline: float | None = None
    ) -> None:
        probes = tuple(probes)
        self.target = target
        self.deadline = deadline
        self.kinds = ",".join(sorted({probe.kind.value for probe in probes}))
        self.containers = ",".join(sorted({probe.container for probe in probes}))
        self.counts: dict[TargetResult, int] = {}
        self.buckets = [0] * (len(LATENCY_BUCKETS) + 1)
        self.seconds = 0.0
        self.recent: deque[RecentResult] = deque(maxlen=RECENT_RESULTS)

    @property
    def has_succeeded(self) -> bool | None:
        """Whether the app passed the last probe; ``None`` where there is no telling.

        The last of many targets says nothing about any, a hook is no probe, and what an app says in
        TLS that is passed through the kubelet alone knows.
        """
        if self.target == OTHER or self.kinds in _HOOKS or not self.recent:
            return None
        last = self.recent[-1][1]
        return None if last is TargetResult.PASSED else last is TargetResult.SUCCESS


class _Known:
    """A target that has been asked: its tally, and what the log said of it last."""

    __slots__ = ("limit", "logged", "tally")

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.logged: TargetResult | None = None
        self.limit = RateLimit(TARGET_PER_SECOND, TARGET_BURST)


class Results:
    """All tallies, and the log lines that changes make."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._known: dict[Target, _Known] = {}
        self._tallies: dict[str, Tally] = {}
        self._other = _Known(Tally(OTHER, ()))

    def record(
        self, target: Target, result: TargetResult, seconds: float, reason: str = ""
    ) -> None:
        """Count one result. A change is logged, a repeated failure at ``debug`` only.

        ``seconds`` is how long it took from the request, ``reason`` what made it no success.

        A change that the log had no room for is one still when the next result comes: the log's
        last word on a target is true in the end.
        """
        known = self._known.get(target) or self._add(target)
        tally = known.tally
        tally.recent.append((time(), result, seconds, reason[:MAX_RECENT_REASON]))
        counts = tally.counts
        counts[result] = counts.get(result, 0) + 1
        tally.seconds += seconds
        tally.buckets[bisect_left(LATENCY_BUCKETS, seconds)] += 1
        if result is not known.logged:
            level = logging.INFO if result in GOOD else logging.WARNING
        elif result in GOOD:
            self._log.tell_left_out()
            return
        else:
            level = logging.DEBUG
        if self._log.limited(
            level,
            known.limit,
            "probe result",
            probes=[str(probe) for probe in target.probes],
            target=str(target),
            result=result.value,
            reason=reason,
            ms=round(seconds * 1000, 2),
        ):
            known.logged = result

    def tallies(self) -> list[Tally]:
        """Every tally there is."""
        other = self._other.tally
        tallies = [known.tally for known in self._known.values()]
        return [*dict.fromkeys(tallies), *([other] if other.counts else [])]

    def tally_of(self, target: Target) -> Tally:
        """The tally of a declared target; an empty one where it was not asked yet."""
        known = self._known.get(target)
        return _declared_tally(target) if known is None else known.tally

    def _add(self, target: Target) -> _Known:
        if target.probes:
            tally = _declared_tally(target)
        elif len(self._known) < MAX_UNDECLARED_TARGETS:
            # Nobody declared it: of what the caller said, the port alone becomes a label.
            scheme, _, _ = str(target).partition("://")
            label = f"{scheme}://:{target.port}"
            tally = self._tallies.setdefault(label, Tally(label, ()))
        else:
            return self._other
        known = self._known[target] = _Known(tally)
        return known


def _declared_tally(target: Target) -> Tally:
    return Tally(str(target), target.probes, target.deadline)
