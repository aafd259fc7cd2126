"""Where one agent finds the other, to hand its sockets over."""

import os
import socket
from pathlib import Path
from typing import Protocol

from osm_healthcheck.server.listen import BACKLOG

SECONDS = 5.0


class HandoverPlace(Protocol):
    """Where one agent finds the other."""

    async def connect(self) -> socket.socket | None:
        """A connection to the agent that serves; ``None`` where there is none.

        Raises:
            OSError: where there is one, and it cannot be had.
        """

    async def listen(self) -> socket.socket | None:
        """A socket at which the next agent finds this one; ``None`` where it is not to.

        Raises:
            OSError: where it cannot be had.
        """


class HandoverPath:
    """A file of the node, or none; see `HandoverPlace`."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    async def connect(self) -> socket.socket | None:
        """See `HandoverPlace`."""
        return self.connection()

    async def listen(self) -> socket.socket | None:
        """See `HandoverPlace`."""
        return self.listening()

    def connection(self) -> socket.socket | None:
        """What `connect` returns."""
        if self._path is None:
            return None
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            sock.connect(os.fspath(self._path))
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()  # nobody serves yet, or it has ended
            return None
        except BaseException:
            sock.close()
            raise
        return sock

    def listening(self) -> socket.socket | None:
        """What `listen` returns; a file that an earlier agent has left is replaced."""
        if self._path is None:
            return None
        self._path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            sock.bind(os.fspath(self._path))
            self._path.chmod(0o600)  # who may connect gets the sockets of every pod
            sock.listen(BACKLOG)
        except BaseException:
            sock.close()
            raise
        return sock
