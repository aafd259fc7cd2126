"""Apps that send HTTP/2 without end, frame after frame, for as long as somebody takes it."""

import contextlib
import socket
import ssl
from collections.abc import Iterator

from tests.io import http2_cases as h2
from tests.io.apps import App, app

PIECE_BYTES = 64 * 1024
_HUFFMAN = h2.huffman([(b"x", b"~" * 4000)])[1:]

# name: what comes first, and what comes after it for ever
FLOODS: dict[str, tuple[bytes, bytes]] = {
    "PING": (b"", h2.ping()),
    "acknowledgements of PING": (b"", h2.frame(h2.PING, b"12345678", h2.ACK, 0)),
    "SETTINGS": (b"", h2.settings()),
    "long SETTINGS": (b"", h2.settings(*[(9, 9)] * 2000)),
    "WINDOW_UPDATE": (b"", h2.frame(h2.WINDOW, b"\0\0\0\1", stream=3)),
    "PRIORITY": (b"", h2.frame(h2.PRIO, b"\0\0\0\0\x10", stream=3)),
    "unknown frames": (b"", h2.frame(h2.UNKNOWN)),
    "long unknown frames": (b"", h2.frame(h2.UNKNOWN, bytes(16384))),
    "RST_STREAM": (b"", h2.rst(h2.CANCEL, 3)),
    "GOAWAY": (b"", h2.goaway(1)),
    "103": (b"", h2.headers(h2.status(b"103"))),
    "long 103": (b"", h2.headers([*h2.status(b"103"), *h2.many(100, 100)[1:]])),
    "empty DATA": (h2.headers(h2.GRPC_OK), h2.frame(h2.DATA)),
    "padded DATA": (h2.headers(h2.GRPC_OK), h2.frame(h2.DATA, b"\xff" + bytes(255), h2.PADDED)),
    "answers to nobody": (b"", h2.headers(h2.OK, stream=3)),
    "DATA for nobody": (b"", h2.frame(h2.DATA, b"x" * 1000, stream=3)),
}
# a header block that does not end: these run into a limit before long
BLOCKS: dict[str, tuple[bytes, bytes]] = {
    "empty CONTINUATION": (h2.frame(h2.HEADERS), h2.frame(h2.CONTINUATION)),
    "a field a byte": (h2.frame(h2.HEADERS), h2.frame(h2.CONTINUATION, b"\x90")),
    "many fields": (h2.frame(h2.HEADERS), h2.frame(h2.CONTINUATION, b"\x90" * 16384)),
    "Huffman's code": (h2.frame(h2.HEADERS), h2.frame(h2.CONTINUATION, _HUFFMAN)),
    "a long string in bytes": (
        h2.frame(h2.HEADERS, b"\0" + h2.length(b"x" * 100_000)),
        h2.frame(h2.CONTINUATION, b"x"),
    ),
}


@contextlib.contextmanager
def flooding(
    flood: tuple[bytes, bytes], tls: ssl.SSLContext | None, port: int = 0
) -> Iterator[App]:
    """Run an app that takes a request, and floods until its caller goes; ``sent`` counts bytes."""
    first, then = flood
    piece = then * (PIECE_BYTES // len(then) + 1)

    def serve(plain: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            sock: socket.socket = plain
            if tls is not None:
                sock = stack.enter_context(tls.wrap_socket(plain, server_side=True))
            sock.sendall(h2.settings())
            h2.read_request(sock)
            sock.sendall(first)
            with contextlib.suppress(OSError):
                while True:
                    _send_and_read(sock, piece)
                    with running.changed:
                        running.sent += len(piece)  # type: ignore[attr-defined]
                        running.changed.notify_all()

    with app(serve, port=port) as running:
        running.sent = 0  # type: ignore[attr-defined]
        yield running


def _send_and_read(sock: socket.socket, data: bytes) -> None:
    """Send, and take in what is sent meanwhile, so that neither side waits for the other."""
    sock.sendall(data)
    timeout = sock.gettimeout()
    sock.settimeout(0)
    try:
        while sock.recv(65536):
            pass
        raise ConnectionResetError
    except (BlockingIOError, ssl.SSLWantReadError):
        pass
    finally:
        sock.settimeout(timeout)
