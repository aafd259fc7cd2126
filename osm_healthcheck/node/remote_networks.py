"""The networks of pods that another process holds: the end of the server, which has no rights.

Sockets to connect with are asked for before they are needed, several at once: a check takes one
that is there. Where a burst has used them up, or the other process stands still, checks wait for
more as long as they have time.
"""

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from osm_healthcheck.node import messages
from osm_healthcheck.node.pod import ListeningSockets, Pod, PodConsumer, PodNetworkError
from osm_healthcheck.wire.dial import NoSocketYetError

_RETRY_SECONDS = 0.1
_ANSWER_SECONDS = 5.0
# Where no more are left, new ones are asked for.
_FEW = messages.SOCKETS_AT_ONCE // 2
# messages that are read in one turn of the event loop
_TURN = 16
_ROOT = 0
_FD = struct.calcsize("i")
_ANCILLARY_BYTES = socket.CMSG_SPACE(messages.SOCKETS_AT_ONCE * _FD)


class RemoteNetworks:
    """Follows what the process at ``path`` tells of the node's pods; see `PodNetworks`."""

    def __init__(self, path: Path, consumer: PodConsumer) -> None:
        self._path = path
        self._consumer = consumer
        self._sock: socket.socket | None = None
        self._lost = asyncio.Event()
        self._networks: dict[str, _RemoteNetwork] = {}
        self._known: set[str] = set()
        self._told: set[str] = set()
        self._connected = asyncio.Event()
        self._handover: asyncio.Future[socket.socket | None] | None = None

    async def run(self) -> None:
        """Stay connected, until this is cancelled. Pods that are served stay so meanwhile."""
        while True:
            try:
                await self._connect()
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                self._consumer.unavailable(f"cannot ask for sockets at {self._path}: {reason}")
            else:
                await self._lost.wait()
                reason = (
                    f"the process that makes sockets ({self._path}) has hung up: "
                    "it has ended, or serves another user"
                )
                self._consumer.unavailable(reason)
            # where it hangs up at once, this user is not the one that it serves
            await asyncio.sleep(_RETRY_SECONDS)

    def close(self) -> None:
        """Let go of everything, and tell nobody."""
        self._lose()
        for network in self._networks.values():
            network.close()

    # -- see `HandoverPlace`

    async def connect(self) -> socket.socket | None:
        """See `HandoverPlace`."""
        return await self._ask_for_handover(messages.TAKE_OVER)

    async def listen(self) -> socket.socket | None:
        """See `HandoverPlace`."""
        return await self._ask_for_handover(messages.HAND_OVER)

    # -- what the network of a pod calls

    def request(self, kind: bytes, number: int, identity: str) -> bool:
        """Ask for something; whether that could be done."""
        if self._sock is None:
            return False
        try:
            self._sock.send(kind + bytes((number,)) + identity.encode())
        except OSError:  # it does not read what it is asked, or has ended
            return False
        return True

    # -- the rest

    async def _ask_for_handover(self, kind: bytes) -> socket.socket | None:
        await self._connected.wait()
        self._handover = asyncio.get_running_loop().create_future()
        self.request(kind, 0, "")
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._handover
        except TimeoutError:
            raise OSError(f"{self._path}: no answer") from None
        finally:
            self._handover = None

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            sock.connect(os.fspath(self._path))
            if (user := messages.user_of_peer(sock)) != _ROOT:
                raise PermissionError(errno.EPERM, f"user {user} is there, and not root")
        except BaseException:
            sock.close()
            raise
        self._told.clear()
        self._lost.clear()
        self._sock = sock
        self._connected.set()
        loop.add_reader(sock.fileno(), self._read)

    def _lose(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()
        for network in self._networks.values():
            network.lost()
        self._connected.clear()
        self._lost.set()

    def _read(self) -> None:
        for _ in range(_TURN):
            if not self._read_one():
                return

    def _read_one(self) -> bool:
        """Read one message, if there is one."""
        if self._sock is None:
            return False
        try:
            message, ancillary, _, _ = self._sock.recvmsg(
                messages.MAX_MESSAGE_BYTES, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return False
        except OSError:
            message, ancillary = b"", []
        if not message:
            self._lose()
            return False
        descriptors = [
            one for *_, data in ancillary for one in struct.unpack(f"{len(data) // _FD}i", data)
        ]
        kind, said, rest = messages.decode(message)
        if kind in (messages.TAKE_OVER, messages.HAND_OVER):
            self._take_handover(said["error"], descriptors)
        elif kind in (messages.SOCKETS, messages.LISTEN):
            network = self._networks.get(said["id"])
            if network is None:
                for one in descriptors:
                    os.close(one)
            elif kind == messages.SOCKETS:
                network.take_sockets(said["version"], said["code"], descriptors)
            else:
                network.take_listening(said["ports"], said["error"], descriptors)
        else:
            self._tell(kind, said, rest)
        return True

    def _take_handover(self, error: str, descriptors: Sequence[int]) -> None:
        sockets = [socket.socket(fileno=one) for one in descriptors]
        for one in sockets:
            one.setblocking(False)
        if self._handover is None or self._handover.done():
            for one in sockets:
                one.close()
        elif error:
            self._handover.set_exception(OSError(error))
        else:
            self._handover.set_result(sockets[0] if sockets else None)

    def _tell(self, kind: bytes, said: Any, rest: bytes) -> None:
        identity = said.get("id", "")
        match kind:
            case messages.FOUND:
                self._told.add(identity)
                self._known.add(identity)
                network = self._networks.setdefault(identity, _RemoteNetwork(self, identity))
                self._consumer.found(
                    Pod(
                        identity,
                        said["namespace"],
                        said["name"],
                        rest,
                        tuple(said["addresses"]),
                        said["path"],
                        network,
                    )
                )
            case messages.UNUSABLE:
                self._told.add(identity)
                self._known.add(identity)
                self._consumer.unusable(identity, said["name"], said["reason"])
            case messages.GONE:
                self._forget(identity)
            case messages.LISTED:
                for one in self._known - self._told:  # while there was nobody to tell it
                    self._forget(one)
                self._consumer.listed()
            case messages.UNAVAILABLE:
                self._consumer.unavailable(said["reason"])

    def _forget(self, identity: str) -> None:
        self._known.discard(identity)
        self._told.discard(identity)
        self._consumer.gone(identity)
        network = self._networks.pop(identity, None)
        if network is not None:
            network.close()


class _RemoteNetwork:
    """The network of one pod; see `PodNetwork`."""

    def __init__(self, remote: RemoteNetworks, identity: str) -> None:
        self._remote = remote
        self._id = identity
        self._ready: dict[int, deque[socket.socket]] = {4: deque(), 6: deque()}
        self._asked: dict[int, bool] = {}
        self._waiting: dict[int, list[asyncio.Future[int]]] = {4: [], 6: []}
        self._listening: asyncio.Future[ListeningSockets] | None = None

    async def listen(self, ports: Iterable[int]) -> ListeningSockets:
        """See `PodNetwork`."""
        bits = sum(1 << port - messages.FIRST_PORT for port in ports)
        self._listening = asyncio.get_running_loop().create_future()
        if not self._remote.request(messages.LISTEN, bits, self._id):
            raise PodNetworkError("the process that makes sockets cannot be asked")
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._listening
        except TimeoutError:
            raise PodNetworkError("the process that makes sockets does not answer") from None
        finally:
            self._listening = None

    def make_socket(self, family: socket.AddressFamily) -> socket.socket:
        """See `PodNetwork`."""
        version = messages.VERSIONS[family]
        ready = self._ready[version]
        if len(ready) <= _FEW:
            self._ask(version)
        if ready:
            return ready.popleft()
        if not self._asked[version]:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        coming = asyncio.get_running_loop().create_future()
        self._waiting[version].append(coming)
        raise NoSocketYetError(coming)

    def prepare(self, addresses: Iterable[str]) -> None:
        """See `PodNetwork`."""
        for version in {6 if ":" in one else 4 for one in addresses}:
            if not self._ready[version]:
                self._ask(version)

    def take_sockets(self, version: int, code: int, descriptors: Sequence[int]) -> None:
        """Take what was asked for."""
        self._asked[version] = False
        family = messages.FAMILIES[version]
        self._ready[version] += [
            # the flag tells Python what the descriptor is already
            socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, 0, one)
            for one in descriptors
        ]
        self._wake(version, 0 if descriptors else code or errno.ENOBUFS)

    def take_listening(self, ports: Sequence[int], error: str, descriptors: Sequence[int]) -> None:
        """Take what was asked for, or why it cannot be had."""
        sockets = [socket.socket(fileno=one) for one in descriptors]
        waiting = self._listening
        if waiting is None or waiting.done() or error or len(ports) != len(sockets):
            for one in sockets:
                one.close()
            if waiting is not None and not waiting.done():
                reason = error or "too few files are left for its sockets"
                waiting.set_exception(PodNetworkError(reason))
            return
        found: dict[int, list[socket.socket]] = {}
        for port, one in zip(ports, sockets, strict=True):
            one.setblocking(False)
            found.setdefault(port, []).append(one)
        waiting.set_result(found)

    def lost(self) -> None:
        """Nothing that was asked for will come."""
        self._asked.clear()
        for version in self._waiting:
            self._wake(version, errno.ENOBUFS)
        if self._listening is not None and not self._listening.done():
            self._listening.set_exception(PodNetworkError("the process that makes sockets ended"))

    def close(self) -> None:
        """Close the sockets that nobody has used."""
        self.lost()
        for ready in self._ready.values():
            while ready:
                with contextlib.suppress(OSError):
                    ready.pop().close()

    def _ask(self, version: int) -> None:
        if not self._asked.get(version):
            self._asked[version] = self._remote.request(messages.SOCKETS, version, self._id)

    def _wake(self, version: int, code: int) -> None:
        """Let those that wait try again, or tell them why there is nothing to wait for."""
        waiting, self._waiting[version] = self._waiting[version], []
        for one in waiting:
            if not one.done():  # else its check has ended
                one.set_result(code)
