"""Apps to be probed: real listeners, each connection served by a function in a thread."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

from tests.io.wire import TIMEOUT

Serve = Callable[[socket.socket], None]


class App:
    """A listener that hands each connection to ``serve`` and remembers what it was sent."""

    def __init__(self, serve: Serve, address: str = "127.0.0.1", port: int = 0) -> None:
        self._serve = serve
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, port), family=family, backlog=512)
        self.address = address
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[bytes] = []
        self.connections = 0
        self.errors: list[OSError] = []
        self.open = 0
        self.changed = threading.Condition()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """Stop listening."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        # or else it could accept on a listener that is given the same descriptor
        self._accepting.join(TIMEOUT)
        self._listener.close()

    def wait_for(self, condition: Callable[["App"], bool]) -> None:
        """Wait until ``condition`` holds for this app."""
        with self.changed:
            assert self.changed.wait_for(lambda: condition(self), TIMEOUT), vars(self)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self.changed:
                self.connections += 1
                self.open += 1
                self.changed.notify_all()
            threading.Thread(target=self._handle, args=(sock,), daemon=True).start()

    def _handle(self, sock: socket.socket) -> None:
        sock.settimeout(TIMEOUT)
        try:
            with sock:
                self._serve(sock)
        except OSError as error:
            self.errors.append(error)
        finally:
            with self.changed:
                self.open -= 1
                self.changed.notify_all()


@contextlib.contextmanager
def app(serve: Serve, address: str = "127.0.0.1", port: int = 0) -> Iterator[App]:
    """Run an app whose connections ``serve`` serves."""
    running = App(serve, address, port)
    try:
        yield running
    finally:
        running.close()


@contextlib.contextmanager
def http_app(*answers: bytes, address: str = "127.0.0.1", port: int = 0) -> Iterator[App]:
    """Run an app that gives ``answers`` in turn, the last one for ever, and closes each time."""
    left = list(answers)

    def serve(sock: socket.socket) -> None:
        request = read_head(sock)
        running.requests.append(request)
        answer = left.pop(0) if len(left) > 1 else left[0]
        sock.sendall(answer)

    with app(serve, address, port) as running:
        yield running


def read_head(sock: socket.socket) -> bytes:
    """Read a request up to the empty line that ends its head."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            break
        data += piece
    return data


def read_until_gone(sock: socket.socket) -> str:
    """Wait until the caller has ended the connection: ``"fin"`` or ``"reset"``."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        return "reset"
    return "fin"


def reset(sock: socket.socket) -> None:
    """End a connection with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def response(status: str = "200 OK", body: bytes = b"", *headers: str) -> bytes:
    """An HTTP/1.1 answer with a length, as an app gives it that closes its connections."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def header_lines(request: bytes) -> list[str]:
    """The lines of a request's head after the first."""
    return request.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]


def hold(sock: socket.socket) -> None:
    """Say nothing until the caller goes."""
    read_until_gone(sock)
