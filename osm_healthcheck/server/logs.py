"""One line for each event, in the form of OSM's logs: level, time, component, message.

``structlog`` renders; this file only says in what order and under which names.
"""

import sys
from asyncio import AbstractEventLoop
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

from osm_healthcheck.server.log_writer import LogWriter

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


class Log:
    """The log of the process.

    Args:
        logger: structlog's; untyped because structlog makes its class when asked for it.
        writer: what writes its lines, for the count of those that were lost.
    """

    def __init__(self, logger: Any, writer: LogWriter | None = None) -> None:
        self._logger = logger
        self._writer = writer

    @property
    def lines_lost(self) -> int:
        """How many lines could not be written."""
        return self._writer.lost if self._writer else 0

    def debug(self, message: str, **fields: object) -> None:
        """Write a line that is of use to who looks for a mistake."""
        self._logger.debug(message, **fields)

    def info(self, message: str, **fields: object) -> None:
        """Write a line about what goes as it should."""
        self._logger.info(message, **fields)

    def warning(self, message: str, **fields: object) -> None:
        """Write a line about what somebody may have to change."""
        self._logger.warning(message, **fields)

    def error(self, message: str, exc_info: BaseException | None = None) -> None:
        """Write a line about a mistake of this program, with where it happened."""
        self._logger.error(message, exc_info=exc_info)

    def asyncio_error(self, _loop: AbstractEventLoop, context: dict[str, Any]) -> None:
        """Write what an event loop calls its exception handler with."""
        self.error(context["message"], context.get("exception"))


def make_log(verbosity: str, log_format: str) -> tuple[Log, LogWriter]:
    """The log of the process, and what writes it to standard error.

    Args:
        verbosity: one of OSM's levels.
        log_format: ``json`` or ``console``.

    It is made without structlog's global configuration, whose defaults load the renderer for
    consoles and all that belongs to it.
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
    context = {"component": COMPONENT}
    everything: Any = structlog.make_filtering_bound_logger(0)
    rendered = everything(structlog.ReturnLogger(), processors, context)

    def notice(lines: int) -> str:
        return f"{rendered.warning('log lines lost', lines=lines)}\n"

    writer = LogWriter(sys.stderr.fileno(), notice)
    if verbosity == "disabled":
        processors = [_drop]
    filtering: Any = structlog.make_filtering_bound_logger(_NUMBERS.get(verbosity, 50))
    logger = filtering(structlog.WriteLogger(writer), processors, context)  # type: ignore[arg-type]
    return Log(logger, writer), writer


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
