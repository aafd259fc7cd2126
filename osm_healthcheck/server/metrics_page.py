"""``/metrics`` for any number of scrapes: one page a second, which all its readers share.

A scrape is nobody's probe. It may be slow or never read: what it holds is a place among a few
readers, one page at most, and what the kernel has taken for it.
"""

import asyncio

from osm_healthcheck.server.connection_limiter import ConnectionLimiter
from osm_healthcheck.server.logs import Log
from osm_healthcheck.server.reply import Caller
from osm_healthcheck.server.results import Results

# Prometheus' own scrape_timeout.
READ_SECONDS = 10.0
# Beyond so many the one that has read for longest is broken off.
MAX_READERS = 16
PAGE_SECONDS = 1.0
_PIECE_BYTES = 8 * 1024


class MetricsPage:
    """Renders the page when it is asked for, and streams it."""

    def __init__(
        self,
        results: Results,
        limiter: ConnectionLimiter,
        log: Log,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._results = results
        self._limiter = limiter
        self._log = log
        self._loop = loop
        self._page = b""
        self._fresh_until = 0.0
        self._readers: dict[Caller, None] = {}

    async def answer(self, connection: Caller) -> None:
        """Send the page on ``connection``; it is broken off after `READ_SECONDS`."""
        if len(self._readers) >= MAX_READERS:
            oldest = next(iter(self._readers))
            del self._readers[oldest]
            oldest.expire()
        self._readers[connection] = None
        try:
            async with asyncio.timeout(READ_SECONDS):
                await self._send(connection)
        except TimeoutError:
            connection.expire()
        finally:
            self._readers.pop(connection, None)

    async def _send(self, connection: Caller) -> None:
        from osm_healthcheck.server.metrics import CONTENT_TYPE

        page = self._current()
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: {CONTENT_TYPE}\r\n"
            f"Content-Length: {len(page)}\r\nConnection: close\r\n\r\n"
        )
        await connection.write(head.encode())
        if not connection.head_only:
            for start in range(0, len(page), _PIECE_BYTES):
                await connection.write(page[start : start + _PIECE_BYTES])
        connection.close()

    def _current(self) -> bytes:
        from osm_healthcheck.server.metrics import render

        now = self._loop.time()
        if now >= self._fresh_until:
            self._page = render(
                self._results.tallies(),
                connections=len(self._limiter),
                connections_refused=self._limiter.refused,
                lines_lost=self._log.lines_lost,
                lines_left_out=self._log.lines_left_out,
            )
            self._fresh_until = now + PAGE_SECONDS
        return self._page
