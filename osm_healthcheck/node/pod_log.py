"""The process's log, with the name of the pod in each line."""

from osm_healthcheck.server.logs import Log
from osm_healthcheck.server.rate_limit import RateLimit


class PodLog(Log):
    """Writes to ``log`` about the pod ``name``; the limits of the whole are those of ``log``."""

    def __init__(self, log: Log, name: str) -> None:
        self._whole = log
        self._name = name

    @property
    def lines_lost(self) -> int:
        """See `Log`."""
        return self._whole.lines_lost

    @property
    def lines_left_out(self) -> int:
        """See `Log`."""
        return self._whole.lines_left_out

    def info(self, message: str, **fields: object) -> None:
        """See `Log`."""
        self._whole.info(message, pod=self._name, **fields)

    def warning(self, message: str, **fields: object) -> None:
        """See `Log`."""
        self._whole.warning(message, pod=self._name, **fields)

    def error(self, message: str, exc_info: BaseException | None = None) -> None:
        """See `Log`."""
        self._whole.error(f"{message} (pod {self._name})", exc_info)

    def limited(self, level: int, limit: RateLimit, message: str, **fields: object) -> bool:
        """See `Log`."""
        return self._whole.limited(level, limit, message, pod=self._name, **fields)

    def tell_left_out(self) -> None:
        """See `Log`."""
        self._whole.tell_left_out()
