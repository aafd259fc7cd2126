"""A page about this process itself, for any number of readers: rendered once a second for all.

Its readers are nobody's probes. They may be slow or never read: what one holds is a place among a
few readers, one page at most, and what the kernel has taken for it.
"""

import asyncio
from collections.abc import Awaitable, Callable

from osm_healthcheck.server.reply import Caller, Reply

# Prometheus' own scrape_timeout.
READ_SECONDS = 10.0
# Beyond so many the one that has read for longest is broken off.
MAX_READERS = 16
PAGE_SECONDS = 1.0
_PIECE_BYTES = 8 * 1024


class Page:
    """Renders a page when it is asked for, and streams it.

    Args:
        render: what the page is at this moment: its headers, each with its line end, and its body.
            A long one gives others their turn while it is made.
        loop: the event loop that serves it.
    """

    def __init__(
        self, render: Callable[[], Awaitable[tuple[bytes, bytes]]], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._render = render
        self._loop = loop
        self._rendered = (b"", b"")
        self._rendering: asyncio.Task[None] | None = None
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
        headers, body = await self._current()
        await connection.write(
            b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n"
            % (headers, len(body))
        )
        if not connection.head_only:
            for start in range(0, len(body), _PIECE_BYTES):
                await connection.write(body[start : start + _PIECE_BYTES])
        connection.close()

    async def _current(self) -> tuple[bytes, bytes]:
        """The page; one that is being made goes on for the others where its reader leaves."""
        if self._rendering is None and self._loop.time() >= self._fresh_until:
            self._rendering = self._loop.create_task(self._renew())
        if self._rendering is not None:
            await asyncio.shield(self._rendering)
        return self._rendered

    async def _renew(self) -> None:
        try:
            self._rendered = await self._render()
            self._fresh_until = self._loop.time() + PAGE_SECONDS
        finally:
            self._rendering = None


class PageReply:
    """A page that was asked for; see `Reply`."""

    lasting = False
    held_bytes = 0

    def __init__(self, page: Page, *, head_only: bool) -> None:
        self._page = page
        self.head_only = head_only

    def answer(self, connection: Caller) -> None:
        """See `Reply`."""
        connection.start(self._page.answer(connection))


class LoopbackReply:
    """``inside`` for callers on loopback, ``outside`` for all others; see `Reply`."""

    lasting = False
    held_bytes = 0

    def __init__(self, inside: Reply, outside: Reply) -> None:
        self._inside = inside
        self._outside = outside
        self.head_only = inside.head_only

    def answer(self, connection: Caller) -> None:
        """See `Reply`."""
        reply = self._inside if connection.is_from_loopback else self._outside
        reply.answer(connection)
