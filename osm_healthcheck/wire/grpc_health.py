"""``grpc.health.v1.Health/Check`` over plaintext HTTP/2, as the kubelet calls it.

From ``pkg/probe/grpc/grpc.go`` and grpc-go: dialling is blocking and is tried again with grpc-go's
backoff as long as the deadline allows; a connection counts once the server has sent its settings.
A call that the server has not looked at is made again on a new connection.
"""

import asyncio
import socket
from collections.abc import Sequence

from osm_healthcheck.probes.quote import quote
from osm_healthcheck.wire import http2_frames as frames
from osm_healthcheck.wire.dial import Network, dial
from osm_healthcheck.wire.errors import (
    BadAnswerError,
    BrokenOffError,
    DialError,
    StreamResetError,
    WireError,
    authority,
)
from osm_healthcheck.wire.grpc_message import PIECE_BYTES, framed
from osm_healthcheck.wire.grpc_reply import Reply, StatusError, keeps
from osm_healthcheck.wire.header_block import Field
from osm_healthcheck.wire.http2_connection import (
    MAX_CONCURRENT_STREAMS,
    Client,
    HTTP2Connection,
)
from osm_healthcheck.wire.http2_frames import (
    ConnectionFailedError,
    Frame,
    StreamFailedError,
    error_name,
    quoted,
)
from osm_healthcheck.wire.protobuf import text_field
from osm_healthcheck.wire.stream import Stream

# An app that looks at its caller's name must see the kubelet's, whose client is grpc-go.
_GRPC_CLIENT = b"grpc-go/1.79.3"
_GRPC_GO = Client(settings={}, connection_window=0, max_list=16 * 1024 * 1024, is_strict=False)
_STATUSES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_SERVING = 1
# grpc-go backoff.DefaultConfig, without its jitter
_FIRST_BACKOFF = 1.0
_BACKOFF_FACTOR = 1.6
_MAX_BACKOFF = 120.0
# grpc-go waits for nothing where a connection ends before a call is on it
_FIRST_PAUSE = 0.01
_MAX_PAUSE = 0.1
# grpc-go http_util.go http2ErrConvTab: what HTTP/2's errors mean to gRPC
_RESETS = {
    "CANCEL": "Canceled",
    "ENHANCE_YOUR_CALM": "ResourceExhausted",
    "FLOW_CONTROL_ERROR": "ResourceExhausted",
    "INADEQUATE_SECURITY": "PermissionDenied",
}


_MAX_TIMEOUT_VALUE = 10**8 - 1
_SECOND = 10**9
_TIMEOUT_UNITS = (  # in nanoseconds
    (b"n", 1),
    (b"u", 10**3),
    (b"m", 10**6),
    (b"S", _SECOND),
    (b"M", 60 * _SECOND),
    (b"H", 3600 * _SECOND),
)


class UnhealthyError(WireError):
    """The app speaks gRPC and does not say ``SERVING``; the words are the kubelet's."""


class DeadlineExceededError(UnhealthyError):
    """The app itself says that it took too long."""


class Channel:
    """A connection to an app that is made anew where a call needs it: grpc-go's ``ClientConn``.

    ``failure`` is why there is no connection for a call, for whoever cuts this short at a deadline.
    """

    def __init__(self, addresses: Sequence[str], port: int, network: Network) -> None:
        self._network = network
        self._addresses = addresses
        self._port = port
        self._connection: HTTP2Connection | None = None
        self._stream: Stream | None = None
        self.failure: WireError | None = None
        self.address = ""

    async def connect(self) -> None:
        """Connect, as often as it takes: until an app sends its settings."""
        backoff = _FIRST_BACKOFF
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                await self._connect_once()
            except (DialError, BadAnswerError) as error:
                self.failure = error
            else:
                self.failure = None
                return
            await asyncio.sleep(max(0.0, started + backoff - loop.time()))
            backoff = min(backoff * _BACKOFF_FACTOR, _MAX_BACKOFF)

    async def check(self, host: str, service: str, deadline: float, caller: bytes) -> None:
        """Ask for the health of ``service``, with ``host`` for the ``:authority``.

        A call that the app has not looked at is made again once; on a connection that ends before
        the call is on it, as often as it takes (grpc-go, ``csAttempt.shouldRetry``).

        Raises:
            UnhealthyError: where the answer is not ``SERVING``.
        """
        is_first = True
        pause = 0.0
        while True:
            try:
                status = await self._call(host, service, deadline, caller)
            except _NotStartedError as error:
                self.failure = BadAnswerError(str(error))
                self.abandon()
            except _UnprocessedError as error:
                if not is_first:
                    raise _failed(error) from None
                if error.ends_connection:
                    self.abandon()
            except StatusError as error:
                raise _failed(error) from None
            else:
                self.failure = None
                break
            is_first = False
            if self._connection is None:
                await asyncio.sleep(pause)
                pause = min(max(2 * pause, _FIRST_PAUSE), _MAX_PAUSE)
                await self._reconnect()
        if status != _SERVING:
            name = _STATUSES.get(status, str(status))
            raise UnhealthyError(f'service unhealthy (responded with "{name}")')

    def abandon(self) -> None:
        """End the connection, with FIN."""
        if self._connection is not None:
            self._connection.abandon()
            self._connection = None

    async def _connect_once(self) -> None:
        self._stream, self.address = await dial(self._addresses, self._port, self._network)
        self._connection = HTTP2Connection(self._stream, _GRPC_GO, keeps)
        try:
            await self._connection.greet()
        except BrokenOffError as error:
            self.abandon()
            raise BadAnswerError(str(error)) from None
        except BaseException:
            self.abandon()
            raise

    async def _reconnect(self) -> None:
        """Connect once more, in the middle of a call; that it fails is the call's end."""
        try:
            await self._connect_once()
        except DialError as error:
            where = f"dial tcp {authority(error.address, error.port)}: connect"
            reason = f"transport: Error while dialing: {where}: {error.reason}"
        except BadAnswerError as error:
            reason = f"error reading server preface: {error}"
        else:
            return
        raise _failed(StatusError("Unavailable", f'connection error: desc = "{reason}"'))

    async def _call(self, host: str, service: str, deadline: float, caller: bytes) -> int:
        """Make the call on the connection that there is; the status that the app tells."""
        connection, stream = self._connection, self._stream
        assert connection is not None  # noqa: S101
        assert stream is not None  # noqa: S101
        left = deadline - asyncio.get_running_loop().time()
        fields: list[Field] = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", b"/grpc.health.v1.Health/Check"),
            (b":authority", host.encode()),
            (b"content-type", b"application/grpc"),
            (b"user-agent", caller + b" " + _GRPC_CLIENT),
            (b"te", b"trailers"),
            (b"grpc-timeout", encode_timeout(left)),
        ]
        await _wait_for_room(connection, stream)
        if (limit := connection.exceeded_limit(fields)) is not None:
            raise StatusError(
                "Internal",
                f"header list size to send violates the maximum size ({limit} bytes) set by server",
            )
        connection.request(fields, framed(text_field(1, service)))
        try:
            return await _read_reply(connection)
        except StreamFailedError as error:
            code = _RESETS.get(error.code, "Internal")
            raise StatusError(code, error.detail or "received invalid frame") from None
        except StreamResetError as error:
            detail = f"stream terminated by RST_STREAM with error code: {error.code}"
            if error.code == "REFUSED_STREAM":
                raise _UnprocessedError(detail, ends_connection=False) from None
            code = "Unknown" if error.code.startswith("unknown") else "Internal"
            raise StatusError(_RESETS.get(error.code, code), detail) from None


class _NotStartedError(Exception):
    """The connection ended before the call was on it."""


class _UnprocessedError(StatusError):
    """The app has not looked at the call, and takes another one, unless it ends the connection."""

    def __init__(self, detail: str, *, ends_connection: bool) -> None:
        self.ends_connection = ends_connection
        super().__init__("Unavailable", detail)


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
        DialError: where there was no connection until the deadline.
        BadAnswerError: where somebody did, and it was no gRPC server.
        TimeoutError: where the deadline came first.
    """
    channel = Channel(addresses, port, network)
    try:
        async with asyncio.timeout_at(deadline):
            await channel.connect()
            host = authority(channel.address, port)
            await channel.check(host, service, deadline, caller)
    except TimeoutError:
        if channel.failure is not None:
            raise channel.failure from None
        raise
    finally:
        channel.abandon()


def encode_timeout(seconds: float) -> bytes:
    """What ``grpc-timeout`` says for ``seconds`` (grpc-go's ``EncodeDuration``).

    Eight digits, more of which a server refuses, in the finest unit that they do for. It is rounded
    up: the app's own deadline must not come before ours.
    """
    left = max(1, round(seconds * 1e9))
    unit, size = next(one for one in _TIMEOUT_UNITS if left <= one[1] * _MAX_TIMEOUT_VALUE)
    return b"%d%b" % (-(-left // size), unit)


async def _wait_for_room(connection: HTTP2Connection, stream: Stream) -> None:
    """Wait until the app takes a call, in the light of what it has said so far.

    Raises:
        _NotStartedError: where it has closed the connection, or is about to.
        StatusError: where it speaks no HTTP/2.
    """
    settings = connection.settings or {}
    try:
        while True:
            frame = await connection.waiting_frame()
            if frame is None:
                if settings.get(MAX_CONCURRENT_STREAMS, 1):
                    break
                frame = await connection.next_frame()
            if frame.type == frames.GOAWAY:
                raise _NotStartedError("the connection is draining")
    except (ConnectionFailedError, StreamFailedError) as error:
        raise StatusError("Unavailable", f"error reading from server: {error}") from None
    except BrokenOffError as error:
        raise _NotStartedError(str(error)) from None
    try:
        if stream.sock.recv(1, socket.MSG_PEEK) == b"":
            raise _NotStartedError("EOF")
    except (BlockingIOError, InterruptedError):
        return
    except OSError as error:
        raise _NotStartedError(error.strerror) from None


async def _read_reply(connection: HTTP2Connection) -> int:
    reply = Reply()
    farewell = ""
    try:
        while not reply.is_whole:
            frame = await connection.next_frame()
            match frame.type:
                case frames.HEADERS:
                    await reply.take_headers(frame)
                case frames.DATA:
                    await _take_data(reply, frame)
                case frames.GOAWAY:
                    said = _take_goaway(frame, connection.stream)
                    farewell = farewell or said
    except (StreamFailedError, StreamResetError):
        raise
    except BrokenOffError as error:
        reason = f"error reading from server: {error}"
        if connection.is_silent:
            # It has not even acknowledged our settings: the end was on its way before the call.
            raise _UnprocessedError(reason, ends_connection=True) from None
        if farewell:
            reason = (
                f"closing transport due to: connection error: desc = {quote(reason.encode())}, "
                f"received prior goaway: {farewell}"
            )
        raise StatusError("Unavailable", reason) from None
    return reply.status


async def _take_data(reply: Reply, frame: Frame) -> None:
    data = frame.payload
    while len(data) > PIECE_BYTES:
        reply.take_data(data[:PIECE_BYTES], ends_stream=False)
        data = data[PIECE_BYTES:]
        await asyncio.sleep(0)
    reply.take_data(data, ends_stream=frame.ends_stream)


def _take_goaway(frame: Frame, stream: int) -> str:
    """What an app that shuts down says; a call that it has taken on, it may still finish.

    Raises:
        _UnprocessedError: where it has not.
    """
    last = frame.number
    if last and last % 2 == 0:
        return ""  # no stream of ours has such a number, and grpc-go pays no heed to it
    if last < stream:
        raise _UnprocessedError("the connection is draining", ends_connection=True)
    code, debug = int.from_bytes(frame.payload[4:8]), frame.payload[8:]
    said = f", debug data: {quoted(debug)}" if debug else ""
    return f"code: {error_name(code)}{said}"


def _failed(error: StatusError) -> UnhealthyError:
    """The kubelet's words for a call that has failed."""
    if error.code == "Unimplemented":
        return UnhealthyError(
            "error: this server does not implement the grpc health protocol "
            f"(grpc.health.v1.Health): {error.detail}"
        )
    kind = DeadlineExceededError if error.code == "DeadlineExceeded" else UnhealthyError
    return kind(f"error: health rpc probe failed: {error}")
