"""A gRPC server with nothing but ``grpc.health.v1.Health``."""

import asyncio
from collections.abc import Callable
from typing import cast

from osm_healthcheck.wire import http2_frames as frames
from osm_healthcheck.wire.header_block import encode
from osm_healthcheck.wire.http2_frames import encode_frame, encode_settings

_SERVING, _NOT_SERVING = 1, 2
_HEAD_BYTES = 9
_HEADERS = encode([(b":status", b"200"), (b"content-type", b"application/grpc")])
_TRAILERS = encode([(b"grpc-status", b"0")])


class HealthProtocol(asyncio.Protocol):
    """One connection; ``is_serving`` is asked for each call, whatever it calls."""

    def __init__(self, is_serving: Callable[[], bool]) -> None:
        self._is_serving = is_serving
        self._buffer = bytearray()
        self._is_greeted = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(encode_settings({}))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        assert self._transport is not None  # noqa: S101
        self._buffer += data
        if not self._is_greeted:
            preface = bytes(self._buffer[: len(frames.PREFACE)])
            if not frames.PREFACE.startswith(preface):
                self._transport.close()
            if preface != frames.PREFACE:
                return
            del self._buffer[: len(preface)]
            self._is_greeted = True
        while len(self._buffer) >= _HEAD_BYTES:
            size = _HEAD_BYTES + int.from_bytes(self._buffer[:3])
            if size > _HEAD_BYTES + frames.MAX_FRAME_BYTES:
                self._transport.close()
                return
            if len(self._buffer) < size:
                return
            frame = bytes(self._buffer[:size])
            del self._buffer[:size]
            self._transport.write(self._reply(frame[3], frame[4], frame))

    def _reply(self, kind: int, flags: int, frame: bytes) -> bytes:
        """What is to be said to a frame."""
        if kind in (frames.SETTINGS, frames.PING) and not flags & frames.ACK:
            payload = frame[_HEAD_BYTES:] if kind == frames.PING else b""
            return encode_frame(kind, frames.ACK, 0, payload)
        if kind not in (frames.HEADERS, frames.DATA) or not flags & frames.END_STREAM:
            return b""
        stream = int.from_bytes(frame[5:_HEAD_BYTES])
        status = _SERVING if self._is_serving() else _NOT_SERVING
        # HealthCheckResponse: its one field is the status, framed as a message of two bytes
        message = b"\0\0\0\0\x02" + bytes([0x08, status])
        return (
            encode_frame(frames.HEADERS, frames.END_HEADERS, stream, _HEADERS)
            + encode_frame(frames.DATA, 0, stream, message)
            + encode_frame(
                frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, _TRAILERS
            )
        )
