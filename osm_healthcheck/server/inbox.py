"""What a caller sends on a connection that is passed through."""

import asyncio

from osm_healthcheck.server.transport import SocketTransport


class Inbox:
    """The caller's bytes until somebody takes them; meanwhile no more are read."""

    def __init__(self, transport: SocketTransport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._data = b""
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, data: bytes) -> None:
        """Take what has come."""
        self._data += data
        self._transport.pause_reading()
        self._wake()

    def end(self) -> None:
        """Take note that no more will come."""
        self._ended = True
        self._wake()

    async def get(self) -> bytes:
        """What has come, once there is something; ``b""`` at the end."""
        # Not before: what was got last is still being sent, and one piece in memory is enough.
        self._transport.resume_reading()
        while not self._data and not self._ended:
            self._waiter = self._loop.create_future()
            await self._waiter
        data, self._data = self._data, b""
        return data

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
