"""The connections that are open, and which one is closed when there are too many.

A connection that has not sent a whole request is worth less than a new one: at the limit the oldest
of those is closed. Where they are few, nearly all callers have sent a request and do not read the
answer, and the few may be the kubelet's, opened just now: then the oldest of all is closed. The
kubelet's own are answered long before a whole limit of others has come.
"""

import asyncio
import contextlib
import resource
from typing import Protocol

from osm_healthcheck.errors import OSMHealthcheckError

MAX_CONNECTIONS = 1024
# Of those whose caller, or app, does not read: each holds buffers here and in the kernel.
MAX_UNREAD = 128
# Descriptors for all that is not a probe: logs, listeners, the event loop.
_RESERVED_FILES = 64
# A connection may hold one to the app, and one more that is being given back.
_FILES_PER_CONNECTION = 3
_CLOSE_EXPIRED_SECONDS = 0.5
# How long the end waits for requests of callers that have connected.
REQUEST_SECONDS = 0.5
# Up to this share of the limit, connections without a request are few.
_FEW = 1 / 8


class LimitedConnection(Protocol):
    """What `ConnectionLimiter` asks of a connection. ``expires`` is a time of the loop."""

    expires: float

    def expire(self) -> None:
        """End at once: the time is up, or the room is needed."""


class TooFewFilesError(OSMHealthcheckError):
    """``RLIMIT_NOFILE`` leaves nothing for connections."""

    def __init__(self, files: int) -> None:
        least = _RESERVED_FILES + _FILES_PER_CONNECTION
        super().__init__(f"{files} open files are too few: let it have {least} (ulimit -n) or more")


def connection_limit() -> int:
    """How many connections are held at once: `MAX_CONNECTIONS`, less where files are scarce.

    Raises:
        TooFewFilesError: where they are too scarce for one.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    if files < _RESERVED_FILES + _FILES_PER_CONNECTION:
        raise TooFewFilesError(files)
    return min(MAX_CONNECTIONS, (files - _RESERVED_FILES) // _FILES_PER_CONNECTION)


class SharedLimit:
    """What the limiters of several pods hold together: the one that holds most makes room.

    So a pod whose callers are too many costs its own probes first.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._count = 0
        self._limiters: dict[ConnectionLimiter, None] = {}

    def __len__(self) -> int:
        return self._count

    def added(self, limiter: "ConnectionLimiter") -> None:
        """Count a connection that ``limiter`` has taken in."""
        self._limiters[limiter] = None
        self._count += 1
        if self._count > self.limit:
            max(self._limiters, key=len).make_room()

    def removed(self, limiter: "ConnectionLimiter") -> None:
        """Count a connection of ``limiter`` no more."""
        self._count -= 1
        if not len(limiter):
            self._limiters.pop(limiter, None)


class ConnectionLimiter:
    """All open connections, in the order in which they came.

    ``refused`` is how many were ended to make room for others. ``shared`` bounds what this one and
    others hold together.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limit: int, shared: SharedLimit | None = None
    ) -> None:
        self._loop = loop
        self._limit = limit
        self._shared = shared
        self.refused = 0
        self._all: dict[LimitedConnection, None] = {}
        self._waiting: dict[LimitedConnection, None] = {}
        self._unread: dict[LimitedConnection, int] = {}  # of its two sides
        self._timer: asyncio.TimerHandle | None = None
        self._gone: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._all)

    def asked(self) -> int:
        """How many have sent their request, and have not ended."""
        return len(self._all) - len(self._waiting)

    def add(self, connection: LimitedConnection) -> None:
        """Take in a new connection, which has not sent its request.

        Where the limit is reached, the oldest without a whole request ends, or, where there are few
        of these, the oldest of all.
        """
        self._all[connection] = None
        self._waiting[connection] = None
        if len(self._all) > self._limit:
            self.make_room()
        if self._shared is not None:
            self._shared.added(self)
        if self._timer is None:
            self._timer = self._loop.call_later(_CLOSE_EXPIRED_SECONDS, self._close_expired)

    def make_room(self) -> None:
        """End one connection; see `add`."""
        few = len(self._waiting) <= max(1, len(self._all) * _FEW)
        self._refuse(next(iter(self._all if few else self._waiting)))

    def paused(self, connection: LimitedConnection) -> "asyncio.Future[None]":
        """Note that a side of ``connection`` does not read, until what is returned is done.

        Of more than `MAX_UNREAD` the one that has stood still for longest ends.
        """
        read: asyncio.Future[None] = self._loop.create_future()
        read.add_done_callback(lambda _: self._resumed(connection))
        self._unread[connection] = self._unread.get(connection, 0) + 1
        if len(self._unread) > MAX_UNREAD:
            self._refuse(next(iter(self._unread)))
        return read

    def _resumed(self, connection: LimitedConnection) -> None:
        sides = self._unread.get(connection, 0) - 1
        if sides > 0:
            self._unread[connection] = sides
        else:
            self._unread.pop(connection, None)

    def _refuse(self, connection: LimitedConnection) -> None:
        self.remove(connection)
        connection.expire()
        self.refused += 1

    def request_received(self, connection: LimitedConnection) -> None:
        """Note that ``connection`` has sent its request: it no longer makes room for others."""
        self._waiting.pop(connection, None)

    def answered(self, connection: LimitedConnection) -> None:
        """Note that ``connection``, which goes on, waits for its next request."""
        if connection in self._all:
            self._waiting[connection] = None

    def remove(self, connection: LimitedConnection) -> None:
        """Forget a connection that has ended."""
        self._waiting.pop(connection, None)
        self._unread.pop(connection, None)
        if connection in self._all:
            del self._all[connection]
            if self._shared is not None:
                self._shared.removed(self)
        if self._gone is not None and not self._all and not self._gone.done():
            self._gone.set_result(None)

    async def finish(self, seconds: float) -> None:
        """End every connection without a request at once, and each other one when it is done.

        One that was accepted just now may be a probe whose request is on its way: they have
        `REQUEST_SECONDS` for it. What is not done after ``seconds`` is broken off.
        """
        end = self._loop.time() + seconds
        if self._waiting:
            await self._all_gone(min(REQUEST_SECONDS, seconds))
        for connection in list(self._waiting):
            self.remove(connection)
            connection.expire()
        if self._all:
            await self._all_gone(end - self._loop.time())
        self.close_all()

    async def _all_gone(self, seconds: float) -> None:
        """Wait until all have ended, so long at most."""
        self._gone = self._loop.create_future()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._gone

    def close_all(self) -> None:
        """End every connection at once."""
        for connection in list(self._all):
            self.remove(connection)
            connection.expire()
        if self._timer is not None:
            self._timer.cancel()

    def _close_expired(self) -> None:
        now = self._loop.time()
        for connection in [connection for connection in self._all if connection.expires <= now]:
            self.remove(connection)
            connection.expire()
        self._timer = None
        if self._all:
            self._timer = self._loop.call_later(_CLOSE_EXPIRED_SECONDS, self._close_expired)
