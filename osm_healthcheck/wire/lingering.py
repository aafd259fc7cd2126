"""Connections to apps that are over for us, and are ended so that no app sees a reset.

Closing a socket with unread data resets the connection, and apps log resets. What an app still
sends after we have lost interest is read and thrown away until it closes its side.
"""

import asyncio
import os
import socket

# After so long an app that does not close is reset after all.
LINGER_SECONDS = 1.0
_READ_BYTES = 8 * 1024


class LingeringSockets:
    """The sockets that wait for their apps to hang up.

    Whoever makes connections owns one of these. At most ``limit`` sockets wait at once: the oldest
    is cut short. Where the owner and the event loop are gone, so are the sockets.
    """

    def __init__(self, limit: int = 1024) -> None:
        self._limit = limit
        self._sockets: dict[_LingeringSocket, None] = {}

    def __len__(self) -> int:
        return len(self._sockets)

    def add(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        """Take ``sock`` over, whose own side has been ended (FIN), and close it in time."""
        self._sockets[_LingeringSocket(self._sockets, sock, loop)] = None
        if len(self._sockets) > self._limit:
            next(iter(self._sockets)).close()

    async def settle(self) -> None:
        """Wait until all of them have ended, `LINGER_SECONDS` at most."""
        while self._sockets:
            await next(iter(self._sockets)).closed()

    def close(self) -> None:
        """End all of them at once."""
        for sock in list(self._sockets):
            sock.close()


class _LingeringSocket:
    """Reads a socket empty until the app closes it, or `LINGER_SECONDS` have passed."""

    __slots__ = ("_all", "_closed", "_fd", "_loop", "_timer")

    def __init__(
        self,
        everyone: "dict[_LingeringSocket, None]",
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._all = everyone
        self._fd = sock.detach()
        self._loop = loop
        self._closed: asyncio.Future[None] | None = None
        self._timer = loop.call_later(LINGER_SECONDS, self.close)
        loop.add_reader(self._fd, self._read)

    def __del__(self) -> None:
        if self._fd >= 0:  # the loop ended first
            os.close(self._fd)

    async def closed(self) -> None:
        self._closed = self._closed or self._loop.create_future()
        await self._closed

    def close(self) -> None:
        self._all.pop(self, None)
        self._timer.cancel()
        self._loop.remove_reader(self._fd)
        fd, self._fd = self._fd, -1
        os.close(fd)
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    def _read(self) -> None:
        try:
            if os.read(self._fd, _READ_BYTES):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self.close()
