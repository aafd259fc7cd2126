"""The connections that are open, and who has to leave when there are too many.

The rule that keeps the kubelet served: a connection that has not sent a whole request is worth
less than a new one. At the cap the oldest of them makes room. Where they are few, nearly all
callers have asked and do not take their answers, and the few may be the kubelet's, just come: then
the oldest of all makes room. The kubelet's own are answered long before a cap of others has come.
"""

import asyncio
import resource
from typing import Protocol

from osm_healthcheck.core.errors import OSMHealthcheckError

MAX_CONNECTIONS = 1024
# Descriptors for all that is not a probe: logs, listeners, the event loop.
_RESERVED_FILES = 64
# A connection may hold one to the app, and one more that is being given back.
_FILES_PER_CONNECTION = 3
_SWEEP_SECONDS = 0.5
# Of the cap, those that may wait to be read when others make room instead.
_FEW = 1 / 8


class Member(Protocol):
    """A connection in the crowd. ``expires`` is a time of the loop."""

    expires: float

    def expire(self) -> None:
        """End at once, as too slow or in the way."""


class TooFewFilesError(OSMHealthcheckError):
    """``RLIMIT_NOFILE`` leaves nothing for connections."""

    def __init__(self, files: int) -> None:
        least = _RESERVED_FILES + _FILES_PER_CONNECTION
        super().__init__(f"{files} open files are too few: let it have {least} (ulimit -n) or more")


def connection_cap() -> int:
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


class Crowd:
    """All open connections, in the order in which they came."""

    def __init__(self, loop: asyncio.AbstractEventLoop, cap: int) -> None:
        self._loop = loop
        self._cap = cap
        self._all: dict[Member, None] = {}
        self._waiting: dict[Member, None] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._gone: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._all)

    def join(self, member: Member) -> None:
        """Take in a new connection, which has not sent its request.

        Where the cap is reached, the oldest without a whole request ends, or, where there are few
        of these, the oldest of all.
        """
        self._all[member] = None
        self._waiting[member] = None
        if len(self._all) > self._cap:
            few = len(self._waiting) <= self._cap * _FEW
            oldest = next(iter(self._all if few else self._waiting))
            self.leave(oldest)
            oldest.expire()
        if self._sweep is None:
            self._sweep = self._loop.call_later(_SWEEP_SECONDS, self._expire)

    def asked(self, member: Member) -> None:
        """Note that ``member`` has sent its request: it no longer makes room for others."""
        self._waiting.pop(member, None)

    def leave(self, member: Member) -> None:
        """Forget a connection that has ended."""
        self._waiting.pop(member, None)
        self._all.pop(member, None)
        if self._gone is not None and not self._all and not self._gone.done():
            self._gone.set_result(None)

    async def disperse(self) -> None:
        """End every connection that waits for nothing, and wait until the others are done."""
        for member in list(self._waiting):
            self.leave(member)
            member.expire()
        if self._all:
            self._gone = self._loop.create_future()
            await self._gone
        if self._sweep is not None:
            self._sweep.cancel()

    def _expire(self) -> None:
        now = self._loop.time()
        for member in [member for member in self._all if member.expires <= now]:
            self.leave(member)
            member.expire()
        self._sweep = None
        if self._all:
            self._sweep = self._loop.call_later(_SWEEP_SECONDS, self._expire)
