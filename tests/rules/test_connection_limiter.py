"""Who has to leave when there are too many connections."""

import asyncio
from collections.abc import Iterator

import pytest

from osm_healthcheck.server.connection_limiter import MAX_UNREAD, ConnectionLimiter, SharedLimit
from tests.io.wire import TIMEOUT


class Connection:
    """One that notes its end."""

    def __init__(self) -> None:
        self.expires = 0.0
        self.is_over = False

    def expire(self) -> None:
        self.is_over = True


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    running = asyncio.new_event_loop()
    yield running
    running.close()


def added(limiter: ConnectionLimiter, count: int) -> list[Connection]:
    connections = [Connection() for _ in range(count)]
    for one in connections:
        limiter.add(one)
    return connections


def over(connections: list[Connection]) -> list[int]:
    return [number for number, one in enumerate(connections) if one.is_over]


@pytest.mark.parametrize("limit", [4, 7, 8, 64])
def test_where_all_have_asked_the_oldest_leaves_and_not_the_newest(
    loop: asyncio.AbstractEventLoop, limit: int
) -> None:
    limiter = ConnectionLimiter(loop, limit)
    connections = added(limiter, limit)
    for one in connections:
        limiter.request_received(one)
    assert over(connections + added(limiter, 1)) == [0]


def test_one_that_was_answered_and_stays_leaves_before_one_that_is_being_answered(
    loop: asyncio.AbstractEventLoop,
) -> None:
    limiter = ConnectionLimiter(loop, 16)
    asking, *idle = connections = added(limiter, 16)
    for one in connections:
        limiter.request_received(one)
    for one in idle:
        limiter.answered(one)
    assert over(connections + added(limiter, 1)) == [1]
    assert not asking.is_over


def test_of_too_many_that_do_not_read_the_one_that_has_not_for_longest_leaves(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def run() -> None:
        limiter = ConnectionLimiter(loop, 2 * MAX_UNREAD)
        reading, *stuck = connections = added(limiter, MAX_UNREAD)
        read = limiter.paused(reading)
        for one in stuck:
            limiter.paused(one)
        read.set_result(None)
        await asyncio.sleep(0)
        again, gone, late = added(limiter, 3)
        limiter.paused(again)
        assert over(connections) == []
        limiter.paused(gone)
        assert over(connections) == [1]
        limiter.remove(gone)
        limiter.paused(late)
        assert over(connections) == [1]
        assert limiter.refused == 1

    loop.run_until_complete(run())


def test_one_that_reads_and_stops_again_at_once_counts_on(loop: asyncio.AbstractEventLoop) -> None:
    async def run() -> None:
        limiter = ConnectionLimiter(loop, 2 * MAX_UNREAD)
        first, *others = connections = added(limiter, MAX_UNREAD + 1)
        limiter.paused(first).set_result(None)
        limiter.paused(first)
        await asyncio.sleep(0)
        for one in others:
            limiter.paused(one)
        assert over(connections) == [0]

    loop.run_until_complete(run())


def test_one_side_that_reads_does_not_count_for_the_other(loop: asyncio.AbstractEventLoop) -> None:
    async def run() -> None:
        limiter = ConnectionLimiter(loop, 2 * MAX_UNREAD)
        both, *others = connections = added(limiter, MAX_UNREAD + 1)
        limiter.paused(both)
        limiter.paused(both).set_result(None)
        await asyncio.sleep(0)
        for one in others:
            limiter.paused(one)
        assert over(connections) == [0]

    loop.run_until_complete(run())


def test_those_that_wait_for_an_answer_are_counted(loop: asyncio.AbstractEventLoop) -> None:
    limiter = ConnectionLimiter(loop, 16)
    one, two, _silent = added(limiter, 3)
    assert limiter.asked() == 0
    limiter.request_received(one)
    limiter.request_received(two)
    assert limiter.asked() == 2
    limiter.answered(one)
    assert limiter.asked() == 1
    limiter.remove(two)
    assert limiter.asked() == 0


def test_of_several_pods_the_one_that_holds_most_makes_room(
    loop: asyncio.AbstractEventLoop,
) -> None:
    shared = SharedLimit(12)
    flooded, calm, late = (ConnectionLimiter(loop, 10, shared) for _ in range(3))
    few = added(calm, 3)
    many = added(flooded, 9)
    newest = added(late, 2)
    assert (over(many), over(few), over(newest)) == ([0, 1], [], [])
    assert len(shared) == 12
    for one in many[2:]:
        flooded.remove(one)
    flooded.remove(many[0])  # gone already
    assert len(shared) == 5
    assert over(added(late, 7) + few) == []


def test_at_the_end_a_request_that_is_on_its_way_is_waited_for(
    loop: asyncio.AbstractEventLoop,
) -> None:
    limiter = ConnectionLimiter(loop, 16)
    [connection] = added(limiter, 1)

    def ask_and_be_answered() -> None:
        limiter.request_received(connection)
        loop.call_soon(limiter.remove, connection)

    loop.call_soon(ask_and_be_answered)
    loop.run_until_complete(limiter.finish(TIMEOUT))
    assert not connection.is_over


def test_at_the_end_the_silent_do_not_stay(loop: asyncio.AbstractEventLoop) -> None:
    limiter = ConnectionLimiter(loop, 16)
    [silent] = added(limiter, 1)
    loop.run_until_complete(limiter.finish(TIMEOUT))
    assert silent.is_over
    assert len(limiter) == 0


def test_at_the_end_those_without_an_answer_stay_a_while_only(
    loop: asyncio.AbstractEventLoop,
) -> None:
    limiter = ConnectionLimiter(loop, 16)
    [asking] = added(limiter, 1)
    limiter.request_received(asking)
    loop.run_until_complete(limiter.finish(0.01))
    assert asking.is_over
    assert len(limiter) == 0
