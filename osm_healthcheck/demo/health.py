"""A gRPC server with nothing but ``grpc.health.v1.Health``, on ``h2``."""

import asyncio
from collections.abc import Callable
from typing import cast

import h2.config
import h2.connection
import h2.events
import h2.exceptions

_SERVING, _NOT_SERVING = 1, 2


class HealthProtocol(asyncio.Protocol):
    """One connection; ``is_serving`` is asked for each call."""

    def __init__(self, is_serving: Callable[[], bool]) -> None:
        self._is_serving = is_serving
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._h2.initiate_connection()
        self._transport.write(self._h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        assert self._transport is not None  # noqa: S101
        try:
            for event in self._h2.receive_data(data):
                if isinstance(event, h2.events.StreamEnded):
                    self._answer(event.stream_id or 0)
        except h2.exceptions.ProtocolError:
            self._transport.close()
        self._transport.write(self._h2.data_to_send())

    def _answer(self, stream: int) -> None:
        status = _SERVING if self._is_serving() else _NOT_SERVING
        # HealthCheckResponse: its one field is the status, framed as a message of two bytes
        message = b"\0\0\0\0\x02" + bytes([0x08, status])
        self._h2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        self._h2.send_data(stream, message)
        self._h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)
