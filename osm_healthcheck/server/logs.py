"""One line for each event, in the form of OSM's logs: level, time, component, message.

``structlog`` renders; this file only says in what order and under which names.
"""

import contextlib
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

COMPONENT = "osm-healthcheck"
# zerolog's levels against the numbers of ``logging``, by which structlog filters
_NUMBERS = {
    "trace": 10,
    "debug": 10,
    "info": 20,
    "warn": 30,
    "error": 40,
    "fatal": 50,
    "panic": 50,
}
_NAMES = {"warning": "warn", "critical": "fatal", "exception": "error"}


class _Stderr:
    """Standard error, which may be gone while there are still probes to answer."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def make_logger(verbosity: str, log_format: str) -> Any:
    """The logger of the sidecar, which has a method for each level.

    Args:
        verbosity: one of OSM's levels.
        log_format: ``json`` or ``console``.

    It is made without structlog's global configuration, whose defaults load the renderer for
    consoles and all that belongs to it. It is untyped because structlog makes its class here.
    """
    processors: list[Any] = [structlog.processors.format_exc_info]
    if log_format == "json":
        processors += [
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _in_order,
            structlog.processors.JSONRenderer(default=str),
        ]
    else:
        processors = [
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ]
    if verbosity == "disabled":
        processors = [_drop]
    logger_class: Any = structlog.make_filtering_bound_logger(_NUMBERS.get(verbosity, 50))
    stderr = structlog.WriteLogger(_Stderr())  # type: ignore[arg-type]
    return logger_class(stderr, processors, {"component": COMPONENT})


def _drop(_logger: object, _method: str, _event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    raise structlog.DropEvent


def _in_order(_logger: object, method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    return {
        "level": _NAMES.get(method, method),
        "time": event.pop("time"),
        "component": event.pop("component", COMPONENT),
        "message": event.pop("event"),
        **event,
    }
