"""A TCP connection to an app as plain non-blocking system calls.

A transport would cost three times as much for the handful of calls that a probe makes, and would
read ahead of us: here nothing is read before somebody wants it, which is all the back-pressure
there is to have.
"""

import asyncio
import contextlib
import socket
from typing import Protocol

from osm_healthcheck.wire.errors import BrokenOffError, authority
from osm_healthcheck.wire.lingering import LingeringSockets

# A piece waits in memory while its reader is slow: a thousand of them have to fit.
CHUNK_BYTES = 8 * 1024
# An app that sends faster than it is read never makes a reader wait: after so much of it the others
# get their turn. However little comes at a time, it counts for a sixty-fourth of that.
TURN_BYTES = 64 * 1024
_MIN_COUNTED_BYTES = TURN_BYTES // 64


class ByteStream(Protocol):
    """What an HTTP exchange needs of a connection; TLS has one of its own."""

    async def receive(self) -> bytes:
        """Return up to ``CHUNK_BYTES``, or ``b""`` at the end; ``BrokenOffError`` on a reset."""

    async def send(self, data: bytes) -> None:
        """Send all of ``data``; ``BrokenOffError`` where the app is gone."""

    def close(self) -> None:
        """End a connection on which all has been said."""

    def abandon(self) -> None:
        """End a connection on which the app may still be talking, with FIN all the same."""


class Stream:
    """A connected socket. It belongs to this object, which closes it.

    ``peer`` (address, port) is for error messages: a connection that was reset has forgotten it.
    ``lingering`` gets the socket where it is abandoned.
    """

    __slots__ = ("_asked", "_fd", "_lingering", "_loop", "_peer", "_turn", "sock")

    def __init__(
        self,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
        peer: tuple[str, int],
        lingering: LingeringSockets,
    ) -> None:
        self.sock = sock
        self._loop = loop
        self._lingering = lingering
        self._peer = peer
        self._fd = sock.fileno()
        self._asked = False
        self._turn = 0

    @property
    def peer(self) -> tuple[str, int]:
        """The address and port that took the connection."""
        return self._peer

    async def receive(self) -> bytes:
        """See `ByteStream`."""
        if self._asked:  # nobody answers so soon that a look could pay off
            self._asked = False
            await self._readable()
        while True:
            try:
                data = self.sock.recv(CHUNK_BYTES)
            except (BlockingIOError, InterruptedError):
                self._turn = 0
                await self._readable()
            except OSError as error:
                raise self._broken("read", error) from None
            else:
                self._turn += max(len(data), _MIN_COUNTED_BYTES)
                if self._turn > TURN_BYTES:
                    self._turn = 0
                    await asyncio.sleep(0)
                return data

    async def send(self, data: bytes) -> None:
        """See `ByteStream`."""
        while data := self.try_to_send(data):
            await wait_writable(self.sock)

    def try_to_send(self, data: bytes) -> bytes:
        """Send what can be sent without waiting; what is left of it.

        Raises:
            BrokenOffError: where it cannot be sent at all.
        """
        self._asked = True
        while data:
            try:
                data = data[self.sock.send(data) :]
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                raise self._broken("write", error) from None
        return data

    def send_now(self, data: bytes) -> None:
        """Send what can be sent without waiting: a farewell is not worth more."""
        with contextlib.suppress(OSError):
            self.sock.send(data)

    def end(self) -> None:
        """Say that nothing more will be sent (FIN), and go on reading."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """See `ByteStream`."""
        self.sock.close()

    def abandon(self) -> None:
        """See `ByteStream`."""
        self.end()
        self._lingering.add(self.sock, self._loop)

    def _broken(self, call: str, error: OSError) -> BrokenOffError:
        """The error of a failed system call, in the words of Go's ``net.OpError``."""
        own = authority(*self.sock.getsockname()[:2])
        reason = (error.strerror or str(error)).lower()
        return BrokenOffError(f"{call} tcp {own}->{authority(*self._peer)}: {call}: {reason}")

    async def _readable(self) -> None:
        waiter = self._loop.create_future()
        self._loop.add_reader(self._fd, _wake, waiter)
        try:
            await waiter
        finally:
            self._loop.remove_reader(self._fd)


async def wait_writable(sock: socket.socket) -> None:
    """Wait until ``sock`` can be written to, or has failed to connect."""
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()
    fd = sock.fileno()
    loop.add_writer(fd, _wake, waiter)
    try:
        await waiter
    finally:
        loop.remove_writer(fd)


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
