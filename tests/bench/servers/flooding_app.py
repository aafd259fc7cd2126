"""Apps that flood whoever probes them: two ports for each of these floods, HTTPS and gRPC.

The last two ports are those of an app that says nothing.
"""

import contextlib
import sys
import threading

from tests.io.apps import app, hold
from tests.io.floods import FLOODS, flooding
from tests.io.tls import server_context

NAMES = (
    "PING",
    "SETTINGS",
    "WINDOW_UPDATE",
    "PRIORITY",
    "unknown frames",
    "empty DATA",
    "103",
)


def main(ports: list[int]) -> None:
    tls = server_context("h2")
    with contextlib.ExitStack() as stack:
        for name, https, grpc in zip(NAMES, ports[::2], ports[1::2], strict=False):
            stack.enter_context(flooding(FLOODS[name], tls, https))
            stack.enter_context(flooding(FLOODS[name], None, grpc))
        for port in ports[-2:]:
            stack.enter_context(app(hold, port=port))
        threading.Event().wait()


if __name__ == "__main__":
    main([int(port) for port in sys.argv[1:]])
