"""Apps that send HTTP/2 without end: the deadline fires, and everybody else is answered."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from osm_healthcheck.wire import http2_frames
from osm_healthcheck.wire.errors import BrokenOffError
from osm_healthcheck.wire.http2_frames import FrameReader
from tests.io import http2_cases as h2
from tests.io.apps import http_app, response
from tests.io.attacked_pod import peak_kb
from tests.io.floods import BLOCKS, FLOODS, PIECE_BYTES, flooding
from tests.io.sidecar import HEALTHCHECK, LIVENESS, Sidecar, http_probe, process, sidecar
from tests.io.tls import server_context
from tests.io.wire import connect, get

LONG = 3600
KB_EACH = 320
FLOODING_BYTES = 8 * PIECE_BYTES
NO_FLOOD = ("https", "DATA for nobody")
WAYS = pytest.mark.parametrize("way", ["https", "grpc"])


def is_flooding(app: Any) -> bool:
    return bool(app.sent >= FLOODING_BYTES)


def flood_probe(port: int, way: str, seconds: int) -> dict[str, Any]:
    if way == "grpc":
        return {"grpc": {"port": port}, "timeoutSeconds": seconds}
    return http_probe(port, scheme="HTTPS", timeoutSeconds=seconds)


@contextlib.contextmanager
def between(port: int, way: str, seconds: int) -> Iterator[Sidecar]:
    """A sidecar before the flooding app and a healthy one, whose probe is of another kind."""
    with http_app(response(body=b"alive")) as web:
        probes = {
            "flood": {"livenessProbe": flood_probe(port, way, seconds)},
            "web": {"readinessProbe": http_probe(web.port)},
        }
        with sidecar(probes) as running:
            yield running


def request_of(port: int, way: str) -> tuple[int, bytes]:
    if way == "https":
        return LIVENESS, b"GET /osm-liveness-probe/flood HTTP/1.1\r\nHost: x\r\n\r\n"
    head = b"GET /osm-healthcheck HTTP/1.1\r\nHost: x\r\nOriginal-Grpc-Port: %d\r\n\r\n" % port
    return HEALTHCHECK, head


@pytest.mark.parametrize(
    ("way", "name"),
    # net/http ends a connection on which DATA comes for nobody
    [(way, name) for way in ("https", "grpc") for name in FLOODS if (way, name) != NO_FLOOD],
)
def test_the_neighbour_is_answered_before_the_flood_ends(
    way: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2_frames, "MAX_OVERHEAD_BYTES", 1 << 60)
    monkeypatch.setattr("osm_healthcheck.wire.http2._MAX_LIST_BYTES", 1 << 60)
    tls = server_context("h2") if way == "https" else None
    with flooding(FLOODS[name], tls) as flood, between(flood.port, way, LONG) as running:
        port, request = request_of(flood.port, way)
        with connect(running.address, port) as caller:
            caller.sendall(request)
            flood.wait_for(is_flooding)
            assert running.probe("readiness", "web").body == b"alive"
            assert get(running.address, HEALTHCHECK, "/healthz").status == 200
            assert flood.open == 1
        flood.wait_for(lambda flood: flood.open == 0)


@WAYS
@pytest.mark.parametrize("name", ["PING", "empty DATA", "103"])
def test_the_deadline_fires(way: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2_frames, "MAX_OVERHEAD_BYTES", 1 << 60)
    monkeypatch.setattr("osm_healthcheck.wire.http2._MAX_LIST_BYTES", 1 << 60)
    tls = server_context("h2") if way == "https" else None
    with flooding(FLOODS[name], tls) as flood, between(flood.port, way, 1) as running:
        if way == "grpc":
            assert running.grpc(flood.port).status == 504
        else:
            answer = running.probe("liveness", "flood")
            assert answer.status == 504 or not answer.whole
        flood.wait_for(lambda flood: flood.open == 0)


@WAYS
@pytest.mark.parametrize("name", [*FLOODS, *BLOCKS])
def test_an_app_may_say_so_much_besides_its_answer(
    way: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2_frames, "MAX_OVERHEAD_BYTES", 1 << 20)
    flood_of = {**FLOODS, **BLOCKS}[name]
    tls = server_context("h2") if way == "https" else None
    with flooding(flood_of, tls) as flood, between(flood.port, way, LONG) as running:
        if way == "grpc":
            assert running.grpc(flood.port).status == 503
        else:
            answer = running.probe("liveness", "flood")
            assert answer.status == 502 or not answer.whole
        flood.wait_for(lambda flood: flood.open == 0)


TOO_LONG = {
    "many long fields": h2.headers(h2.many(1000, 100)),
    "many short fields": h2.headers(h2.OK + [(b"a", b"b")] * 1000),
    "a string": h2.headers(h2.many(100_000)),
}


@pytest.mark.parametrize("name", TOO_LONG)
def test_a_header_list_may_be_so_long(name: str) -> None:
    """Here the kubelet takes 10 MiB."""
    with h2.talker(server_context("h2")) as app, between(app.port, "https", LONG) as running:
        app.play(h2.one(TOO_LONG[name]))
        assert running.probe("liveness", "flood").status == 502


@pytest.mark.parametrize(
    ("way", "then"),
    [
        ("https", h2.headers(h2.many(1000, 85)) + h2.frame(h2.DATA, bytes(16384)) * 100),
        ("https", h2.frame(h2.HEADERS, h2.block(h2.OK + [(b"a", b"b")] * 750))),
        ("grpc", h2.cut(b"\0" + h2.length(b"x" * 98_000) + b"x" * 96_000)[:-20]),
        ("grpc", h2.headers(h2.GRPC_OK) + h2.frame(h2.DATA, b"\0\0\x40\0\0" + bytes(16379)) * 99),
    ],
    ids=["a head and a body", "many fields", "a long string", "a long message"],
)
def test_a_hundred_answers_at_once_cost_so_much_memory(way: str, then: bytes) -> None:
    """What they come to, besides what the kernel holds, for callers that read nothing."""
    tls = server_context("h2") if way == "https" else None
    with h2.talker(tls) as app, contextlib.ExitStack() as stack:
        app.play(h2.one(then))
        probes = {
            "flood": {"livenessProbe": flood_probe(app.port, way, LONG)},
            "other": {"livenessProbe": http_probe(1, scheme="HTTPS")},
        }
        running = stack.enter_context(process("--probes", json.dumps(probes)))
        running.wait_for("ready")
        before = peak_kb(running.popen.pid)
        port, request = request_of(app.port, way)
        for _ in range(100):
            caller = stack.enter_context(connect(running.address, port))
            caller.sendall(request)
        app.wait_for(lambda app: len(app.requests) == 100)
        assert get(running.address, HEALTHCHECK, "/healthz").status == 200
        assert peak_kb(running.popen.pid) - before < 100 * KB_EACH


LONG_TEXT = b"V" * 90_000
LONG_WORDS: dict[str, tuple[str, h2.Case]] = {
    "a name": ("https", h2.one(h2.headers([*h2.OK, (LONG_TEXT, b"")]))),
    "a name in gRPC": ("grpc", h2.one(h2.headers([*h2.GRPC_OK, (LONG_TEXT, b"")]))),
    "a value of -bin": ("grpc", h2.one(h2.reply([*h2.GRPC_OK, (b"v" * 90_000 + b"-bin", b"!")]))),
    "a content type": ("grpc", h2.one(h2.typed(LONG_TEXT))),
    "an encoding": (
        "grpc",
        h2.one(
            h2.headers([*h2.GRPC_OK, (b"grpc-encoding", LONG_TEXT)])
            + h2.frame(h2.DATA, b"\1\0\0\0\1x")
        ),
    ),
    "a message": (
        "grpc",
        h2.one(h2.reply(h2.GRPC_OK, [(b"grpc-status", b"5"), (b"grpc-message", LONG_TEXT)])),
    ),
    "a code": ("grpc", h2.one(h2.reply(h2.GRPC_OK, [(b"grpc-status", LONG_TEXT)]))),
    "a farewell": ("https", h2.one(h2.goaway(1, h2.CALM, b"\0" * 16000), end="fin")),
    "a farewell in gRPC": ("grpc", h2.one(h2.goaway(1, h2.CALM, b"\0" * 16000), end="fin")),
}


@pytest.mark.parametrize("name", LONG_WORDS)
def test_of_what_an_app_says_so_much_is_repeated(name: str) -> None:
    way, case = LONG_WORDS[name]
    with (
        h2.talker(server_context("h2") if way == "https" else None) as app,
        between(app.port, way, LONG) as running,
    ):
        app.play(case)
        answer = running.grpc(app.port) if way == "grpc" else running.probe("liveness", "flood")
        assert answer.status in (502, 503)
        assert len(answer.body) < 2048
        assert all(len(str(line)) < 4096 for line in running.lines)


# -- in bytes


class Memory:
    """A `ByteStream` with these bytes, which notes how many it gives between two turns."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self.taken = 0

    async def receive(self) -> bytes:
        piece = self._data[self._at : self._at + 8192]
        self._at += len(piece)
        self.taken += len(piece)
        return piece

    async def send(self, data: bytes) -> None:
        raise AssertionError(data)

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass


async def nothing() -> None:
    pass


@pytest.mark.parametrize(
    ("data", "bytes_a_turn"),
    [
        (h2.frame(h2.UNKNOWN, bytes(16384)) * 100, 16393 + 8192),
        (h2.ping() * 10_000, 64 * 17 + 8192),
        (h2.cut(b"\x90" * 100_000), 16393 + 8192),
    ],
    ids=["bytes", "frames", "fields"],
)
def test_what_is_read_in_one_turn_of_the_loop(data: bytes, bytes_a_turn: int) -> None:
    async def read() -> list[int]:
        stream = Memory(data)
        reader = FrameReader(stream, 1 << 30, lambda name, value: False, nothing)
        turns: list[int] = []
        work = asyncio.ensure_future(_read_all(reader))
        while not work.done():
            stream.taken = 0
            await asyncio.sleep(0)
            turns.append(stream.taken)
        return turns

    turns = asyncio.run(read())
    assert len(turns) > 10
    assert max(turns) <= bytes_a_turn


async def _read_all(reader: FrameReader) -> None:
    with contextlib.suppress(BrokenOffError):
        while True:
            await reader.read()
