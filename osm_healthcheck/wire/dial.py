"""Connecting to an app.

Over loopback and to a pod's own address a non-blocking ``connect()`` is decided when it returns:
the first call says ``EINPROGRESS``, a second one at once says ``EISCONN`` or ``ECONNREFUSED``.
Only a dropped SYN needs the event loop. That makes a check two system calls and no wakeup.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Sequence
from typing import NoReturn

from osm_healthcheck.wire.errors import NoSocketError, RefusedError
from osm_healthcheck.wire.lingering import LingeringSockets
from osm_healthcheck.wire.stream import Stream, wait_writable

# Of an app's answer the kernel keeps so much before it is read; left alone, it keeps up to 6 MiB.
# It doubles the number, and counts its own overhead against that. What does not fit is lost where
# the app resets the connection after it, and the kubelet would have had it.
RECEIVE_BUFFER_BYTES = 32 * 1024
# Of a thousand that would be 45 MB: where so many are asked for, each further one has less.
MANY = 128
RECEIVE_BUFFER_OF_MANY_BYTES = 4 * 1024
_PENDING = frozenset({errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK})
# socket(2): files of the process or of the machine, memory
_NO_SOCKET = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

MakeSocket = Callable[[socket.AddressFamily], socket.socket]


class NoSocketYetError(OSError):
    """There is none at this moment.

    ``coming`` becomes 0 once it is worth another try, or the ``errno`` for which none will come.
    """

    def __init__(self, coming: "asyncio.Future[int]") -> None:
        super().__init__(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.coming = coming


def tcp_socket(family: socket.AddressFamily) -> socket.socket:
    """A non-blocking TCP socket in the network namespace of this thread."""
    return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)


class Network:
    """Where sockets are made, and who ends those that were abandoned.

    A socket stays for life in the network namespace in which ``make_socket`` makes it: connecting
    in another one takes nothing but another ``make_socket``. ``asked`` is how many answers are
    waited for at the moment.
    """

    __slots__ = ("_asked", "lingering", "make_socket")

    def __init__(
        self,
        lingering: LingeringSockets | None = None,
        make_socket: MakeSocket = tcp_socket,
        asked: Callable[[], int] = lambda: 1,
    ) -> None:
        self.lingering = LingeringSockets() if lingering is None else lingering
        self.make_socket = make_socket
        self._asked = asked

    def receive_buffer(self) -> int:
        """How many bytes of an answer the kernel is to keep: fewer where there are `MANY`."""
        return RECEIVE_BUFFER_BYTES if self._asked() <= MANY else RECEIVE_BUFFER_OF_MANY_BYTES


class Attempt:
    """One ``connect()`` that was started: made (``pending`` is false) or still under way.

    Where there is no socket yet, it is under way, too.
    """

    __slots__ = ("_coming", "_network", "_will_read", "address", "pending", "port", "sock")

    def __init__(
        self, address: str, port: int, network: Network, *, will_read: bool = True
    ) -> None:
        """Start to connect to the IP ``address``; ``will_read`` where more than that is wanted.

        Raises:
            RefusedError: where it is decided already, and not for us.
            NoSocketError: where there is nothing to connect with.
        """
        self.address = address
        self.port = port
        self._network = network
        self._will_read = will_read
        self._begin()

    def _begin(self) -> None:
        self._coming: asyncio.Future[int] | None = None
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        try:
            self.sock = self._network.make_socket(family)
        except NoSocketYetError as error:
            self._coming = error.coming
            self.pending = True
            return
        except OSError as error:
            self._have_none(error.errno or errno.EIO)
        if self._will_read:
            # Before the connection, because the window that is agreed on hangs on it.
            size = self._network.receive_buffer()
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        target = (self.address, self.port)
        try:
            code = self.sock.connect_ex(target)
            if code == errno.EINPROGRESS:
                code = self.sock.connect_ex(target)
        except OSError:  # an IPv6 zone that this machine does not have
            code = errno.EINVAL
        self.pending = code in _PENDING
        if not self.pending:
            self._decide(code)

    async def finish(self) -> None:
        """Wait until the attempt is decided; it is closed where this is cancelled.

        Raises:
            RefusedError: where it is not for us.
            NoSocketError: where there is nothing to connect with.
        """
        while self._coming is not None:
            if code := await self._coming:
                self._have_none(code)
            self._begin()
        if self.pending:
            try:
                await wait_writable(self.sock)
            except BaseException:
                self.sock.close()
                raise
            self.pending = False
            self._decide(self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def confirm(self) -> None:
        """Look at a connection that was made once more, where to be made is all that it is for.

        An app that resets what it has just accepted is not there for Go, which sleeps until the
        connection is made and looks at it then (``waitForConnect`` of ``net/fd_unix.go``): whether
        it sees the reset is a race. Over loopback there is no sleep to be had, so the app's turn is
        given to it.

        Raises:
            RefusedError: where the app has reset it by now.
        """
        os.sched_yield()
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._refuse(code)

    def _have_none(self, code: int) -> NoReturn:
        kind = NoSocketError if code in _NO_SOCKET else RefusedError
        raise kind(self.address, self.port, code) from None

    def _decide(self, code: int) -> None:
        if code in (0, errno.EISCONN):
            if not self._is_own():
                return
            code = errno.ECONNREFUSED
        self._refuse(code)

    def _refuse(self, code: int) -> NoReturn:
        self.sock.close()
        raise RefusedError(self.address, self.port, code)

    def _is_own(self) -> bool:
        """Whether TCP connected the socket to itself.

        A closed port in the ephemeral range can be given to the very socket that dials it: nobody
        is listening there all the same.
        """
        own = self.sock.getsockname()
        try:
            return bool(own[1] == self.port and own == self.sock.getpeername())
        except OSError:  # it has been reset meanwhile, and so it was to somebody
            return False


async def dial(
    addresses: Sequence[str], port: int, network: Network, *, one_write: bool = False
) -> tuple[Stream, str]:
    """Connect to ``port`` on the first of ``addresses`` that does not refuse.

    ``one_write`` is whether all that will be sent is one write.

    Returns:
        The connection, and the address that took it.

    Raises:
        RefusedError: where all refuse, with the first one's reason.
        NoSocketError: where there is nothing to connect with.
    """
    attempt = await _connect(addresses, port, network, confirm=False)
    if not one_write:
        # As Go does. HTTP/2 and TLS write twice in a row, and would wait 40 ms for the app's
        # delayed acknowledgement in between.
        attempt.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer = (attempt.address, port)
    loop = asyncio.get_running_loop()
    return Stream(attempt.sock, loop, peer, network.lingering), attempt.address


async def check_dial(addresses: Sequence[str], port: int, network: Network) -> None:
    """Connect for the connection's own sake, as a ``tcpSocket`` probe does, and end it.

    Raises:
        RefusedError: where no address takes the connection and keeps it.
    """
    (await _connect(addresses, port, network, confirm=True)).sock.close()


async def _connect(
    addresses: Sequence[str], port: int, network: Network, *, confirm: bool
) -> Attempt:
    refusal: RefusedError | None = None
    for address in addresses:
        try:
            attempt = Attempt(address, port, network, will_read=not confirm)
            await attempt.finish()
            if confirm:
                attempt.confirm()
        except RefusedError as error:
            refusal = refusal or error
        else:
            return attempt
    raise refusal or RefusedError("", port, errno.EDESTADDRREQ)
