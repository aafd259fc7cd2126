"""Sockets in another network namespace.

A socket stays for life in the network namespace in which its thread was when it was made. So the
thread goes there, makes it and comes back, with nothing in between that could run anything else:
no ``await``, no new thread. Whatever is done with the socket later is done from here.
"""

import contextlib
import ctypes
import functools
import os
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from osm_healthcheck.node.pod import ListeningSockets, PodNetworkError
from osm_healthcheck.server.listen import ListenError, bind_all
from osm_healthcheck.server.settings import ANY_ADDRESS

if TYPE_CHECKING:
    from subprocess import Popen

_CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h

if sys.version_info >= (3, 12):

    def _setns(descriptor: int) -> None:
        os.setns(descriptor, _CLONE_NEWNET)
else:
    _libc = ctypes.CDLL(None, use_errno=True)

    def _setns(descriptor: int) -> None:
        if _libc.setns(descriptor, _CLONE_NEWNET):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))


class NetworkNamespace:
    """An open network namespace, which stays alive at least as long as this is open.

    ``inode`` tells it from every other namespace that exists at the same time.
    """

    def __init__(self, path: str | Path) -> None:
        """Open the namespace file ``path``, such as ``/run/netns/cni-…`` or ``/proc/1/ns/net``.

        Raises:
            OSError: where there is none.
        """
        self._home = _own()
        self._there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.inode = os.fstat(self._there).st_ino

    def close(self) -> None:
        """Let go of the namespace; sockets that were made in it stay there."""
        os.close(self._there)
        self._there = -1  # the number may be that of another pod's namespace soon

    def make_socket(
        self, family: socket.AddressFamily, kind: int = socket.SOCK_STREAM
    ) -> socket.socket:
        """A non-blocking socket in this namespace.

        Raises:
            OSError: where there is none to be had, or the namespace may not be entered.
        """
        return self.make_sockets(family, 1, kind)[0]

    def make_sockets(
        self, family: socket.AddressFamily, count: int, kind: int = socket.SOCK_STREAM
    ) -> list[socket.socket]:
        """Several of them, for one way there and back; see `make_socket`."""
        with self._visited():
            return [socket.socket(family, kind | socket.SOCK_NONBLOCK) for _ in range(count)]

    def spawn(self, command: Sequence[str], environment: Mapping[str, str]) -> "Popen[bytes]":
        """Start a command in this namespace; its output and its errors are one pipe.

        Raises:
            OSError: where it cannot be started.
        """
        from subprocess import PIPE, STDOUT, Popen

        with self._visited():
            return Popen(  # noqa: S603  # see who calls this: iptables
                command, env=environment, stdin=PIPE, stdout=PIPE, stderr=STDOUT
            )

    @contextlib.contextmanager
    def _visited(self) -> Iterator[None]:
        """Be in this namespace for the length of a block, which must not await."""
        _setns(self._there)
        try:
            yield
        finally:
            try:
                _setns(self._home)
            except OSError as error:
                _abort(error)

    def prepare(self, addresses: Iterable[str]) -> None:
        """See `PodNetwork`: nothing is made ahead of need."""

    async def listen(self, ports: Iterable[int]) -> ListeningSockets:
        """See `PodNetwork`."""
        return self.listening(ports)

    def listening(self, ports: Iterable[int]) -> ListeningSockets:
        """Sockets that listen on every address of this namespace, by port.

        Raises:
            PodNetworkError: where one cannot be had; none is then.
        """
        try:
            with self._visited():
                bound = bind_all(
                    ANY_ADDRESS, {str(port): port for port in ports}, optional_ipv6=True
                )
        except ListenError as error:
            raise PodNetworkError(error.problem) from None
        except OSError as error:
            raise PodNetworkError(f"its network cannot be entered: {error.strerror}") from None
        return {int(port): sockets for port, sockets in bound.items()}

    def holds(self, address: str) -> bool:
        """Whether the IP ``address`` is one of this namespace's own."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            with self.make_socket(family, socket.SOCK_DGRAM) as sock:
                sock.bind((address, 0))
        except OSError:
            return False
        return True


@functools.cache
def _own() -> int:
    """The network namespace in which this process is, open for as long as it lives."""
    return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _abort(error: OSError) -> NoReturn:
    """End the process: its thread is in the namespace of some pod and everything would be wrong."""
    os.write(2, f"cannot leave a pod's network namespace: {error.strerror}\n".encode())
    os.abort()
