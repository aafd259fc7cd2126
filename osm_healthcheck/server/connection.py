"""One caller's connection: one request, one answer, and the end.

One request a connection is what the kubelet makes, and what keeps pipelines and smuggled requests
from being anything at all: once a head has been read, nothing that follows is.
"""

import asyncio
import math
import socket
import struct
from collections.abc import Callable, Coroutine
from enum import Enum, auto
from typing import Any, Protocol

from osm_healthcheck.probes.addresses import AllowFrom, is_loopback, unmapped
from osm_healthcheck.server.connection_limiter import ConnectionLimiter
from osm_healthcheck.server.head_reader import HeadReader
from osm_healthcheck.server.inbox import Inbox
from osm_healthcheck.server.logs import Log
from osm_healthcheck.server.reply import Endpoint, Forbidden, Reply, TextReply, text_answer
from osm_healthcheck.server.request import Request
from osm_healthcheck.server.transport import READ_BYTES, SocketTransport

HEAD_SECONDS = 5.0
IDLE_SECONDS = 15.0
# A caller that goes on sending after its request is read so long, so that the answer reaches it.
LINGER_SECONDS = 1.0
# After so much, other connections get their turn, however fast this one's app and caller are.
TURN_BYTES = 64 * 1024

_TLS_HANDSHAKE = 0x16
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_FORBIDDEN = Forbidden()


class State(Enum):
    """What a connection is at. Its time limit is that of the state."""

    NEW = auto()  # nothing has come: IDLE_SECONDS
    HEAD = auto()  # a part of a head has come, or all of it, and it is being read: HEAD_SECONDS
    ANSWERING = auto()  # there is a request, with a deadline of its own
    ANSWERING_UNREAD = auto()  # the same, and the caller has sent, or will send, more than that
    PASSING = auto()  # TLS, to and from the app, which has a deadline of its own
    CLOSING = auto()  # the answer is written, and waits for its reader: IDLE_SECONDS
    LINGERING = auto()  # the same, and the caller's side is read to its end: LINGER_SECONDS
    CLOSED = auto()

    __hash__ = object.__hash__  # Enum's own is a function in Python, and called for every lookup


class Event(Enum):
    """What moves a connection on."""

    BYTES = auto()  # some came, which are no head that is remembered
    REQUEST = auto()  # a head was read, or is remembered, and nothing follows it
    REQUEST_AND_MORE = auto()  # a head was read, or cannot be, and the caller may go on sending
    TLS = auto()  # the endpoint takes the connection over
    ANSWERED = auto()  # all has been written
    LOST = auto()  # by the caller, by the network, or by us

    __hash__ = object.__hash__


# A pair that is missing cannot happen, and is an error of ours where it does.
TRANSITIONS: dict[State, dict[Event, State]] = {
    State.NEW: {
        Event.BYTES: State.HEAD,
        Event.REQUEST: State.ANSWERING,
        Event.TLS: State.PASSING,
        Event.LOST: State.CLOSED,
    },
    State.HEAD: {
        Event.BYTES: State.HEAD,
        Event.REQUEST: State.ANSWERING,
        Event.REQUEST_AND_MORE: State.ANSWERING_UNREAD,
        Event.LOST: State.CLOSED,
    },
    State.ANSWERING: {
        Event.BYTES: State.ANSWERING_UNREAD,
        Event.ANSWERED: State.CLOSING,
        Event.LOST: State.CLOSED,
    },
    State.ANSWERING_UNREAD: {
        Event.BYTES: State.ANSWERING_UNREAD,
        Event.ANSWERED: State.LINGERING,
        Event.LOST: State.CLOSED,
    },
    State.PASSING: {
        Event.BYTES: State.PASSING,
        Event.ANSWERED: State.CLOSING,
        Event.LOST: State.CLOSED,
    },
    State.CLOSING: {
        Event.BYTES: State.CLOSING,
        Event.ANSWERED: State.CLOSING,
        Event.LOST: State.CLOSED,
    },
    State.LINGERING: {
        Event.BYTES: State.LINGERING,
        Event.ANSWERED: State.LINGERING,
        Event.LOST: State.CLOSED,
    },
    State.CLOSED: {Event.ANSWERED: State.CLOSED},
}

_UNFINISHED = frozenset({State.ANSWERING, State.ANSWERING_UNREAD, State.PASSING})


class ServerContext(Protocol):
    """What every connection of a pod shares."""

    loop: asyncio.AbstractEventLoop
    limiter: ConnectionLimiter
    make_reader: Callable[[], asyncio.Protocol]
    allow_from: AllowFrom | None
    log: Log


class Connection:
    """The server's side of one connection.

    A head that is remembered, has come already and can be answered at once is all there is to most
    connections. Any other one is registered: read by the event loop, counted, with a time limit.
    """

    _state = State.NEW
    _is_registered = False
    _reader: HeadReader | None = None
    _inbox: Inbox | None = None
    _task: asyncio.Task[None] | None = None
    _drained: asyncio.Future[None] | None = None
    _turn = 0
    head_only = False
    expires = 0.0
    transport: SocketTransport

    def __init__(
        self, context: ServerContext, endpoint: Endpoint, sock: socket.socket, peer: str
    ) -> None:
        self._context = context
        self._endpoint = endpoint
        self._sock = sock
        self._peer = peer

    def begin(self) -> None:
        """Read what has come, and answer it, or register for what is to come."""
        if (allow := self._context.allow_from) is not None and not allow.permits(self._peer):
            self._endpoint = _FORBIDDEN
        try:
            data = self._sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            self._register()
            self.transport.resume_reading()
            return
        except OSError:
            data = b""
        if not data:  # the caller has left
            self._sock.close()
            return
        if (reply := self._endpoint.remembered.get(data)) is not None:
            self._answer(Event.REQUEST, reply)
            return
        self._register()
        self.transport.receive(data)
        if self._reader is None or not self._reader.whole:
            self.transport.resume_reading()

    # -- what `SocketTransport` calls

    def data_received(self, data: bytes) -> None:
        """Read the request, or whatever comes after it."""
        if self._state is State.NEW:
            if (reply := self._endpoint.remembered.get(data)) is not None:
                self._answer(Event.REQUEST, reply)
                return
            if data[0] == _TLS_HANDSHAKE and self._begin_tls(data):
                return
            self._reader = HeadReader(self._context.make_reader(), self, self._context.loop)
            self.expires = self._context.loop.time() + HEAD_SECONDS
        self._move(Event.BYTES)
        if self._reader is not None:
            self._reader.feed(data)
        elif self._inbox is not None:
            self._inbox.put(data)

    def eof_received(self) -> bool:
        """Take a caller that ends its side for one that has left, as the kubelet does in the end.

        Only TLS passed through has use for one half of a connection.
        """
        if self._inbox is not None:
            self._inbox.end()
            return True
        return False

    def connection_lost(self) -> None:
        """Stop whatever was done for this caller."""
        self._move(Event.LOST)
        self._context.limiter.remove(self)
        if self._reader is not None:
            self._reader.stop()
        if self._inbox is not None:
            self._inbox.end()
        if self._task is not None:
            self._task.cancel()
        self.resume_writing()

    def pause_writing(self) -> None:
        """Let `write` wait: the caller reads too slowly."""
        self._drained = self._context.limiter.paused(self)

    def resume_writing(self) -> None:
        """Let `write` go on."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    # -- what `ConnectionLimiter` calls

    def expire(self) -> None:
        """See `LimitedConnection`: what the kernel keeps for it is free at once."""
        self._break_off()
        self.transport.abort()

    # -- what `HeadReader` calls

    def request_read(self, head: bytes, request: Request, *, alone: bool) -> None:
        """See `HeadOwner`."""
        reply = self._endpoint.resolve(request)
        ended = alone and not request.has_body
        if ended:
            self._endpoint.remembered.add(head, reply)
        self._answer(Event.REQUEST if ended else Event.REQUEST_AND_MORE, reply)

    def request_refused(self, status: int, text: str) -> None:
        """See `HeadOwner`."""
        self._answer(Event.REQUEST_AND_MORE, TextReply(status, text))

    def failed(self, error: Exception) -> None:
        """Give up: whatever the error is, the kubelet must not wait for an answer."""
        self._context.log.error("a probe could not be answered", exc_info=error)
        self._break_off()

    # -- what endpoints and replies call: see `Caller`

    @property
    def local_address(self) -> str:
        """The address that the caller connected to."""
        return unmapped(self._sock.getsockname()[0])

    @property
    def is_from_loopback(self) -> bool:
        """Whether the caller is in this pod, or behind ``kubectl port-forward``.

        A mesh's proxy may hand on what comes from elsewhere, as Istio's does from 127.0.0.6 to the
        pod's own address: both ends have to be loopback.
        """
        return is_loopback(unmapped(self._peer)) and is_loopback(self.local_address)

    def respond(self, status: int, text: str, headers: bytes = b"") -> None:
        """Answer with one line of text, and close."""
        self.send(text_answer(status, text, headers, head_only=self.head_only))

    def send(self, answer: bytes) -> None:
        """Send an answer that is whole, and close."""
        if self._state is State.CLOSED:
            return
        if not self._is_registered:
            try:
                sent = self._sock.send(answer)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:  # the caller has left
                sent = len(answer)
            if sent == len(answer):
                self._state = State.CLOSED
                self._sock.close()
                return
            self._register()
            answer = answer[sent:]
        self.transport.write(answer)
        self.close()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Answer in a task, which ends when the caller leaves."""
        self._register()
        self._task = self._context.loop.create_task(work)
        self._task.add_done_callback(self._answered)
        self.transport.resume_reading()

    async def write(self, data: bytes) -> None:
        """Send ``data``; back when the caller has read enough for more."""
        self.transport.write(data)
        self._turn += len(data)
        if self._drained is not None:
            await self._drained
        elif self._turn >= TURN_BYTES:
            self._turn = 0
            await asyncio.sleep(0)

    def close(self) -> None:
        """End the connection after what has been written.

        A caller that is still sending would be reset by that, and might lose the answer: its
        side is read to the end, for `LINGER_SECONDS`. One that reads slowly has as long as an idle
        one for what is left.
        """
        before = self._state
        self._move(Event.ANSWERED)
        if self._state is before:
            return
        lingers = self._state is State.LINGERING
        self.expires = self._context.loop.time() + (LINGER_SECONDS if lingers else IDLE_SECONDS)
        self._end(self.transport.end if lingers else self.transport.close)

    def reset(self) -> None:
        """Break the connection off, so that nobody takes what was written for the whole."""
        if self._state is not State.CLOSED:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.abort()

    def abort(self) -> None:
        """End without a word."""
        self._register()
        self._end(self.transport.abort)

    async def receive(self) -> bytes:
        """The caller's next bytes on a connection that was taken over; ``b""`` at the end."""
        return await self._inbox.get() if self._inbox is not None else b""

    def held_up(self) -> "asyncio.Future[None]":
        """Note that the app does not read, until what is returned is done."""
        return self._context.limiter.paused(self)

    # -- the rest

    def _register(self) -> None:
        """Have a transport, which the event loop can read, be counted, and have a time limit."""
        if self._is_registered:
            return
        self._is_registered = True
        self.transport = SocketTransport(self._sock, self, self._context.loop)
        self._context.limiter.add(self)
        if self._state is State.NEW:
            self.expires = self._context.loop.time() + IDLE_SECONDS
        else:
            self._in_flight()

    def _break_off(self) -> None:
        """End at once. FIN after half an answer would read as the end of a whole one."""
        if self._state in _UNFINISHED or (self._is_registered and self.transport.unsent()):
            self.reset()
        elif self._state is not State.CLOSED:
            self.abort()

    def _end(self, how: Callable[[], None]) -> None:
        """End as ``how`` does; a task that answers, and says so, takes note of its result first."""
        if self._task is None:
            how()
        else:
            self._context.loop.call_soon(how)

    def _move(self, event: Event) -> None:
        self._state = TRANSITIONS[self._state][event]

    def _begin_tls(self, data: bytes) -> bool:
        self._inbox = Inbox(self.transport, self._context.loop)
        if not self._endpoint.take_over(self, data):
            self._inbox = None
            return False
        if self._task is not None:  # else it has been ended
            self._move(Event.TLS)
            self._in_flight()
        return True

    def _answer(self, event: Event, reply: Reply) -> None:
        self._move(event)
        if self._is_registered:
            self._reader = None
            self._in_flight()
            if self.transport.is_closing():
                return  # the caller left while its request was read
            if event is Event.REQUEST_AND_MORE:
                self.transport.resume_reading()
        self.head_only = reply.head_only
        try:
            reply.answer(self)
        except Exception as error:
            self.failed(error)

    def _in_flight(self) -> None:
        self._context.limiter.request_received(self)
        self.expires = math.inf

    def _answered(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self.failed(error)
        elif self._state in _UNFINISHED:  # its time was up before all had been written
            self._break_off()
