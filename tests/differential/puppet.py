"""The app that both probers ask: a listener whose connections follow a case's script."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator

from tests.differential.case import Case, Reply
from tests.io.apps import app, read_until_gone, reset
from tests.io.wire import TIMEOUT


class Puppet:
    """Connections to it, of one prober after another; `start` begins with the first reply again."""

    def __init__(self, address: str, case: Case) -> None:
        self._case = case
        self._address = address
        self._context = case.tls() if case.tls else None
        self._lock = threading.Lock()
        self._served = 0
        self.port = 0
        self.requests: list[bytes] = []

    def start(self) -> None:
        """The next connection is the first of a probe."""
        with self._lock:
            self._served = 0
            self.requests = []

    def serve(self, sock: socket.socket) -> None:
        """Follow the script on one connection."""
        with self._lock:
            reply = self._case.script[min(self._served, len(self._case.script) - 1)]
            self._served += 1
            requests = self.requests
        with contextlib.suppress(OSError):
            if self._context is None:
                self._follow(sock, reply, requests)
            else:
                with self._context.wrap_socket(sock, server_side=True) as tls:
                    self._follow(tls, reply, requests)

    def _follow(self, sock: socket.socket, reply: Reply, requests: list[bytes]) -> None:
        requests.append(self._case.read(sock))
        for piece in reply.pieces:
            if isinstance(piece, bytes):
                sock.sendall(self._fill(piece))
            else:
                time.sleep(piece)
        if reply.end == "reset":
            reset(sock)
            return
        if reply.end == "close" and isinstance(sock, ssl.SSLSocket):
            with contextlib.suppress(OSError):
                sock.unwrap()
        elif reply.end != "hang":
            sock.shutdown(socket.SHUT_WR)
        sock.settimeout(TIMEOUT)
        read_until_gone(sock)

    def _fill(self, piece: bytes) -> bytes:
        if b"<" not in piece:
            return piece
        own = f"[{self._address}]" if ":" in self._address else self._address
        return piece.replace(b"<port>", b"%d" % self.port).replace(b"<ip>", own.encode())


@contextlib.contextmanager
def puppet(address: str, case: Case) -> Iterator[Puppet]:
    """Run the app of ``case`` at ``address``."""
    played = Puppet(address, case)
    with app(played.serve, address) as running:
        played.port = running.port
        yield played
