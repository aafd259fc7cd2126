"""A caller in a pod who floods or stalls the port of checks there, with all its might.

``flood`` connects and resets, ``strangers`` asks what is refused with a head that is another one
each time, and reads the answer, ``stall`` has as many connections as it gets, half a head each.
"""

import itertools
import selectors
import socket
import struct
import sys
from collections.abc import Callable

from osm_healthcheck.node.network_namespace import NetworkNamespace

_PORT = 15904
_RESET = struct.pack("ii", 1, 0)  # no TIME_WAIT: it would run out of ports
_PATIENCE_SECONDS = 5.0
_STALLED = 1000
_HEAD = b"GET /osm-healthcheck HTTP/1.1\r\nHost: pod\r\nX-Request-Id: %09d\r\n"


class Attacker:
    """Callers in the pod that has ``address``, and its network namespace at ``path``."""

    def __init__(self, address: str, path: str) -> None:
        self._address = address, _PORT
        self._namespace = NetworkNamespace(path)
        self._heads = (_HEAD % number for number in itertools.count())

    def flood(self) -> None:
        while True:
            self._connect().close()

    def strangers(self) -> None:
        while True:
            with self._connect() as sock:
                try:
                    sock.sendall(next(self._heads) + b"\r\n")
                    while sock.recv(65536):
                        pass
                except OSError:
                    continue  # the server made room for others

    def stall(self) -> None:
        stalled = selectors.DefaultSelector()
        for _ in range(_STALLED):
            stalled.register(self._half(), selectors.EVENT_READ)
        while True:
            for key, _ in stalled.select():
                sock = stalled.unregister(key.fileobj).fileobj
                assert isinstance(sock, socket.socket)
                sock.close()
                stalled.register(self._half(), selectors.EVENT_READ)

    def _half(self) -> socket.socket:
        while True:
            sock = self._connect()
            try:
                sock.sendall(next(self._heads))
            except OSError:
                sock.close()
            else:
                return sock

    def _connect(self) -> socket.socket:
        while True:
            sock = self._namespace.make_socket(socket.AF_INET)
            sock.settimeout(_PATIENCE_SECONDS)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            try:
                sock.connect(self._address)
            except OSError:
                sock.close()
            else:
                return sock


def main(kind: str, address: str, path: str) -> None:
    attacker = Attacker(address, path)
    kinds: dict[str, Callable[[], None]] = {
        "flood": attacker.flood,
        "strangers": attacker.strangers,
        "stall": attacker.stall,
    }
    kinds[kind]()


if __name__ == "__main__":
    main(*sys.argv[1:])
