"""A real HTTP/2 server over TLS: hypercorn, in a thread."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import hypercorn.asyncio
from hypercorn.config import Config

from tests.io.tls import certificate_files
from tests.io.wire import TIMEOUT


@dataclass
class H2App:
    """What a running app has seen."""

    port: int
    scopes: list[dict[str, Any]] = field(default_factory=list)


@contextlib.contextmanager
def h2_app(*alpn: str, status: int = 200, body: bytes = b"over h2") -> Iterator[H2App]:
    """Run an app that answers every request so, and offers these protocols."""
    listener = socket.create_server(("127.0.0.1", 0))
    running = H2App(listener.getsockname()[1])

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        running.scopes.append(scope)
        headers = [(b"content-length", b"%d" % len(body)), (b"x-app", b"yes")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    stop: list[Any] = []
    with certificate_files() as (chain, key):
        config = Config()
        config.bind = [f"fd://{listener.detach()}"]
        config.certfile, config.keyfile = chain, key
        config.alpn_protocols = list(alpn)
        config.errorlog = None
        config.graceful_timeout = 0.2

        async def serve() -> None:
            ended = asyncio.Event()
            loop = asyncio.get_running_loop()
            stop.append(lambda: loop.call_soon_threadsafe(ended.set))
            started.set()
            await hypercorn.asyncio.serve(application, config, shutdown_trigger=ended.wait)

        started = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        thread.start()
        assert started.wait(TIMEOUT)
        try:
            yield running
        finally:
            stop[0]()
            thread.join(TIMEOUT)
