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

# As long as the longest head: more than that is no probe.
READ_BYTES = 8 * 1024
# How long to wait where a connection cannot be accepted; those that are open will end.
_ACCEPT_RETRY_SECONDS = 0.1
_NOTHING = memoryview(b"")


class TransportUser(Protocol):
    """What is told of a connection, as asyncio's ``Protocol`` is."""

    def connection_made(self, transport: "SocketTransport") -> None:
        """Take the connection; it is read from now on."""

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
    """Takes the connections of one listening socket, and reads each at once."""

    def __init__(
        self,
        listening: socket.socket,
        make_user: Callable[[], TransportUser],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        listening.setblocking(False)
        self._listening = listening
        self._make_user = make_user
        self._loop = loop
        self._retry: asyncio.TimerHandle | None = None
        loop.add_reader(listening.fileno(), self._accept)

    def close(self) -> None:
        """Take no more, and close the listening socket; those taken go on."""
        if self._retry is not None:
            self._retry.cancel()
        if self._listening.fileno() >= 0:
            self._loop.remove_reader(self._listening.fileno())
            self._listening.close()

    def _accept(self) -> None:
        try:
            sock, peer = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:  # no more files, say; the loop would call again and again
            self._loop.remove_reader(self._listening.fileno())
            self._retry = self._loop.call_later(_ACCEPT_RETRY_SECONDS, self._go_on)
            return
        sock.setblocking(False)
        SocketTransport(sock, peer[0], self._make_user(), self._loop)

    def _go_on(self) -> None:
        self._loop.add_reader(self._listening.fileno(), self._accept)


class SocketTransport:
    """One connection. ``peer`` is the caller's address.

    What is called here takes effect before it returns, `TransportUser.connection_lost` included.
    """

    __slots__ = (
        "_closing",
        "_ending",
        "_fd",
        "_loop",
        "_paused",
        "_reading",
        "_unsent",
        "_user",
        "_written",
        "peer",
        "sock",
    )

    def __init__(
        self,
        sock: socket.socket,
        peer: str,
        user: TransportUser,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.sock = sock
        self.peer = peer
        self._fd = sock.fileno()
        self._user: TransportUser | None = user
        self._loop = loop
        self._unsent = _NOTHING
        self._reading = False
        self._paused = False
        self._written = False
        self._ending = False
        self._closing = False
        user.connection_made(self)
        self._read()
        if not self._paused:
            self.resume_reading()

    def is_closing(self) -> bool:
        """Whether it is closed, or will be once all has been sent."""
        return self._closing

    def unsent(self) -> int:
        """How many bytes wait for the caller to read."""
        return len(self._unsent)

    def write(self, data: bytes) -> None:
        """Send ``data``, now or when the caller has read what came before."""
        user = self._user
        if user is None or self._closing or self._ending:
            return
        if self._unsent:
            self._unsent = memoryview(bytes(self._unsent) + data)
            return
        if self._written:
            # The kernel would keep a second write back until the caller has acknowledged the first.
            self._set_no_delay()
        self._written = True
        rest = self._send(memoryview(data))
        if rest is None:
            self.abort()
        elif rest:
            self._unsent = rest
            self._loop.add_writer(self._fd, self._writable)
            user.pause_writing()

    def end(self) -> None:
        """Say that nothing more will be sent (FIN), once all has been, and go on reading."""
        self._ending = True
        if not self._unsent:
            self._shut_down()

    def close(self) -> None:
        """Read no more, send what is left, and close."""
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
        self.pause_reading()
        if self._unsent:
            self._unsent = _NOTHING
            self._loop.remove_writer(self._fd)
        self.sock.close()
        user.connection_lost()

    def pause_reading(self) -> None:
        """Leave what comes to the kernel, which takes little."""
        self._paused = True
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        """Read again."""
        self._paused = False
        if not self._reading and not self._closing:
            self._reading = True
            self._loop.add_reader(self._fd, self._read)

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
        try:
            if data:
                user.data_received(data)
            elif user.eof_received():
                self.pause_reading()
            else:
                self.close()
        except BaseException:
            self.abort()
            raise

    def _writable(self) -> None:
        rest = self._send(self._unsent)
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

    def _send(self, data: memoryview) -> memoryview | None:
        """What is left of ``data`` to send; ``None`` where the caller has gone."""
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
