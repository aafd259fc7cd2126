"""Events, and how the kubelet and ``kubectl describe`` fold them.

The rules are those of client-go's ``tools/record/events_cache.go``: the same event again is
counted, many events that differ in their message alone become one, and after a burst most are not
sent to the API server at all.
"""

from dataclasses import dataclass, replace

from osm_healthcheck.kubelet.describe import age

_MAX_SIMILAR = 10
_SIMILAR_SECONDS = 600.0
_BURST = 25
_REFILL_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a container; ``kind`` is ``Normal`` or ``Warning``."""

    kind: str
    reason: str
    message: str
    container: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event as it stands in the list after it happened ``count`` times, from first to last.

    ``sent`` is whether the kubelet would have told the API server of this last time.
    """

    event: Event
    count: int
    first: float
    last: float
    sent: bool = True

    def repetition(self, now: float) -> str:
        """``(x3 over 20s)`` as ``kubectl describe`` prints it, nothing for a single event."""
        return f"(x{self.count} over {age(now - self.first)})" if self.count > 1 else ""


class Recorder:
    """The events of one pod. ``list`` has each one once, in the order of their last time."""

    def __init__(self) -> None:
        self._recorded: dict[Event, Recorded] = {}
        self._similar: dict[tuple[str, str], tuple[set[str], float]] = {}
        self._tokens: dict[str, tuple[float, float]] = {}

    @property
    def list(self) -> list[Recorded]:
        """What ``kubectl describe`` would list."""
        return sorted(self._recorded.values(), key=lambda recorded: recorded.last)

    def record(self, event: Event, now: float) -> Recorded:
        """Note that ``event`` happened at ``now`` (seconds of the caller's clock)."""
        shown = key = event
        if self._is_one_of_many(event, now):
            shown = replace(event, message=f"(combined from similar events): {event.message}")
            key = replace(event, message="", container="")
        before = self._recorded.get(key)
        recorded = Recorded(
            shown,
            before.count + 1 if before else 1,
            before.first if before else now,
            now,
            self._is_sent(event.kind, now),
        )
        self._recorded[key] = recorded
        return recorded

    def _is_one_of_many(self, event: Event, now: float) -> bool:
        messages, last = self._similar.get((event.kind, event.reason), (set(), now))
        if now - last > _SIMILAR_SECONDS:
            messages = set()
        messages.add(event.message)
        self._similar[event.kind, event.reason] = (messages, now)
        if len(messages) < _MAX_SIMILAR:
            return False
        messages.pop()
        return True

    def _is_sent(self, kind: str, now: float) -> bool:
        tokens, last = self._tokens.get(kind, (float(_BURST), now))
        tokens = min(float(_BURST), tokens + (now - last) / _REFILL_SECONDS)
        sent = tokens >= 1
        self._tokens[kind] = (tokens - 1 if sent else tokens, now)
        return sent
