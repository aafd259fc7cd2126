"""What a request comes to, and the bytes of the answers that are our own.

`Endpoint.resolve` says what a request comes to, and does nothing yet. `Reply.answer` does it, the
same way each time, so that a reply can be used again for a head that comes again.
"""

import asyncio
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, Protocol

from osm_healthcheck.probes.hooks import is_hook_path
from osm_healthcheck.server.request import Request

ALLOW = b"Allow: GET, HEAD\r\n"
# What the kubelet sends for a probe is the same bytes every time.
MAX_REMEMBERED_HEADS = 64
MAX_REMEMBERED_HEAD_BYTES = 1024
# A probe may declare 30 KiB of headers, and a caller may have as many heads as there are.
MAX_REMEMBERED_BYTES = 64 * 1024

_TEXT = b"text/plain; charset=utf-8"
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


class Caller(Protocol):
    """Who has asked, and takes one answer: a connection. ``head_only``: without a body."""

    head_only: bool

    @property
    def local_address(self) -> str:
        """The address that the caller connected to."""

    @property
    def is_from_loopback(self) -> bool:
        """Whether the caller is in this pod, or behind ``kubectl port-forward``."""

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Answer in a task, which ends when the caller leaves."""

    def respond(self, status: int, text: str, headers: bytes = b"") -> None:
        """Answer with one line of text, and close."""

    def send(self, answer: bytes) -> None:
        """Send an answer that is whole, and close."""

    async def write(self, data: bytes) -> None:
        """Send ``data``; back when the caller has read enough for more."""

    async def receive(self) -> bytes:
        """The caller's next bytes on a connection that was taken over; ``b""`` at the end."""

    def held_up(self) -> asyncio.Future[None]:
        """Note that the app does not read, until what is returned is done."""

    def close(self) -> None:
        """End the connection after what has been written."""

    def reset(self) -> None:
        """Break the connection off, so that nobody takes what was written for the whole."""

    def abort(self) -> None:
        """End without a word."""

    def expire(self) -> None:
        """End at once: the time is up, or the room is needed."""


class Reply(Protocol):
    """What a request comes to.

    ``lasting`` is whether the same bytes always come to the same: not for errors, nor where the
    answer is about this very moment. ``held_bytes`` is how much of a probe's and a caller's it
    keeps while it is remembered. ``head_only`` is whether the caller wants no body.
    """

    lasting: bool
    held_bytes: int
    head_only: bool

    def answer(self, connection: Caller) -> None:
        """Answer on ``connection``, at once or in a task that is started there."""


class Endpoint(Protocol):
    """What is behind a port."""

    remembered: "RememberedHeads"

    def resolve(self, request: Request) -> Reply:
        """Say what ``request`` comes to."""

    def take_over(self, connection: Caller, first: bytes) -> bool:
        """Take a connection that begins with TLS bytes; ``False`` where they are not wanted."""


class RememberedHeads:
    """What heads came to, byte for byte, so that they need not be read again.

    At most `MAX_REMEMBERED_HEADS` of `MAX_REMEMBERED_HEAD_BYTES`, and `MAX_REMEMBERED_BYTES` with
    what their replies hold; the oldest makes room.
    """

    def __init__(self) -> None:
        self._replies: dict[bytes, Reply] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._replies)

    def get(self, head: bytes) -> Reply | None:
        """What ``head`` came to, if it is remembered. A long one costs no look at its bytes."""
        return self._replies.get(head) if len(head) <= MAX_REMEMBERED_HEAD_BYTES else None

    def add(self, head: bytes, reply: Reply) -> None:
        """Remember ``reply`` if it lasts and both are short enough."""
        size = len(head) + reply.held_bytes
        if (
            not reply.lasting
            or len(head) > MAX_REMEMBERED_HEAD_BYTES
            or size > MAX_REMEMBERED_BYTES
        ):
            return
        self._forget(head)  # two connections may have brought it at once
        while (
            len(self._replies) >= MAX_REMEMBERED_HEADS or self._bytes + size > MAX_REMEMBERED_BYTES
        ):
            self._forget(next(iter(self._replies)))
        self._replies[head] = reply
        self._bytes += size

    def _forget(self, head: bytes) -> None:
        reply = self._replies.pop(head, None)
        if reply is not None:
            self._bytes -= len(head) + reply.held_bytes


class TextReply:
    """A line of text, which is not worth remembering; see `Reply`."""

    lasting = False
    held_bytes = 0

    def __init__(
        self, status: int, text: str, headers: bytes = b"", *, head_only: bool = False
    ) -> None:
        self.head_only = head_only
        self.status = status
        self.text = text
        self._headers = headers

    def answer(self, connection: Caller) -> None:
        """See `Reply`."""
        connection.respond(self.status, self.text, self._headers)


class ResetReply:
    """A connection that is reset, where any status would be a success; see `Reply`."""

    lasting = False
    held_bytes = 0
    head_only = False

    def answer(self, connection: Caller) -> None:
        """See `Reply`."""
        connection.reset()


class Forbidden:
    """The endpoint of callers outside ``--allow-from``, on every port.

    A hook of theirs is reset: the kubelet takes any status for a success, and were it one of them,
    its hooks would be lost without a word.
    """

    remembered = RememberedHeads()

    def resolve(self, request: Request) -> Reply:
        """See `Endpoint`."""
        if request.method == "GET" and is_hook_path(request.path):
            return ResetReply()
        text = "this caller's address is not in --allow-from"
        return TextReply(403, text, head_only=request.head_only)

    def take_over(self, connection: Caller, first: bytes) -> bool:
        """See `Endpoint`: nobody can be told so in TLS."""
        connection.abort()
        return True


def text_answer(status: int, text: str, headers: bytes = b"", *, head_only: bool) -> bytes:
    """An answer of one line of text."""
    body = text.encode("utf-8", "backslashreplace") + b"\n"
    return whole_answer(status, _TEXT, body, headers, head_only=head_only)


def whole_answer(
    status: int, content_type: bytes, body: bytes, headers: bytes = b"", *, head_only: bool
) -> bytes:
    """An answer of our own, which says how long it is and that it is the last."""
    head = b"%sContent-Type: %s\r\nContent-Length: %d\r\n%sConnection: close\r\n\r\n" % (
        _STATUS_LINES[status],
        content_type,
        len(body),
        headers,
    )
    return head if head_only else head + body
