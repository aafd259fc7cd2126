"""What the container runtime knows of the node's pods, by the Container Runtime Interface.

The messages are those of ``k8s.io/cri-api/pkg/apis/runtime/v1/api.proto``. A call is a connection
of its own: there is one a second or so, and nothing has to be kept alive in between.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from osm_healthcheck.errors import OSMHealthcheckError
from osm_healthcheck.probes.constants import DECLARED_PROBES
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
_READY = 0
_ANNOTATION = 6


class RuntimeUnavailableError(OSMHealthcheckError):
    """The container runtime could not be asked, or its answer is none."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        super().__init__(f"cannot ask the container runtime at {path}: {reason}")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One pod as the runtime lists it; ``declared`` is the annotation that has its probes."""

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
        reply = await self._call("ListPodSandbox", b"")
        known, self._known = self._known, {}
        try:
            for item in protobuf.messages(reply, 1):
                # What an author has written does not change, and takes long to read if it is much.
                # Python's hash is SipHash with a key of this process; hashlib is 2 MB of OpenSSL.
                key = (len(item), hash(item))
                self._known[key] = known.get(key) or _sandbox(item)
                await asyncio.sleep(0)
        except protobuf.MessageError as error:
            raise RuntimeUnavailableError(self.path, f"ListPodSandbox: {error}") from None
        return list(self._known.values())

    async def network_of(self, sandbox_id: str) -> SandboxNetwork:
        """The network of one pod; what the runtime leaves out is empty.

        Raises:
            RuntimeUnavailableError: where the runtime does not tell, or has no such pod any more.
        """
        request = protobuf.text_field(1, sandbox_id) + protobuf.bool_field(2, True)
        reply = await self._call("PodSandboxStatus", request)
        try:
            network = protobuf.message_in(protobuf.message_in(reply, 1), 5)
            more = [protobuf.text(one, 1) for one in protobuf.messages(network, 2)]
            addresses = tuple(filter(None, [protobuf.text(network, 1), *more]))
            return SandboxNetwork(addresses, _namespace_path(protobuf.text_map(reply, 2)))
        except protobuf.MessageError as error:
            raise RuntimeUnavailableError(self.path, f"PodSandboxStatus: {error}") from None

    async def _call(self, method: str, message: bytes) -> bytes:
        try:
            async with asyncio.timeout(self._seconds):
                return await _unary(self.path, f"{_SERVICE}/{method}", message)
        except TimeoutError:
            reason = f"{method} was not answered within {self._seconds:g} s"
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
        except (WireError, protobuf.MessageError) as error:
            reason = f"{method}: {error}"
        raise RuntimeUnavailableError(self.path, reason)


async def _unary(path: str, method: str, message: bytes) -> bytes:
    """One gRPC call on a connection of its own; the reply's message."""
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
        reply = bytearray()
        status: dict[bytes, bytes] = {}
        while True:
            frame = await connection.next_frame()
            if frame.type == frames.DATA:
                reply += frame.payload
                if len(reply) > MAX_REPLY_BYTES:
                    raise protobuf.MessageError(f"the reply is over {MAX_REPLY_BYTES} bytes")
            elif frame.type == frames.HEADERS:
                status |= dict(frame.fields)
            if frame.ends_stream:
                break
    finally:
        stream.close()
    if status.get(b"grpc-status") != b"0":
        reason = status.get(b"grpc-message") or b"no status"
        raise protobuf.MessageError(reason.decode("utf-8", "replace"))
    if len(reply) < 5 or reply[0] or len(reply) != 5 + int.from_bytes(reply[1:5]):
        raise protobuf.MessageError("the reply is not one message, not compressed")
    return bytes(reply[5:])


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
        declared=declared,
    )


def _namespace_path(info: Mapping[str, str]) -> str:
    """The path in the OCI runtime specification, which containerd and CRI-O tell in ``info``."""
    try:
        namespaces = json.loads(info["info"])["runtimeSpec"]["linux"]["namespaces"]
        return next(str(one["path"]) for one in namespaces if one["type"] == "network")
    except (KeyError, ValueError, TypeError, StopIteration):
        return ""
