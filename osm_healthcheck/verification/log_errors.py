"""The lines of a log that report errors: JSON with a level, as OSM's logs and ours are."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# zerolog's levels from error upwards
_SERIOUS = ("error", "fatal", "panic")
_OTHERS = ("level", "time", "component", "message", "file")


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line, by its number in the log, and the fields in it."""

    number: int
    fields: dict[str, Any]

    def __str__(self) -> str:
        """Its time, component and message, and what else it says."""
        named = [str(self.fields[name]) for name in ("time", "component") if name in self.fields]
        more = [f"{key}={value}" for key, value in self.fields.items() if key not in _OTHERS]
        message = str(self.fields.get("message", ""))
        return " ".join([*named, f"{self.fields['level']}:", message, *more])


@dataclass(frozen=True, slots=True)
class Log:
    """A log that was read: how many lines it has, how many of them have a level."""

    errors: list[LogLine]
    lines: int
    levelled: int


def read_log(lines: Iterable[str]) -> Log:
    """The lines of level error, fatal or panic; what stands before the JSON is kubectl's."""
    errors = []
    number = levelled = 0
    for number, line in enumerate(lines, 1):
        fields = _fields_of(line)
        if fields is None:
            continue
        levelled += 1
        if str(fields["level"]).lower() in _SERIOUS:
            errors.append(LogLine(number, fields))
    return Log(errors, number, levelled)


def _fields_of(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line[line.index("{") :])
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and "level" in value else None
