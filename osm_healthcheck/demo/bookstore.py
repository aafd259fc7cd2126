"""The bookstore: an app with a port of each kind that is probed, and ways to fail."""

import asyncio
import contextlib
import ssl
from enum import Enum
from pathlib import Path

from osm_healthcheck.demo.health import HealthProtocol

HTTP_PORT, HTTPS_PORT, TCP_PORT, GRPC_PORT = 14001, 14443, 14002, 14003
_READ_BYTES = 16 * 1024
_CERTIFICATE = Path(__file__).parent / "certificate.pem"

MANIFEST: dict[str, object] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "bookstore"},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": "shop",
                "image": "bookstore",
                "startupProbe": {"tcpSocket": {"port": HTTP_PORT}, "periodSeconds": 1},
                "livenessProbe": {
                    "httpGet": {"path": "/liveness", "port": HTTP_PORT},
                    "periodSeconds": 1,
                    "failureThreshold": 3,
                },
                "readinessProbe": {
                    "httpGet": {"path": "/readiness", "port": HTTP_PORT},
                    "periodSeconds": 1,
                    "failureThreshold": 1,
                },
            },
            {
                "name": "till",
                "image": "bookstore",
                "readinessProbe": {
                    "httpGet": {"path": "/readiness", "port": HTTPS_PORT, "scheme": "HTTPS"},
                    "periodSeconds": 1,
                    "failureThreshold": 1,
                },
            },
            {
                "name": "stock",
                "image": "bookstore",
                "readinessProbe": {
                    "tcpSocket": {"port": TCP_PORT},
                    "periodSeconds": 1,
                    "failureThreshold": 1,
                },
            },
            {
                "name": "search",
                "image": "bookstore",
                "readinessProbe": {
                    "grpc": {"port": GRPC_PORT},
                    "periodSeconds": 1,
                    "failureThreshold": 1,
                },
            },
        ],
    },
}


class PageState(Enum):
    """How a page is answered."""

    WELL = "200"
    ERROR = "500"
    HANG = "no answer"
    HALF = "half a body"


class Bookstore:
    """The app at ``address``; ``liveness``, ``shop`` and ``till`` are the states of its pages."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.liveness = self.shop = self.till = PageState.WELL
        self.is_serving = True
        self._servers: list[asyncio.Server] = []
        self._stock: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> "Bookstore":
        """Open all ports.

        Raises:
            OSError: where one is taken.
        """
        loop = asyncio.get_running_loop()
        for port, tls in ((HTTP_PORT, None), (HTTPS_PORT, server_context())):
            self._servers.append(
                await asyncio.start_server(self._serve, self.address, port, ssl=tls)
            )
        self._servers.append(
            await loop.create_server(
                lambda: HealthProtocol(lambda: self.is_serving), self.address, GRPC_PORT
            )
        )
        await self.open_stock()
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        self.close_stock()
        for writer in self._open:
            writer.transport.abort()

    async def open_stock(self) -> None:
        """Listen on the TCP port."""
        self._stock = await asyncio.start_server(self._accept_and_close, self.address, TCP_PORT)

    def close_stock(self) -> None:
        """Listen there no more."""
        if self._stock is not None:
            self._stock.close()

    def recover(self) -> None:
        """Be well again, but for the TCP port."""
        self.liveness = self.shop = self.till = PageState.WELL
        self.is_serving = True

    async def _accept_and_close(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                state = self._page_state(
                    head, is_tls=writer.get_extra_info("ssl_object") is not None
                )
                if state is PageState.HANG:
                    await reader.read()  # until the caller gives up
                writer.write(_ANSWERS[state])
                await writer.drain()
        finally:
            self._open.discard(writer)
            writer.close()

    def _page_state(self, head: bytes, *, is_tls: bool) -> PageState:
        if is_tls:
            return self.till
        return self.liveness if head.startswith(b"GET /liveness ") else self.shop


_ANSWERS = {
    PageState.WELL: b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nbooks",
    PageState.ERROR: b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    PageState.HANG: b"",
    PageState.HALF: b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\nhalf a b",
}


class MeshProxy:
    """What stands in front of an app in a mesh: a port that speaks mTLS, and takes every caller.

    It stands in for Envoy in the one respect that matters to a probe: whoever has no certificate
    of the mesh is let in by TCP and turned away by TLS.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._context = server_context()
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.load_verify_locations(_CERTIFICATE)
        self._servers: list[asyncio.Server] = []

    async def __aenter__(self) -> "MeshProxy":
        for port in (HTTP_PORT, HTTPS_PORT, TCP_PORT, GRPC_PORT):
            self._servers.append(await asyncio.start_server(self._serve, self._address, port))
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # asyncio's own TLS hangs up without the alert that says why; a proxy sends it
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._context.wrap_bio(incoming, outgoing, server_side=True)
        with contextlib.suppress(OSError):
            while data := await reader.read(_READ_BYTES):
                incoming.write(data)
                refused = False
                try:
                    tls.do_handshake()
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLError:
                    refused = True
                writer.write(outgoing.read())
                await writer.drain()
                if refused:
                    break
        writer.close()


def server_context() -> ssl.SSLContext:
    """TLS with the bookstore's self-signed certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_CERTIFICATE)
    return context
