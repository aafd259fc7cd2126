"""The app that both probers ask: a listener whose connections follow a case's script."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator

from tests.differential.case import Case, Reply
from tests.io.apps import app, read_until_gone, reset
from tests.io.http2_cases import talker
from tests.io.wire import TIMEOUT


class Puppet:
    """What happens to its connections, and what it received."""

    def __init__(self, address: str, case: Case) -> None:
        self._case = case
        self._address = address
        self._context = case.tls() if case.tls else None
        self._lock = threading.Lock()
        self._served = 0
        self._requests: list[bytes] = []
        self.port = 0

    def received(self) -> tuple[bytes, ...]:
        """The requests so far, with ``<port>`` for the app's own."""
        own = b":%d" % self.port
        return tuple(request.replace(own, b":<port>") for request in self._requests if request)

    def serve(self, sock: socket.socket) -> None:
        """Follow the script on one connection."""
        with self._lock:
            reply = self._case.script[min(self._served, len(self._case.script) - 1)]
            self._served += 1
        with contextlib.suppress(OSError):
            if self._context is None:
                self._follow(sock, reply)
            else:
                with self._context.wrap_socket(sock, server_side=True) as tls:
                    self._follow(tls, reply)

    def _follow(self, sock: socket.socket, reply: Reply) -> None:
        self._requests.append(self._case.read(sock))
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
    """Run the app of ``case`` at ``address``; of one that talks, nothing is received."""
    played = Puppet(address, case)
    if case.talk:
        with talker(case.tls() if case.tls else None, address) as running:
            running.play(list(case.talk))
            played.port = running.port
            yield played
        return
    with app(played.serve, address) as running:
        played.port = running.port
        yield played
