"""Listening sockets from one agent to the next, so that no probe of a rolling update is refused.

The agent that serves listens on a unix socket. The one that starts beside it connects, gets a line
of JSON and the descriptors (SCM_RIGHTS) for every pod, serves them as well, and says so; then the
old one closes its own. A connection that waits in a listener's queue is taken by either.
"""

import array
import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Mapping

from osm_healthcheck.errors import OSMHealthcheckError
from osm_healthcheck.node.handover_path import SECONDS
from osm_healthcheck.server.pod_server import Listeners, close_all

_MAX_LINE = 64 * 1024
_MAX_DESCRIPTORS = 64
_ACCEPT_RETRY_SECONDS = 0.1
_DONE = b"served\n"


class HandoverError(OSMHealthcheckError):
    """The agent that serves does not hand its sockets over."""


class HandoverServer:
    """Hands listening sockets to the next agent, which connects to ``sock``."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.taken = asyncio.Event()

    async def run(
        self, listening: Callable[[], Mapping[str, Listeners]], lock: asyncio.Lock
    ) -> None:
        """Wait for the next agent, and hand it what ``listening`` returns then, by pod.

        ``lock`` is held from then on, so that a pod that comes is the next agent's alone. ``taken``
        is set once that serves all pods; where it fails, the lock is released.
        """
        loop = asyncio.get_running_loop()
        while not self.taken.is_set():
            try:
                caller, _ = await loop.sock_accept(self._sock)
            except OSError:  # no more files, say: those that are open will end
                await asyncio.sleep(_ACCEPT_RETRY_SECONDS)
                continue
            with caller:
                await lock.acquire()
                if await _hand_over(caller, listening()):
                    self.taken.set()
                else:
                    lock.release()

    def close(self) -> None:
        """Be found no more."""
        self._sock.close()


class Handover:
    """The other side: the sockets that an agent has handed over.

    Args:
        sock: a connection to that agent, which does not block.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.listeners: dict[str, Listeners] = {}
        self._sock: socket.socket | None = sock

    async def receive(self) -> None:
        """Take all that is handed over.

        Raises:
            HandoverError: where the agent does not do its part within `SECONDS`; nothing is taken.
        """
        try:
            async with asyncio.timeout(SECONDS):
                while await self._receive_one():
                    pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.close()
            while self.listeners:
                close_all(self.listeners.popitem()[1])
            raise HandoverError(str(error) or f"no end after {SECONDS:g} s") from None

    def finish(self) -> None:
        """Tell the old agent that its pods are served here; it closes its sockets."""
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.send(_DONE)
        self.close()

    def close(self) -> None:
        """End the conversation; without `finish`, the old agent goes on as before."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    async def _receive_one(self) -> bool:
        """Take the sockets of one pod; ``False`` at the end."""
        if self._sock is None:
            return False
        loop = asyncio.get_running_loop()
        await _until(self._sock, loop.add_reader, loop.remove_reader)
        line, descriptors, _, _ = socket.recv_fds(self._sock, _MAX_LINE, _MAX_DESCRIPTORS)
        sockets = [socket.socket(fileno=one) for one in descriptors]
        for one in sockets:
            one.setblocking(False)
        if not line:
            raise ValueError("the agent hung up before it had named all pods")
        said = json.loads(line)
        if said == {}:
            return False
        listening: dict[str, list[socket.socket]] = {}
        for name, one in zip(said["names"], sockets, strict=True):
            listening.setdefault(name, []).append(one)
        self.listeners[said["pod"]] = listening
        return True


async def _hand_over(caller: socket.socket, listening: Mapping[str, Listeners]) -> bool:
    """Send all sockets but those of pods that end meanwhile; whether the other side serves them."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(SECONDS):
            for identity, listeners in listening.items():
                await _until(caller, loop.add_writer, loop.remove_writer)
                _send(caller, identity, listeners)
            await loop.sock_sendall(caller, b"{}")
        async with asyncio.timeout(SECONDS):
            return await loop.sock_recv(caller, len(_DONE)) == _DONE
    except OSError:
        return False


def _send(caller: socket.socket, identity: str, listeners: Listeners) -> None:
    """Send the sockets of one pod.

    The event loop closes them when the pod ends, and then their numbers may be other sockets'. So
    they are looked up and sent with no turn of the loop, and no other thread, in between.
    """
    names = [name for name, sockets in listeners.items() for _ in sockets]
    descriptors = [one.fileno() for sockets in listeners.values() for one in sockets]
    if -1 in descriptors:
        return
    line = json.dumps({"pod": identity, "names": names}).encode()
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
    caller.sendmsg([line], [rights])


async def _until(
    sock: socket.socket,
    watch: Callable[[int, Callable[[], None]], object],
    leave: Callable[[int], object],
) -> None:
    """Wait until ``sock`` can be read or written, whichever the loop is told to watch."""
    is_ready = asyncio.Event()
    watch(sock.fileno(), is_ready.set)
    try:
        await is_ready.wait()
    finally:
        leave(sock.fileno())
