"""Somebody who reads /metrics at a rate, and leaves one page in three unread."""

import collections
import contextlib
import itertools
import socket
import sys
import time

from tests.bench.servers.dial import HOST

_REQUEST = b"GET /metrics HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n"
_PATIENCE_SECONDS = 5.0
_MOST_UNREAD = 200  # more than are kept by whom they are asked of


def main(port: int, rate: int) -> None:
    unread: collections.deque[socket.socket] = collections.deque()
    began = time.monotonic()
    for number in itertools.count():
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        is_read = number % 3 > 0
        sock = socket.socket()
        if not is_read:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        sock.settimeout(_PATIENCE_SECONDS)
        sock.connect((HOST, port))
        sock.sendall(_REQUEST)
        if not is_read:
            unread.append(sock)
            if len(unread) > _MOST_UNREAD:
                unread.popleft().close()
            continue
        with sock, contextlib.suppress(ConnectionResetError):  # to make room for others
            while sock.recv(65536):
                pass


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
