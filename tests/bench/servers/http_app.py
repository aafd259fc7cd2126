"""The app behind an httpGet probe: 200, a small body, and every connection closed by the app."""

import contextlib
import socket
import sys

from tests.bench.servers.dial import HOST

_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n"
    b"Connection: close\r\n\r\nok\n"
)
_BACKLOG = 1024
_PATIENCE_SECONDS = 5.0


def answer(connection: socket.socket) -> None:
    """Read a whole request head, then answer: closing earlier would reset the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        received = connection.recv(65536)
        if not received:
            return
        head += received
    connection.sendall(_ANSWER)


def main(port: int) -> None:
    with socket.create_server((HOST, port), backlog=_BACKLOG) as listener:
        while True:
            connection, _ = listener.accept()
            connection.settimeout(_PATIENCE_SECONDS)
            with connection, contextlib.suppress(OSError):
                answer(connection)


if __name__ == "__main__":
    main(int(sys.argv[1]))
