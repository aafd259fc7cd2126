"""Callers' connections as plain non-blocking system calls.

The kubelet opens a connection for every probe, and most are over after one read and one write. An
event loop's own transport is made for more: registered, read and closed in a turn of the loop each,
it costs a check a sixth of its CPU. Here what can be done at once is.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Protocol

# A byte more than the longest head, which says that something follows it. More is no probe.
READ_BYTES = 8 * 1024 + 1
# What is written piece by piece is sent together, so much at most.
GATHERED_BYTES = 4 * 1024
# How long to wait where a connection cannot be accepted; those that are open will end.
_ACCEPT_RETRY_SECONDS = 0.1
_NOTHING = memoryview(b"")


class TransportUser(Protocol):
    """What is told of a connection, as asyncio's ``Protocol`` is."""

    def data_received(self, data: bytes) -> None:
        """Take what has come."""

    def eof_received(self) -> bool:
        """Take note that no more will come; whether to stay open for writing."""

    def connection_lost(self) -> None:
        """Take note, once, that the connection is no more."""

    def pause_writing(self) -> None:
        """Take note that the caller reads too slowly for what has been written."""

    def resume_writing(self) -> None:
        """Take note that it has read all of it."""


class Acceptor:
    """Takes the connections of one listening socket.

    ``begin`` is called with each, which does not block, and the caller's address.
    """

    def __init__(
        self,
        listening: socket.socket,
        begin: Callable[[socket.socket, str], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        listening.setblocking(False)
        self._listening = listening
        self._begin = begin
        self._loop = loop
        self._retry: asyncio.TimerHandle | None = None
        loop.add_reader(listening.fileno(), self._accept)

    async def finish(self, most: int) -> None:
        """Take those who have connected by now, ``most`` of them, and close.

        Closing alone would reset them, and they may be probes.
        """
        while most and self._listening.fileno() >= 0 and self._accept():
            most -= 1
            await asyncio.sleep(0)
        self.close()

    def close(self) -> None:
        """Take no more, and close the listening socket; those taken go on."""
        if self._retry is not None:
            self._retry.cancel()
        if self._listening.fileno() >= 0:
            self._loop.remove_reader(self._listening.fileno())
            self._listening.close()

    def _accept(self) -> bool:
        """Take one; false where there is none, or none can be taken now."""
        try:
            sock, peer = self._listening.accept()
        except (InterruptedError, ConnectionAbortedError):
            return True
        except BlockingIOError:
            return False
        except OSError:  # no more files, say; the loop would call again and again
            self._loop.remove_reader(self._listening.fileno())
            self._retry = self._loop.call_later(_ACCEPT_RETRY_SECONDS, self._go_on)
            return False
        sock.setblocking(False)
        self._begin(sock, peer[0])
        return True

    def _go_on(self) -> None:
        self._loop.add_reader(self._listening.fileno(), self._accept)


class SocketTransport:
    """One connection; it is not read before `resume_reading`.

    A call does at once what can be done at once, `TransportUser.connection_lost` included. What is
    gathered (see `write`) and what the caller has no room for goes first, in a later turn.
    """

    __slots__ = (
        "_closing",
        "_ending",
        "_fd",
        "_gathered",
        "_gathered_bytes",
        "_loop",
        "_reading",
        "_unsent",
        "_user",
        "_written",
        "sock",
    )

    def __init__(
        self,
        sock: socket.socket,
        user: TransportUser,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.sock = sock
        self._fd = sock.fileno()
        self._user: TransportUser | None = user
        self._loop = loop
        self._unsent = _NOTHING
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._reading = False
        self._written = False
        self._ending = False
        self._closing = False

    def is_closing(self) -> bool:
        """Whether it is closed, or will be once all has been sent."""
        return self._closing

    def unsent(self) -> int:
        """How many bytes wait for the caller to read."""
        return len(self._unsent) + self._gathered_bytes

    def write(self, data: bytes) -> None:
        """Send ``data``, now or when the caller has read what came before.

        The first at once. What follows it in the same turn of the event loop goes together: an app
        may send its body in pieces of a byte.
        """
        if self._user is None or self._closing or self._ending:
            return
        if not self._written:
            self._written = True
            self._send(memoryview(data))
            return
        if not self._gathered:
            self._loop.call_soon(self._send_gathered)
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        if self._gathered_bytes >= GATHERED_BYTES:
            self._send_gathered()

    def end(self) -> None:
        """Say that nothing more will be sent (FIN), once all has been, and go on reading."""
        self._send_gathered()
        self._ending = True
        if not self._unsent:
            self._shut_down()

    def close(self) -> None:
        """Read no more, send what is left, and close."""
        self._send_gathered()
        self._closing = True
        self.pause_reading()
        if not self._unsent:
            self.abort()

    def abort(self) -> None:
        """Close now, whatever is left to send."""
        user, self._user = self._user, None
        if user is None:
            return
        self._closing = True
        self._gathered.clear()
        self.pause_reading()
        if self._unsent:
            self._unsent = _NOTHING
            self._loop.remove_writer(self._fd)
        self.sock.close()
        user.connection_lost()

    def pause_reading(self) -> None:
        """Leave what comes to the kernel, which takes little."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        """Read what comes."""
        if not self._reading and not self._closing:
            self._reading = True
            self._loop.add_reader(self._fd, self._read)

    def receive(self, data: bytes) -> None:
        """Hand on what has been read."""
        if self._user is not None:
            try:
                self._user.data_received(data)
            except BaseException:
                self.abort()
                raise

    def _read(self) -> None:
        user = self._user
        if user is None:
            return
        try:
            data = self.sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.abort()
            return
        if data:
            self.receive(data)
        elif user.eof_received():
            self.pause_reading()
        else:
            self.close()

    def _send_gathered(self) -> None:
        if not self._gathered or self._user is None:
            return
        data = memoryview(b"".join(self._gathered))
        self._gathered.clear()
        self._gathered_bytes = 0
        if self._unsent:
            self._unsent = memoryview(b"".join((self._unsent, data)))
        else:
            # The kernel would keep a second write back until the caller has acknowledged the first.
            self._set_no_delay()
            self._send(data)

    def _send(self, data: memoryview) -> None:
        rest = self._sent(data)
        if rest is None or self._user is None:
            self.abort()
        elif rest:
            self._unsent = rest
            self._loop.add_writer(self._fd, self._writable)
            self._user.pause_writing()

    def _writable(self) -> None:
        rest = self._sent(self._unsent)
        user = self._user
        if rest is None or user is None:
            self.abort()
            return
        self._unsent = rest
        if rest:
            return
        self._loop.remove_writer(self._fd)
        user.resume_writing()
        if self._closing:
            self.abort()
        elif self._ending:
            self._shut_down()

    def _sent(self, data: memoryview) -> memoryview | None:
        """What the kernel leaves of ``data``; ``None`` where the caller has gone."""
        try:
            return data[self.sock.send(data) :]
        except (BlockingIOError, InterruptedError):
            return data
        except OSError:
            return None

    def _shut_down(self) -> None:
        with contextlib.suppress(OSError):  # the caller has gone: the next read says so
            self.sock.shutdown(socket.SHUT_WR)

    def _set_no_delay(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
