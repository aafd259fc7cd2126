"""What we rely on of aiohttp's server, by its public interface.

Run with the oldest and the newest aiohttp that ``pyproject.toml`` allows. It needs nothing else
but pytest and the package itself: ``tests/io/test_aiohttp_versions.py`` makes environments for it.
"""

import asyncio
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
from aiohttp import web

from osm_healthcheck.server.head_reader import MAX_HEAD_BYTES, HeadReader, make_server
from osm_healthcheck.server.request import Request

GET = b"GET /osm-healthcheck?x HTTP/1.1\r\nHost: x\r\nOriginal-Tcp-Port: 80\r\n\r\n"


class Owner:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.read: list[tuple[bytes, Request, bool]] = []
        self.refused: list[tuple[int, str]] = []
        self.errors: list[Exception] = []

    def request_read(self, head: bytes, request: Request, *, alone: bool) -> None:
        self.read.append((head, request, alone))

    def request_refused(self, status: int, text: str) -> None:
        self.refused.append((status, text))

    def failed(self, error: Exception) -> None:
        self.errors.append(error)

    @property
    def is_told(self) -> bool:
        return bool(self.read or self.refused or self.errors)


async def turns(owner: Owner) -> None:
    """Let the event loop go round until the owner has been told something, and a bit more."""
    for _ in range(40):
        await asyncio.sleep(0)


def feed(
    *pieces: bytes,
    owner: Owner | None = None,
    factory: Callable[[], asyncio.Protocol] | None = None,
) -> Owner:
    """What the owner is told of a head that comes in these pieces."""
    told = owner or Owner()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        unhandled: list[object] = []
        loop.set_exception_handler(lambda _, context: unhandled.append(context))
        reader = HeadReader((factory or make_server())(), told, loop)
        for piece in pieces:
            reader.feed(piece)
            await turns(told)
        reader.stop()
        await turns(told)
        assert not unhandled
        assert asyncio.all_tasks() == {asyncio.current_task()}, "aiohttp's tasks have ended"

    asyncio.run(run())
    return told


def test_a_request_is_handed_on_with_its_head() -> None:
    told = feed(GET)
    headers = ((b"Host", b"x"), (b"Original-Tcp-Port", b"80"))
    request = Request("GET", "/osm-healthcheck", headers)
    assert told.read == [(GET, request, True)]
    assert (told.refused, told.errors) == ([], [])


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"HEAD / HTTP/1.0\r\n\r\n", ("HEAD", "/", False, False)),
        (b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", ("POST", "/a", True, True)),
        (  # nobody reads the body, so it is not unpacked either
            b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Encoding: br\r\nContent-Length: 5\r\n\r\n",
            ("GET", "/a", True, True),
        ),
        (
            b"GET /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            ("GET", "/a", True, True),
        ),
        (b"GET http://u@h:1/a%62?c HTTP/1.1\r\nHost: x\r\n\r\n", ("GET", "/a%62", True, False)),
        (
            b"GET /w HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            ("GET", "/w", True, False),
        ),
        (
            b"GET /e HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
            ("GET", "/e", True, True),
        ),
    ],
    ids=lambda value: value.decode("latin-1") if isinstance(value, bytes) else "",
)
def test_what_is_read(head: bytes, expected: tuple[object, ...]) -> None:
    ((_, request, alone),) = feed(head).read
    assert (request.method, request.path, request.http11, request.has_body) == expected
    assert alone


def test_values_come_as_they_are_repeated_and_not_utf8() -> None:
    head = GET[:-2] + b"X-A:  1 \r\nx-a: \xff\r\nAccept-Encoding: gzip\r\n\r\n"
    ((_, request, _),) = feed(head).read
    assert request.values("X-A") == ["1", "\udcff"]
    assert request.headers[-1] == (b"Accept-Encoding", b"gzip")


@pytest.mark.parametrize("size", [1, 2, 3, 7, len(GET) - 1])
def test_a_head_in_pieces_is_the_same_request_and_not_alone(size: int) -> None:
    edges = [*range(0, len(GET), size), len(GET)]
    ((head, request, alone),) = feed(*(GET[a:b] for a, b in pairwise(edges))).read
    assert (head, alone) == (GET, False)
    assert request == feed(GET).read[0][1]


@pytest.mark.parametrize("more", [b"x", GET, b"\r\n", b"\0" * 100_000, b"POST"])
def test_it_is_cut_exactly_at_its_end(more: bytes) -> None:
    for pieces in ((GET + more,), (GET, more), (GET[:-1], GET[-1:] + more)):
        told = feed(*pieces)
        assert [(head, request.path) for head, request, _ in told.read] == [
            (GET, "/osm-healthcheck")
        ]
        assert told.refused == []
    assert not feed(GET + more).read[0][2]


@pytest.mark.parametrize("pieces", [(GET, b"x"), (GET[:9], GET[9:], b"x")])
def test_what_comes_while_a_head_is_read_is_not_part_of_it_nor_is_it_alone(
    pieces: tuple[bytes, ...],
) -> None:
    told = Owner()

    async def run() -> None:
        reader = HeadReader(make_server()(), told, asyncio.get_running_loop())
        for piece in pieces:
            reader.feed(piece)
        await turns(told)

    asyncio.run(run())
    assert [(head, alone) for head, _, alone in told.read] == [(GET, False)]


def test_empty_lines_before_a_request_are_passed_over() -> None:
    ((head, _, alone),) = feed(b"\r\n\r\n" + GET).read
    assert (head, alone) == (GET, False)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\0", 400),
        (b"SSH-2.0-OpenSSH\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET /" + b"x" * MAX_HEAD_BYTES, 431),
        (b"\r\n" * MAX_HEAD_BYTES, 431),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else "",
)
def test_what_is_no_request_is_refused_once_and_with_a_reason(data: bytes, status: int) -> None:
    told = feed(data, data)
    assert [number for number, _ in told.refused] == [status]
    assert (told.read, told.errors) == ([], [])
    assert len(told.refused[0][1]) > len("not an HTTP/1.1 request: ")


@pytest.mark.parametrize("lines", [1, 100, 2000])
def test_a_head_of_8_kib_is_read_whatever_it_is_made_of(lines: int) -> None:
    room = MAX_HEAD_BYTES - len(GET)
    each, rest = divmod(room, lines)
    fill = b"".join(b"%c:" % (97 + n % 26) + b"x" * (each - 4) + b"\r\n" for n in range(lines))
    head = GET[:-2] + fill[:-2] + b"x" * rest + b"\r\n\r\n"
    assert len(head) == MAX_HEAD_BYTES
    assert len(feed(head).read) == 1
    assert [status for status, _ in feed(b"x" + head).refused] == [431]


@pytest.mark.parametrize("target", [b"*", b"//x", b"x", b"http://", b"http://[", b"/%zz", b"/\xff"])
@pytest.mark.parametrize("method", [b"GET", b"CONNECT", b"OPTIONS"])
def test_odd_targets_are_read_or_refused_at_once(method: bytes, target: bytes) -> None:
    assert feed(method + b" " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n").is_told


def test_a_caller_that_leaves_while_its_request_is_read_is_heard_of_no_more() -> None:
    told = Owner()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        reader = HeadReader(make_server()(), told, loop)
        reader.feed(GET)
        reader.stop()
        await turns(told)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())
    assert not told.is_told


# -- errors inside aiohttp


class Broken(asyncio.Protocol):
    """A server that fails in the way that it is told to."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def data_received(self, data: bytes) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (AssertionError(), "AssertionError"),
        (ValueError("of its own"), "of its own"),
        (ValueError("x" * 200), "x" * 200),
        (ValueError("x" * 199 + "yz"), "x" * 199 + "y"),  # it may repeat what it cannot read
    ],
)
def test_an_exception_in_aiohttp_is_answered_at_once_and_named(
    error: Exception, expected: str
) -> None:
    told = feed(GET[:20], factory=lambda: Broken(error))
    assert told.refused == [(400, f"not an HTTP/1.1 request: {expected}")]


class Late(asyncio.Protocol):
    """Stands in for a server that takes ``turns`` turns of the event loop to say what is wrong."""

    def __init__(self, turns: int) -> None:
        self._turns = turns
        self._to: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._to = transport

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_soon(self._wait, self._turns)

    def _wait(self, turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._wait, turns - 1)
        else:
            self._to.write(b"HTTP/1.1 400 Bad Request\r\n\r\nlate\n")
            self._to.close()


@pytest.mark.parametrize(
    ("turns", "reason"), [(0, "late"), (20, "late"), (21, "it could not be read")]
)
def test_a_server_is_waited_for_20_turns(turns: int, reason: str) -> None:
    told = feed(GET, factory=lambda: Late(turns))
    assert told.refused == [(400, f"not an HTTP/1.1 request: {reason}")]


class Lenient(asyncio.Protocol):
    """Stands in for an aiohttp that takes a head as whole which does not end with an empty line."""

    def __init__(self, server: asyncio.Protocol) -> None:
        self._server = server
        self.connection_made = server.connection_made  # type: ignore[method-assign]
        self.connection_lost = server.connection_lost  # type: ignore[method-assign]

    def data_received(self, data: bytes) -> None:
        self._server.data_received(data + b"\r\n")


def test_a_head_without_its_end_is_refused_whatever_aiohttp_takes_it_for() -> None:
    told = feed(GET[:-2], factory=lambda: Lenient(make_server()()))
    assert told.refused == [
        (400, "not an HTTP/1.1 request: its head does not end with an empty line")
    ]
    assert told.read == []


def test_an_exception_of_ours_is_not_taken_for_the_callers_mistake() -> None:
    class Failing(Owner):
        def request_read(self, head: bytes, request: Request, *, alone: bool) -> None:
            raise LookupError("ours")

    told = feed(GET, owner=Failing())
    assert [type(error) for error in told.errors] == [LookupError]
    assert told.refused == []


def test_the_server_is_made_with_every_option_that_it_is_given(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # web.Server drops all options, with a warning, where it does not know one of them.
    async def run() -> None:
        server = make_server()
        assert isinstance(server, web.Server)
        protocols: Iterable[web.RequestHandler] = (server(),)
        for protocol in protocols:
            assert protocol.keepalive_timeout == 0
            assert protocol.max_headers == MAX_HEAD_BYTES

    asyncio.run(run())
    assert not caplog.records
