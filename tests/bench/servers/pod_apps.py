"""The apps of many pods in one process: port 8080 in the network namespace of each.

Each answers an HTTP request with 200, and closes every connection, as the app of `http_app` does.
"""

import contextlib
import selectors
import socket
import sys

from osm_healthcheck.node.network_namespace import NetworkNamespace
from tests.bench.servers.http_app import answer

_PORT = 8080
_BACKLOG = 1024
_PATIENCE_SECONDS = 5.0


def main(paths: list[str]) -> None:
    selector = selectors.DefaultSelector()
    for path in paths:
        namespace = NetworkNamespace(path)
        listener = namespace.make_socket(socket.AF_INET)
        namespace.close()
        listener.bind(("", _PORT))
        listener.listen(_BACKLOG)
        selector.register(listener, selectors.EVENT_READ, listener)
    while True:
        for key, _ in selector.select():
            with contextlib.suppress(OSError):
                connection, _ = key.data.accept()
                connection.settimeout(_PATIENCE_SECONDS)
                with connection:
                    answer(connection)


if __name__ == "__main__":
    main(sys.argv[1:])
