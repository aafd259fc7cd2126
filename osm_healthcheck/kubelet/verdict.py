"""What comes out of one attempt at a probe: ``probe.Result`` with its output or error."""

from dataclasses import dataclass
from enum import StrEnum


class Result(StrEnum):
    """A handler's result (``pkg/probe/probe.go``); a worker knows no ``WARNING``."""

    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a handler makes of an app.

    ``output`` is the text of the event; ``error`` is set where the handler could not come to a
    verdict, and then ``result`` does not count: the worker throws it away.
    """

    result: Result
    output: str = ""
    error: str | None = None


def go_duration(seconds: float) -> str:
    """``seconds`` as Go's ``time.Duration`` prints itself: ``1s``, ``1m30s``, ``1h0m0s``."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:g}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text
