"""A connection whose caller or endpoint fails in the middle of it, and who its caller is."""

import asyncio
import select
from typing import Any

import pytest

from osm_healthcheck.server.connection import Connection
from osm_healthcheck.server.head_reader import MAX_HEAD_BYTES
from osm_healthcheck.server.reply import Caller, Forbidden, RememberedHeads, Reply
from osm_healthcheck.server.request import Request
from tests.io.apps import reset
from tests.io.connections import Context, accepted, read, run, wait_for
from tests.io.sidecar import capture

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Failing:
    """Stands in for an endpoint with a mistake of ours: what every request comes to raises."""

    lasting = True
    held_bytes = 0
    head_only = False

    def __init__(self) -> None:
        self.remembered = RememberedHeads()

    def resolve(self, _request: Request) -> Reply:
        return self

    def take_over(self, _connection: Caller, _first: bytes) -> bool:
        return False

    def answer(self, _connection: Caller) -> None:
        raise LookupError("a mistake of ours")


@pytest.mark.parametrize("remembered", [False, True])
def test_an_error_of_ours_is_logged_and_the_caller_reset_and_not_kept_waiting(
    remembered: bool,
) -> None:
    lines: list[dict[str, Any]] = []

    async def ask() -> None:
        endpoint = Failing()
        if remembered:
            endpoint.remembered.add(GET, endpoint)
        context = Context(asyncio.get_running_loop(), capture(lines))
        with accepted() as (caller, ours):
            caller.sendall(GET)
            wait_for(ours, select.POLLIN)
            Connection(context, endpoint, ours, "127.0.0.1").begin()
            with pytest.raises(ConnectionResetError):
                await read(caller)
            assert (ours.fileno(), len(context.limiter)) == (-1, 0)

    run(ask)
    assert [(one["message"], str(one["exc_info"])) for one in lines] == [
        ("a probe could not be answered", "a mistake of ours")
    ]


def test_a_caller_that_has_reset_before_it_is_read_is_let_go() -> None:
    lines: list[dict[str, Any]] = []

    async def begin() -> None:
        context = Context(asyncio.get_running_loop(), capture(lines))
        with accepted() as (caller, ours):
            reset(caller)
            wait_for(ours, select.POLLERR)
            Connection(context, Failing(), ours, "127.0.0.1").begin()
            assert (ours.fileno(), len(context.limiter)) == (-1, 0)

    run(begin)
    assert not lines


def head(size: int, more: bytes = b"") -> bytes:
    """A request's head of so many bytes, with another line in it."""
    fill = b"X: " + b"x" * (size - len(GET) - len(more) - 5) + b"\r\n"
    return GET[:-2] + more + fill + b"\r\n"


@pytest.mark.parametrize(
    ("data", "over"),
    [
        (head(100), True),
        (head(MAX_HEAD_BYTES), True),
        (head(100) + b"x", False),
        (head(MAX_HEAD_BYTES) + b"x", False),
        (head(100, b"Content-Length: 4\r\n"), False),
    ],
    ids=["short", "8 KiB", "and more", "8 KiB and more", "with a body"],
)
def test_only_a_request_that_has_come_whole_is_over_with_its_answer(
    data: bytes, over: bool
) -> None:
    """A caller that may go on sending would be reset by that, and might lose the answer."""

    async def ask() -> None:
        context = Context(asyncio.get_running_loop(), capture([]))
        with accepted() as (caller, ours):
            caller.sendall(data)
            wait_for(ours, select.POLLIN)
            Connection(context, Forbidden(), ours, "127.0.0.1").begin()
            assert (await read(caller)).startswith(b"HTTP/1.1 403 ")
            assert (ours.fileno() == -1, len(context.limiter) == 0) == (over, over)
            caller.close()
            while len(context.limiter):  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0)
            assert ours.fileno() == -1

    run(ask)


@pytest.mark.parametrize(
    ("peer", "expected"),
    [("127.0.0.1", True), ("::ffff:127.0.0.1", True), ("192.0.2.1", False), ("2001:db8::1", False)],
)
def test_a_caller_from_elsewhere_is_not_from_loopback(peer: str, expected: bool) -> None:
    """The pages that are for this pod alone are closed to it."""

    async def look() -> None:
        context = Context(asyncio.get_running_loop(), capture([]))
        with accepted() as (_, ours):
            assert Connection(context, Failing(), ours, peer).is_from_loopback is expected

    run(look)
