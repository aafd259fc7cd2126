"""One line for each event, in the form of OSM's logs: level, time, component, message.

``structlog`` renders; this file only says in what order and under which names.
"""

import logging
import sys
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import structlog

from osm_healthcheck.server.log_writer import LogWriter
from osm_healthcheck.server.rate_limit import RateLimit

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
# A pod's probes all have their first result in the same second.
ALL_PER_SECOND, ALL_BURST = 3, 60
TARGET_PER_SECOND, TARGET_BURST = 1, 5
NOTICES_PER_SECOND = 1
MAX_TEXT = 512

_NAMES = {"warning": "warn", "critical": "fatal", "exception": "error"}


class Log:
    """The log of the process. What callers and apps can cause is limited in number and length.

    Args:
        logger: structlog's; untyped because structlog makes its class when asked for it.
        writer: what writes its lines, for the count of those that were lost.
        clock: seconds, for the limits.
    """

    def __init__(
        self,
        logger: Any,
        writer: LogWriter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._writer = writer
        self._clock = clock
        self._all = RateLimit(ALL_PER_SECOND, ALL_BURST)
        self._errors = RateLimit(TARGET_PER_SECOND, TARGET_BURST)
        self._notices = RateLimit(NOTICES_PER_SECOND, 1)
        self._untold = 0
        self._left_out = 0

    @property
    def lines_lost(self) -> int:
        """How many lines could not be written."""
        return self._writer.lost if self._writer else 0

    @property
    def lines_left_out(self) -> int:
        """How many lines were past a limit on their number."""
        return self._left_out

    def info(self, message: str, **fields: object) -> None:
        """Write a line about the life of the process that is as it should be."""
        self._logger.info(message, **fields)

    def warning(self, message: str, **fields: object) -> None:
        """Write a line about the life of the process that somebody may have to change."""
        self._logger.warning(message, **fields)

    def error(self, message: str, exc_info: BaseException | None = None) -> None:
        """Write a line about a mistake of this program, with where it happened."""
        self.limited(logging.ERROR, self._errors, message, exc_info=exc_info)

    def asyncio_error(self, _loop: AbstractEventLoop, context: dict[str, Any]) -> None:
        """Write what an event loop calls its exception handler with."""
        self.error(context["message"], context.get("exception"))

    def limited(self, level: int, limit: RateLimit, message: str, **fields: object) -> bool:
        """Write a line within ``limit`` and that of all lines; texts are cut to `MAX_TEXT`.

        Args:
            level: a number of ``logging``.
            limit: that of what the line is about.
            message: what happened.
            fields: what else the line says.

        Returns:
            Whether no limit kept the line out.
        """
        if not self._logger.is_enabled_for(level):
            return True
        self.tell_left_out()
        now = self._clock()
        if not (limit.allows(now) and self._all.allows(now)):
            self._untold += 1
            self._left_out += 1
            return False
        limit.count()
        self._all.count()
        self._logger.log(level, message, **{name: _cut(value) for name, value in fields.items()})
        return True

    def tell_left_out(self) -> None:
        """Write how many lines were left out since that was last said, once a second at most."""
        if self._untold and self._notices.allows(self._clock()):
            self._notices.count()
            shown = self._logger.is_enabled_for(logging.WARNING)
            level = logging.WARNING if shown else logging.ERROR
            self._logger.log(level, "log lines left out", lines=self._untold)
            self._untold = 0


def make_log(verbosity: str, log_format: str, component: str = COMPONENT) -> tuple[Log, LogWriter]:
    """The log of the process, and what writes it to standard error.

    Args:
        verbosity: one of OSM's levels.
        log_format: ``json`` or ``console``.
        component: what every line names as its source.

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
    context = {"component": component}

    def notice(lines: int) -> str:
        everything: Any = structlog.make_filtering_bound_logger(0)
        rendered = everything(structlog.ReturnLogger(), processors, context)
        return f"{rendered.warning('log lines lost', lines=lines)}\n"

    writer = LogWriter(sys.stderr.fileno(), notice)
    filtering: Any = structlog.make_filtering_bound_logger(_NUMBERS.get(verbosity, 50))
    logger = filtering(
        structlog.WriteLogger(writer),  # type: ignore[arg-type]
        [_drop] if verbosity == "disabled" else processors,
        context,
    )
    return Log(logger, writer), writer


def _cut(value: object) -> object:
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return value[: MAX_TEXT - 1] + "…"
    return value


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
