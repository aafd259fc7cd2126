"""Hands out sockets in the networks of pods: the end of the process that has rights.

Nothing that it is asked for is trusted: it listens on 15901-15904 and nowhere else, in the network
of a pod that it has told of itself, and what a socket may be used for is in `socket_filter`.
"""

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from osm_healthcheck.node import messages
from osm_healthcheck.node.handover_path import HandoverPath
from osm_healthcheck.node.network_namespace import NetworkNamespace
from osm_healthcheck.node.pod import Pod, PodNetworkError
from osm_healthcheck.node.pod_networks import PodNetworks
from osm_healthcheck.node.socket_filter import allow_callers, allow_the_pod_itself
from osm_healthcheck.server.logs import TARGET_BURST, TARGET_PER_SECOND, Log
from osm_healthcheck.server.rate_limit import RateLimit

# events that wait for a server which does not read them: a node's pods, several times over
_MAX_WAITING = 4096
_ACCEPT_RETRY_SECONDS = 0.1


class SocketServer:
    """Tells one server at a time of the node's pods, and hands it sockets.

    Args:
        path: the unix socket at which it is found; a file that is there is replaced.
        user: who may connect.
        handover: where agents find each other, which is not the server's to know.

    Raises:
        OSError: where nothing can be had at ``path``.
    """

    def __init__(self, path: Path, user: int, handover: HandoverPath, log: Log) -> None:
        self._user = user
        self._handover = handover
        self._log = log
        self._refusals = RateLimit(TARGET_PER_SECOND, TARGET_BURST)
        self._connections = RateLimit(TARGET_PER_SECOND, TARGET_BURST)
        self._peer: _Peer | None = None
        path.unlink(missing_ok=True)
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            self._sock.bind(os.fspath(path))
            path.chmod(0o666)  # the server has a user of its own, which is looked at
            self._sock.listen(8)
        except BaseException:
            self._sock.close()
            raise

    async def run(self, networks: PodNetworks) -> None:
        """Wait for servers, until this is cancelled. The last one that connects is served."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                caller, _ = await loop.sock_accept(self._sock)
            except OSError:  # no more files, say: those that are open will end
                await asyncio.sleep(_ACCEPT_RETRY_SECONDS)
                continue
            user = messages.user_of_peer(caller)
            if user != self._user:
                self._log.limited(
                    logging.WARNING,
                    self._refusals,
                    "another user is not served",
                    user=user,
                    expected=self._user,
                )
                caller.close()
                continue
            if self._peer is not None:
                self._peer.close()
            self._log.limited(logging.INFO, self._connections, "a server has connected")
            self._peer = _Peer(caller, networks, self._handover, self._warn, loop)
            networks.tell()

    def close(self) -> None:
        """Serve nobody any more."""
        self._sock.close()
        if self._peer is not None:
            self._peer.close()

    # -- what `PodNetworks` calls: see `PodConsumer`

    def found(self, pod: Pod) -> None:
        """See `PodConsumer`."""
        said: dict[str, object] = {
            "id": pod.id,
            "namespace": pod.namespace,
            "name": pod.name,
            "addresses": pod.addresses,
            "path": pod.path,
        }
        self._say(messages.FOUND, said, pod.declared)

    def unusable(self, identity: str, name: str, reason: str) -> None:
        """See `PodConsumer`."""
        self._say(messages.UNUSABLE, {"id": identity, "name": name, "reason": reason[:4096]})

    def gone(self, identity: str) -> None:
        """See `PodConsumer`."""
        self._say(messages.GONE, {"id": identity})

    def listed(self) -> None:
        """See `PodConsumer`."""
        self._say(messages.LISTED, {})

    def unavailable(self, reason: str) -> None:
        """See `PodConsumer`."""
        self._say(messages.UNAVAILABLE, {"reason": reason[:4096]})

    def _warn(self, reason: str) -> None:
        self._log.limited(logging.WARNING, self._connections, f"{reason}: it is let go")

    def _say(self, kind: bytes, said: dict[str, object], rest: bytes = b"") -> None:
        if self._peer is not None:
            self._peer.send(messages.encode(kind, said, rest))


class _Peer:
    """A connected server. While it does not read what is said, nothing that it asks is read."""

    def __init__(
        self,
        sock: socket.socket,
        networks: PodNetworks,
        handover: HandoverPath,
        warn: Callable[[str], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._sock: socket.socket | None = sock
        self._networks = networks
        self._handover = handover
        self._warn = warn
        self._loop = loop
        self._waiting: deque[tuple[bytes, Sequence[socket.socket]]] = deque()
        self._is_full = False
        sock.setblocking(False)
        loop.add_reader(sock.fileno(), self._read)

    def send(self, message: bytes, sockets: Sequence[socket.socket] = ()) -> None:
        """Say something, now or when there is room; ``sockets`` are closed here then."""
        if self._sock is None:  # it was let go
            _close(sockets)
            return
        self._waiting.append((message, sockets))
        if len(self._waiting) == 1:
            self._flush()
        elif len(self._waiting) > _MAX_WAITING:
            self._warn("the server does not read what it is told")
            self.close()

    def close(self) -> None:
        """Let it go; it finds out and connects again."""
        sock, self._sock = self._sock, None
        if sock is not None:
            self._loop.remove_reader(sock.fileno())
            self._loop.remove_writer(sock.fileno())
            sock.close()
        for _, sockets in self._waiting:
            _close(sockets)
        self._waiting.clear()

    def _flush(self) -> None:
        sock = self._sock
        while sock is not None and self._waiting:
            message, sockets = self._waiting[0]
            descriptors = struct.pack(f"{len(sockets)}i", *(one.fileno() for one in sockets))
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)] if sockets else []
            try:
                sock.sendmsg([message], rights)
            except BlockingIOError:
                if not self._is_full:
                    self._loop.remove_reader(sock.fileno())
                    self._loop.add_writer(sock.fileno(), self._flush)
                self._is_full = True
                return
            except OSError:
                self.close()
                return
            self._waiting.popleft()
            _close(sockets)
        if sock is not None and self._is_full:
            self._loop.remove_writer(sock.fileno())
            self._loop.add_reader(sock.fileno(), self._read)
            self._is_full = False

    def _read(self) -> None:
        if self._sock is None:
            return
        try:
            request = self._sock.recv(messages.MAX_REQUEST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            request = b""
        if not request:
            self.close()
            return
        kind, number, identity = request[:1], request[1:2], request[2:].decode("ascii", "replace")
        network = self._networks.get(identity)
        if kind == messages.LISTEN and number:
            self._listen(network, identity, number[0])
        elif kind == messages.SOCKETS and number and number[0] in messages.FAMILIES:
            self._make_sockets(network, identity, number[0])
        elif kind == messages.TAKE_OVER:
            self._answer(kind, self._handover.connection)
        elif kind == messages.HAND_OVER:
            self._answer(kind, self._handover.listening)
        else:
            self._warn("the server asks for something that there is not")
            self.close()

    def _answer(self, kind: bytes, make: Callable[[], socket.socket | None]) -> None:
        sock, problem = None, ""
        try:
            sock = make()
        except OSError as error:
            problem = str(error)
        self.send(messages.encode(kind, {"error": problem}), [] if sock is None else [sock])

    def _listen(self, network: NetworkNamespace | None, identity: str, bits: int) -> None:
        ports = [messages.FIRST_PORT + at for at in range(messages.PORTS) if bits >> at & 1]
        numbers: list[int] = []
        sockets: list[socket.socket] = []
        error = ""
        try:
            if network is None:
                raise PodNetworkError("the pod is gone")
            for port, listening in network.listening(ports).items():
                numbers += [port] * len(listening)
                sockets += listening
            for one in sockets:
                allow_callers(one)
        except (PodNetworkError, OSError) as failed:
            error = str(failed)
            _close(sockets)
            numbers, sockets = [], []
        said = {"id": identity, "ports": numbers, "error": error}
        self.send(messages.encode(messages.LISTEN, said), sockets)

    def _make_sockets(self, network: NetworkNamespace | None, identity: str, version: int) -> None:
        sockets: list[socket.socket] = []
        code = 0
        if network is not None:
            try:
                family = messages.FAMILIES[version]
                sockets = network.make_sockets(family, messages.SOCKETS_AT_ONCE)
                for one in sockets:
                    allow_the_pod_itself(one)
            except OSError as error:
                code = error.errno or 0
                _close(sockets)
                sockets = []
        said = {"id": identity, "version": version, "code": code}
        self.send(messages.encode(messages.SOCKETS, said), sockets)


def _close(sockets: Sequence[socket.socket]) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.close()
