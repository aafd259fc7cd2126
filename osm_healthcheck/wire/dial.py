"""Connecting to an app.

Over loopback and to a pod's own address a non-blocking ``connect()`` is decided when it returns:
the first call says ``EINPROGRESS``, a second one at once says ``EISCONN`` or ``ECONNREFUSED``.
Only a dropped SYN needs the event loop. That makes a check two system calls and no wakeup.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from osm_healthcheck.wire.errors import NoSocketError, RefusedError
from osm_healthcheck.wire.lingering import LingeringSockets
from osm_healthcheck.wire.stream import Stream, wait_writable

_PENDING = frozenset({errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK})
# socket(2): files of the process or of the machine, memory
_NO_SOCKET = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

MakeSocket = Callable[[socket.AddressFamily], socket.socket]


def tcp_socket(family: socket.AddressFamily) -> socket.socket:
    """A non-blocking TCP socket in the network namespace of this thread."""
    return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)


@dataclass(frozen=True, slots=True)
class Network:
    """Where sockets are made, and who ends those that were abandoned.

    A socket stays for life in the network namespace in which ``make_socket`` makes it: listening
    in another one, and connecting there, takes nothing but another ``make_socket``.
    """

    lingering: LingeringSockets = field(default_factory=LingeringSockets)
    make_socket: MakeSocket = tcp_socket


class Attempt:
    """One ``connect()`` that was started: made (``pending`` is false) or still under way."""

    __slots__ = ("address", "pending", "port", "sock")

    def __init__(self, address: str, port: int, network: Network) -> None:
        """Start to connect to the IP ``address``.

        Raises:
            RefusedError: where it is decided already, and not for us.
            NoSocketError: where there is nothing to connect with.
        """
        self.address = address
        self.port = port
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            self.sock = network.make_socket(family)
        except OSError as error:
            code = error.errno or errno.EIO
            kind = NoSocketError if code in _NO_SOCKET else RefusedError
            raise kind(address, port, code) from None
        target = (address, port)
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
        """
        if self.pending:
            try:
                await wait_writable(self.sock)
            except BaseException:
                self.sock.close()
                raise
            self.pending = False
            self._decide(self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _decide(self, code: int) -> None:
        if code in (0, errno.EISCONN):
            # A closed port in the ephemeral range can be given to the very socket that dials it.
            # TCP then connects the socket to itself, and nobody is listening all the same.
            own = self.sock.getsockname()
            if own[1] != self.port or own != self.sock.getpeername():
                return
            code = errno.ECONNREFUSED
        self.sock.close()
        raise RefusedError(self.address, self.port, code)


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
    refusal: RefusedError | None = None
    for address in addresses:
        try:
            attempt = Attempt(address, port, network)
            await attempt.finish()
        except RefusedError as error:
            refusal = refusal or error
        else:
            if not one_write:
                # As Go does. HTTP/2 and TLS write twice in a row, and would wait 40 ms for the
                # app's delayed acknowledgement in between.
                attempt.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            loop = asyncio.get_running_loop()
            return Stream(attempt.sock, loop, (address, port), network.lingering), address
    raise refusal or RefusedError("", port, errno.EDESTADDRREQ)
