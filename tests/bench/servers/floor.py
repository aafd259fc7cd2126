"""The floor: the least that answering a check costs in Python on uvloop.

No HTTP parser: the header is found by a search for its bytes. No server should be built like this;
it is here to be divided by.
"""

import asyncio
import sys
from typing import cast

import uvloop

from tests.bench.servers.dial import HEADER, HOST, accepts

_END = b"\r\n\r\n"
_FIELD = f"\r\n{HEADER}: ".encode()
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_REFUSED = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Floor(asyncio.Protocol):
    """One connection: one request, one answer, closed."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports only look like asyncio's: they are no subclass of them.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self.received.endswith(_END):
            return
        start = self.received.index(_FIELD) + len(_FIELD)
        port = int(self.received[start : self.received.index(b"\r\n", start)])
        self.transport.write(_OK if accepts(port) else _REFUSED)
        self.transport.close()


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Floor, HOST, port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
