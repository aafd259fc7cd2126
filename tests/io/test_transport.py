"""Callers that leave while they are accepted or written to, and what is said after the end."""

import asyncio
import contextlib
import select
import socket
from collections.abc import Callable

import pytest

from osm_healthcheck.server import transport
from osm_healthcheck.server.transport import Acceptor, SocketTransport
from tests.io.apps import reset
from tests.io.connections import accepted, read, run, wait_for

# more than the kernel takes for a caller that does not read
BIG = bytes(8 << 20)


class User:
    """Keeps what it is told of a connection."""

    def __init__(self) -> None:
        self.paused = 0
        self.resumed = 0
        self.losses = 0
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        raise AssertionError(data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self) -> None:
        self.losses += 1
        self.lost.set()

    def pause_writing(self) -> None:
        self.paused += 1

    def resume_writing(self) -> None:
        self.resumed += 1


@pytest.mark.parametrize("ends", [SocketTransport.end, SocketTransport.close])
def test_after_the_end_the_rest_is_sent_then_fin_and_not_a_byte_more(
    ends: Callable[[SocketTransport], None],
) -> None:
    async def write() -> None:
        with accepted() as (caller, ours):
            user = User()
            to_caller = SocketTransport(ours, user, asyncio.get_running_loop())
            to_caller.write(BIG)
            assert (user.paused, user.losses) == (1, 0)
            ends(to_caller)
            to_caller.write(b"more")
            assert await read(caller) == BIG
            assert user.resumed == 1
            caller.close()
            to_caller.resume_reading()
            await user.lost.wait()
            assert (user.losses, ours.fileno()) == (1, -1)

    run(write)


def test_the_first_goes_at_once_and_what_follows_it_together() -> None:
    """An app may send its body in pieces of a byte: each would be a packet."""

    async def write() -> None:
        with accepted() as (caller, ours):
            user = User()
            to_caller = SocketTransport(ours, user, asyncio.get_running_loop())
            to_caller.write(b"head")
            wait_for(caller, select.POLLIN)
            assert caller.recv(100) == b"head"
            for piece in (b"b", b"o", b"dy"):
                to_caller.write(piece)
            assert to_caller.unsent() == 4
            await asyncio.sleep(0)
            wait_for(caller, select.POLLIN)
            assert caller.recv(100) == b"body"
            to_caller.abort()

    run(write)


def test_nothing_is_written_after_fin() -> None:
    async def write() -> None:
        with accepted() as (caller, ours):
            user = User()
            to_caller = SocketTransport(ours, user, asyncio.get_running_loop())
            to_caller.write(b"all")
            to_caller.end()
            assert await read(caller) == b"all"
            to_caller.write(b"more")
            await asyncio.sleep(0)
            assert (to_caller.unsent(), user.losses) == (0, 0)
            to_caller.abort()

    run(write)


@pytest.mark.parametrize("before", [[], [b"x"], [BIG]], ids=["first", "gathered", "no room"])
def test_a_write_to_a_caller_that_has_reset_ends_the_connection(before: list[bytes]) -> None:
    async def write() -> None:
        with accepted() as (caller, ours):
            user = User()
            to_caller = SocketTransport(ours, user, asyncio.get_running_loop())
            for data in before:
                to_caller.write(data)
            reset(caller)
            wait_for(ours, select.POLLERR)
            to_caller.write(b"lost")
            await user.lost.wait()
            assert (user.losses, ours.fileno(), to_caller.is_closing()) == (1, -1, True)

    run(write)


def test_an_acceptor_that_is_closed_listens_no_more_and_may_be_closed_again() -> None:
    async def close() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        address = listening.getsockname()
        acceptor = Acceptor(listening, lambda *_: None, asyncio.get_running_loop())
        for _ in range(2):
            acceptor.close()
            assert listening.fileno() == -1
        with socket.socket() as caller, pytest.raises(ConnectionRefusedError):
            caller.connect(address)

    run(close)


def test_an_acceptor_that_was_too_late_for_one_takes_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two processes may listen on one socket, as while node mode hands its pods over."""
    monkeypatch.setattr(transport, "_ACCEPT_RETRY_SECONDS", 3600.0)

    async def accept() -> None:
        loop = asyncio.get_running_loop()
        taken: asyncio.Queue[int] = asyncio.Queue()
        with (
            socket.create_server(("127.0.0.1", 0)) as listening,
            contextlib.ExitStack() as callers,
        ):
            address = listening.getsockname()

            def acceptor(number: int) -> Acceptor:
                def begin(sock: socket.socket, _peer: str) -> None:
                    callers.enter_context(sock)
                    taken.put_nowait(number)

                return Acceptor(listening.dup(), begin, loop)

            both = [acceptor(0), acceptor(1)]
            callers.enter_context(socket.create_connection(address))
            first = await taken.get()
            await asyncio.sleep(0)
            both[first].close()
            callers.enter_context(socket.create_connection(address))
            assert await taken.get() == 1 - first
            both[1 - first].close()

    run(accept)
