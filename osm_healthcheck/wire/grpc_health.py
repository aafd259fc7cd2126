"""``grpc.health.v1.Health/Check`` over plaintext HTTP/2, as the kubelet calls it.

From ``pkg/probe/grpc/grpc.go`` and grpc-go: dialling is blocking and is tried again with grpc-go's
backoff as long as the deadline allows; a connection counts once the server has sent its settings.
The messages are two fields long, so they are encoded here.
"""

import asyncio
import contextlib
import struct
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import unquote

import h2.events

from osm_healthcheck.probes.quote import quote
from osm_healthcheck.wire.dial import Network, dial
from osm_healthcheck.wire.errors import (
    BadAnswerError,
    BrokenOffError,
    RefusedError,
    StreamResetError,
    WireError,
    authority,
)
from osm_healthcheck.wire.http2 import HTTP2Connection

# An app that looks at its caller's name must see the kubelet's, whose client is grpc-go.
_GRPC_CLIENT = b"grpc-go/1.64.0"
_MAX_MESSAGE_BYTES = 4 * 1024 * 1024
_STATUSES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_SERVING = 1
# grpc-go backoff.DefaultConfig, without its jitter
_FIRST_BACKOFF = 1.0
_BACKOFF_FACTOR = 1.6
_DEADLINE_EXCEEDED = 4
_UNIMPLEMENTED = 12
# grpc-go http_util.go http2ErrConvTab and HTTPStatusConvTab: what HTTP's errors mean to gRPC
_RESETS = {
    "REFUSED_STREAM": "Unavailable",
    "CANCEL": "Canceled",
    "ENHANCE_YOUR_CALM": "ResourceExhausted",
    "FLOW_CONTROL_ERROR": "ResourceExhausted",
    "INADEQUATE_SECURITY": "PermissionDenied",
}
_HTTP_STATUSES = {
    "400": "Internal",
    "401": "Unauthenticated",
    "403": "PermissionDenied",
    "404": "Unimplemented",
    "429": "Unavailable",
    "502": "Unavailable",
    "503": "Unavailable",
    "504": "Unavailable",
}
_CODES = (
    "OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists PermissionDenied "
    "ResourceExhausted FailedPrecondition Aborted OutOfRange Unimplemented Internal Unavailable "
    "DataLoss Unauthenticated"
).split()


class UnhealthyError(WireError):
    """The app speaks gRPC and does not say ``SERVING``; the words are the kubelet's."""


class DeadlineExceededError(UnhealthyError):
    """The app itself says that it took too long."""


class Dialler:
    """Dials until the app takes the connection and speaks HTTP/2.

    ``failure`` is why the last attempt failed, for whoever cuts this short at a deadline.
    """

    def __init__(self, addresses: Sequence[str], port: int, network: Network) -> None:
        self._addresses = addresses
        self._port = port
        self._network = network
        self.failure: WireError | None = None

    async def connect(self) -> tuple[HTTP2Connection, str]:
        """Return a greeted connection and the address that took it; never gives up by itself."""
        backoff = _FIRST_BACKOFF
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                connected = await self._once()
            except (RefusedError, BadAnswerError) as error:
                self.failure = error
            else:
                self.failure = None
                return connected
            await asyncio.sleep(max(0.0, started + backoff - loop.time()))
            backoff *= _BACKOFF_FACTOR

    async def _once(self) -> tuple[HTTP2Connection, str]:
        stream, address = await dial(self._addresses, self._port, self._network)
        connection = HTTP2Connection(stream)
        try:
            await connection.greet(wait=True)
        except BaseException:
            connection.abandon()
            raise
        return connection, address


async def check(
    addresses: Sequence[str],
    port: int,
    service: str,
    deadline: float,
    network: Network,
    caller: bytes = b"kube-probe/",
) -> None:
    """Ask for the health of ``service`` (``""``: the server); returns where it is ``SERVING``.

    ``deadline`` is a time of the running loop, ``caller`` the ``User-Agent`` to go by.

    Raises:
        UnhealthyError: where the answer is another one, or none that gRPC knows.
        RefusedError: where nobody took a connection until the deadline.
        BadAnswerError: where somebody did, and it was no gRPC server.
        TimeoutError: where the deadline came first.
    """
    dialler = Dialler(addresses, port, network)
    try:
        async with asyncio.timeout_at(deadline):
            connection, address = await dialler.connect()
            try:
                await call(connection, authority(address, port), service, deadline, caller)
            finally:
                connection.abandon()
    except TimeoutError:
        if dialler.failure is not None:
            raise dialler.failure from None
        raise


async def call(
    connection: HTTP2Connection, host: str, service: str, deadline: float, caller: bytes
) -> None:
    """Make the call itself on a greeted connection to ``host`` (the ``:authority``).

    Raises:
        UnhealthyError: where the answer is not ``SERVING``.
        BadAnswerError: where the connection does not take the request.
    """
    left = max(1, int((deadline - asyncio.get_running_loop().time()) * 1000))
    try:
        number = await connection.request(
            [
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":path", b"/grpc.health.v1.Health/Check"),
                (b":authority", host.encode()),
                (b"content-type", b"application/grpc"),
                (b"user-agent", caller + b" " + _GRPC_CLIENT),
                (b"te", b"trailers"),
                (b"grpc-timeout", b"%dm" % left),
            ],
            _framed(_encode_request(service)),
        )
        status = await _read_answer(connection, number)
    except StreamResetError as error:
        detail = f"stream terminated by RST_STREAM with error code: {error.code}"
        raise _failed(_RESETS.get(error.code, "Internal"), detail) from None
    except BrokenOffError as error:
        reason = str(error).replace("unexpected EOF", "EOF")
        raise _failed("Unavailable", f"error reading from server: {reason}") from None
    if status != _SERVING:
        name = _STATUSES.get(status, str(status))
        raise UnhealthyError(f'service unhealthy (responded with "{name}")')


async def _read_answer(connection: HTTP2Connection, number: int) -> int:
    """The ``status`` field of the one message, once the trailers have said OK."""
    body = b""
    headers: dict[bytes, bytes] = {}
    while (event := await connection.next_event(number)) is not None:
        match event:
            case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                headers |= {bytes(name): bytes(value) for name, value in event.headers or []}
            case h2.events.DataReceived():
                body += event.data or b""
                if len(body) > _MAX_MESSAGE_BYTES:
                    raise _failed("ResourceExhausted", "grpc: received message larger than max")
                await connection.used(event)
    _require_ok(headers)
    if not body:
        raise UnhealthyError("error: health rpc probe failed: EOF")
    status = _decode_answer(body)
    if status is None:
        raise _failed("Internal", "grpc: failed to unmarshal the received message")
    return status


def _require_ok(headers: dict[bytes, bytes]) -> None:
    """Refuse what is no gRPC answer, and every status but OK."""
    _require_grpc(headers)
    code = headers.get(b"grpc-status")
    detail = unquote(headers.get(b"grpc-message", b"").decode("latin-1"))
    if code is None:
        raise _failed("Internal", "server closed the stream without sending trailers")
    if code == b"0":
        return
    number = int(code) if code.isdigit() and len(code) < 9 else 2
    if number == _DEADLINE_EXCEEDED:
        raise DeadlineExceededError(
            f"error: health rpc probe failed: rpc error: code = DeadlineExceeded desc = {detail}"
        )
    name = _CODES[number] if number < len(_CODES) else f"Code({number})"
    raise _failed(name, detail)


def _require_grpc(headers: dict[bytes, bytes]) -> None:
    # grpc-go http2_client.go operateHeaders
    status = headers.get(b":status", b"").decode("latin-1")
    content_type = headers.get(b"content-type")
    problems = []
    if status != "200":
        with contextlib.suppress(ValueError):
            status += f" ({HTTPStatus(int(status)).phrase})"
        problems.append(f"unexpected HTTP status code received from server: {status}")
    if content_type is None:
        problems.append("malformed header: missing HTTP content-type")
    elif not content_type.startswith(b"application/grpc"):
        problems.append(f"transport: received unexpected content-type {quote(content_type)}")
    if problems:
        raise _failed(_HTTP_STATUSES.get(status[:3], "Unknown"), "; ".join(problems))


def _failed(code: str, detail: str) -> UnhealthyError:
    """The error for a call that ended with the status ``code``."""
    if code == _CODES[_UNIMPLEMENTED]:
        return UnhealthyError(
            "error: this server does not implement the grpc health protocol "
            f"(grpc.health.v1.Health): {detail}"
        )
    return UnhealthyError(
        f"error: health rpc probe failed: rpc error: code = {code} desc = {detail}"
    )


def _framed(message: bytes) -> bytes:
    """A gRPC message: not compressed, length, content."""
    return struct.pack(">BI", 0, len(message)) + message


def _encode_request(service: str) -> bytes:
    """``HealthCheckRequest``: ``string service = 1``, left out when empty."""
    name = service.encode()
    return b"\x0a" + _varint(len(name)) + name if name else b""


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _decode_answer(body: bytes) -> int | None:
    """The status in a framed ``HealthCheckResponse`` (``enum status = 1``), ``None`` if broken.

    Fields that are not known are passed over, as protobuf wants it.
    """
    if len(body) < 5 or body[0] != 0 or struct.unpack(">I", body[1:5])[0] != len(body) - 5:
        return None
    status, at, end = 0, 5, len(body)
    while at < end:
        tag, at = _read_varint(body, at)
        match tag & 7:
            case 0:
                value, at = _read_varint(body, at)
                if tag >> 3 == 1:
                    status = value
            case 1:
                at += 8
            case 2:
                length, at = _read_varint(body, at)
                at += length
            case 5:
                at += 4
            case _:
                return None
    return status if at == end else None


def _read_varint(body: bytes, at: int) -> tuple[int, int]:
    """The number at ``at`` and where it ends; past the end of ``body`` where it is cut short."""
    number = shift = 0
    while at < len(body) and shift < 70:
        byte = body[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
        shift += 7
    return 0, len(body) + 1
