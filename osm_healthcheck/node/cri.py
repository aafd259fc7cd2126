"""What the container runtime knows of the node's pods, by the Container Runtime Interface.

The messages are those of ``k8s.io/cri-api/pkg/apis/runtime/v1/api.proto``. A call is a connection
of its own: there is one a second or so, and nothing has to be kept alive in between.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from osm_healthcheck.errors import OSMHealthcheckError
from osm_healthcheck.probes.constants import DECLARED_PROBES, MAX_NODE_DECLARATION_BYTES
from osm_healthcheck.wire import http2_frames as frames
from osm_healthcheck.wire import protobuf
from osm_healthcheck.wire.errors import WireError
from osm_healthcheck.wire.grpc_message import framed
from osm_healthcheck.wire.header_block import Field
from osm_healthcheck.wire.http2_connection import Client, HTTP2Connection
from osm_healthcheck.wire.stream import CHUNK_BYTES

DEFAULT_SOCKET = "/run/containerd/containerd.sock"
_SERVICE = "/runtime.v1.RuntimeService"
# 250 pods with 256 KiB of annotations each, the most that the API server takes
MAX_REPLY_BYTES = 64 * 1024 * 1024
_CLIENT = Client(
    settings={frames.INITIAL_WINDOW_SIZE: 1 << 20},
    connection_window=1 << 20,
    max_list=64 * 1024,
    is_strict=False,
)
_PREFIX_BYTES = 5
_NOT_ONE = "the reply is not one message, not compressed"
_READY = 0
_ANNOTATION = 6


class RuntimeUnavailableError(OSMHealthcheckError):
    """The container runtime could not be asked, or its answer is none."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        super().__init__(f"cannot ask the container runtime at {path}: {reason}")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One pod as the runtime lists it.

    ``declared`` is the annotation that has its probes; of one that is too long, enough to see that.
    """

    id: str
    name: str
    namespace: str
    is_ready: bool
    declared: bytes | None


@dataclass(frozen=True, slots=True)
class SandboxNetwork:
    """Where a pod's network is: its addresses, and the file of its network namespace."""

    addresses: tuple[str, ...]
    namespace_path: str


class ContainerRuntime:
    """The runtime behind the unix socket ``path``; each call has ``seconds`` to be answered."""

    def __init__(self, path: str = DEFAULT_SOCKET, seconds: float = 5.0) -> None:
        self.path = path
        self._seconds = seconds
        self._known: dict[tuple[int, int], Sandbox] = {}

    async def sandboxes(self) -> list[Sandbox]:
        """Every pod of this node.

        Raises:
            RuntimeUnavailableError: where the runtime does not tell.
        """
        cutter = protobuf.Cutter(1)
        listed: dict[tuple[int, int], Sandbox] = {}

        async def add(items: list[bytes]) -> None:
            for item in items:
                # What an author has written does not change, and takes long to read if it is much.
                # Python's hash is SipHash with a key of this process; hashlib is 2 MB of OpenSSL.
                key = (len(item), hash(item))
                listed[key] = self._known.get(key) or _sandbox(item)
                await asyncio.sleep(0)

        async def take(data: bytes) -> None:
            await add(cutter.feed(data))

        await self._call("ListPodSandbox", b"", take)
        try:
            await add(cutter.finish())
        except protobuf.MessageError as error:
            raise RuntimeUnavailableError(self.path, f"ListPodSandbox: {error}") from None
        self._known = listed
        return list(listed.values())

    async def network_of(self, sandbox_id: str) -> SandboxNetwork:
        """The network of one pod; what the runtime leaves out is empty.

        Raises:
            RuntimeUnavailableError: where the runtime does not tell, or has no such pod any more.
        """
        request = protobuf.text_field(1, sandbox_id) + protobuf.bool_field(2, True)
        reply = bytearray()

        async def take(data: bytes) -> None:
            reply.extend(data)

        await self._call("PodSandboxStatus", request, take)
        return self._network(bytes(reply))

    def _network(self, reply: bytes) -> SandboxNetwork:
        try:
            network = protobuf.message_in(protobuf.message_in(reply, 1), 5)
            more = [protobuf.text(one, 1) for one in protobuf.messages(network, 2)]
            addresses = tuple(filter(None, [protobuf.text(network, 1), *more]))
            return SandboxNetwork(addresses, _namespace_path(protobuf.text_map(reply, 2)))
        except protobuf.MessageError as error:
            raise RuntimeUnavailableError(self.path, f"PodSandboxStatus: {error}") from None

    async def _call(self, method: str, message: bytes, take: "_Take") -> None:
        """Call ``method``; the reply's message goes to ``take`` piece by piece."""
        try:
            async with asyncio.timeout(self._seconds):
                await _unary(self.path, f"{_SERVICE}/{method}", message, take)
                return
        except TimeoutError:
            reason = f"{method} was not answered within {self._seconds:g} s"
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
        except (WireError, protobuf.MessageError) as error:
            reason = f"{method}: {error}"
        raise RuntimeUnavailableError(self.path, reason)


_Take = Callable[[bytes], Awaitable[None]]


class _Reply:
    """The frame of gRPC around the one message of a reply."""

    def __init__(self, take: _Take) -> None:
        self._take = take
        self._prefix = b""
        self._left = 0

    async def feed(self, data: bytes) -> None:
        missing = _PREFIX_BYTES - len(self._prefix)
        if missing:
            self._prefix += data[:missing]
            data = data[missing:]
            if len(self._prefix) < _PREFIX_BYTES:
                return
            self._left = int.from_bytes(self._prefix[1:])
            if self._left > MAX_REPLY_BYTES:
                raise protobuf.MessageError(f"the reply is over {MAX_REPLY_BYTES} bytes")
        self._left -= len(data)
        if self._prefix[0] or self._left < 0:
            raise protobuf.MessageError(_NOT_ONE)
        await self._take(data)

    def finish(self) -> None:
        if self._left or len(self._prefix) < _PREFIX_BYTES:
            raise protobuf.MessageError(_NOT_ONE)


async def _unary(path: str, method: str, message: bytes, take: _Take) -> None:
    """One gRPC call on a connection of its own; see `ContainerRuntime._call`."""
    stream = await _UnixStream.connect(path)
    try:
        connection = HTTP2Connection(stream, _CLIENT)
        fields: list[Field] = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", method.encode()),
            (b":authority", b"localhost"),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        ]
        connection.request(fields, framed(message))
        reply = _Reply(take)
        status: dict[bytes, bytes] = {}
        while True:
            frame = await connection.next_frame()
            if frame.type == frames.DATA:
                await reply.feed(frame.payload)
            elif frame.type == frames.HEADERS:
                status |= dict(frame.fields)
            if frame.ends_stream:
                break
    finally:
        stream.close()
    if status.get(b"grpc-status") != b"0":
        reason = status.get(b"grpc-message") or b"no status"
        raise protobuf.MessageError(reason.decode("utf-8", "replace"))
    reply.finish()


class _UnixStream:
    """A connection to a unix socket; see `ByteStream`."""

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._sock = sock
        self._loop = loop

    @classmethod
    async def connect(cls, path: str) -> "_UnixStream":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(sock, path)
        except BaseException:
            sock.close()
            raise
        return cls(sock, loop)

    async def receive(self) -> bytes:
        return await self._loop.sock_recv(self._sock, CHUNK_BYTES)

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._sock, data)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.close()

    abandon = close


def _sandbox(item: bytes) -> Sandbox:
    wanted = DECLARED_PROBES.encode()
    # of the annotations, which may be tens of thousands, the one that is asked for
    found: dict[int, int | bytes] = {}
    declared: bytes | None = None
    for number, value in protobuf.fields(item):
        if number != _ANNOTATION:
            found[number] = value
        elif (
            isinstance(value, bytes) and wanted in value and protobuf.message_in(value, 1) == wanted
        ):
            declared = protobuf.message_in(value, 2)
    identity, metadata, state = found.get(1, b""), found.get(2, b""), found.get(3, 0)
    if not isinstance(identity, bytes) or not isinstance(metadata, bytes):
        raise protobuf.MessageError("a pod's id or metadata is a number")
    return Sandbox(
        id=identity.decode("utf-8", "replace"),
        name=protobuf.text(metadata, 1),
        namespace=protobuf.text(metadata, 3),
        is_ready=state == _READY,
        declared=None if declared is None else declared[: MAX_NODE_DECLARATION_BYTES + 1],
    )


def _namespace_path(info: Mapping[str, str]) -> str:
    """The path in the OCI runtime specification, which containerd and CRI-O tell in ``info``."""
    try:
        namespaces = json.loads(info["info"])["runtimeSpec"]["linux"]["namespaces"]
        return next(str(one["path"]) for one in namespaces if one["type"] == "network")
    except (KeyError, ValueError, TypeError, StopIteration):
        return ""
