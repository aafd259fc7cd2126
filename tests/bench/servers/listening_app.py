"""The app behind a tcpSocket probe: it listens, and closes what it accepted.

It wakes rarely and then takes all that is waiting, because it shares a core with the load: woken
for every connection it would show in the latency of every probe.
"""

import contextlib
import select
import socket
import sys
import time

from tests.bench.servers.dial import HOST

_NAP_SECONDS = 0.05
_BACKLOG = 4096


def main(port: int) -> None:
    with socket.create_server((HOST, port), backlog=_BACKLOG) as listener:
        listener.setblocking(False)
        while True:
            select.select([listener], [], [])
            time.sleep(_NAP_SECONDS)
            with contextlib.suppress(BlockingIOError):
                while True:
                    listener.accept()[0].close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
