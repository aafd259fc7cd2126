"""A head that comes again, byte for byte: it is not read again, and nothing else is different."""

import gc
import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from osm_healthcheck.probes.targets import HTTPTarget
from osm_healthcheck.server import head_reader
from osm_healthcheck.server.reply import (
    MAX_REMEMBERED_HEAD_BYTES,
    MAX_REMEMBERED_HEADS,
    RememberedHeads,
    TextReply,
)
from tests.io import vectors
from tests.io.apps import App, app, hold, http_app, response
from tests.io.kubelet import request
from tests.io.sidecar import HEALTHCHECK, LIVENESS, Sidecar, http_probe, sidecar, tcp_probe
from tests.io.wire import closed_port, connect, exchange, read_to_end

CHECK = b"GET /osm-healthcheck HTTP/1.1\r\nHost: x\r\nOriginal-Tcp-Port: %d\r\n\r\n"
PROBE = b"GET /osm-liveness-probe HTTP/1.1\r\nHost: x\r\nUser-Agent: kube-probe/1.34\r\n\r\n"


class Reader:
    """Counts the heads that are read."""

    count = 0


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reader:
    counted = Reader()
    take = head_reader.HeadReader.take

    def count(self: head_reader.HeadReader, request: object) -> None:
        counted.count += 1
        take(self, request)  # type: ignore[arg-type]

    monkeypatch.setattr(head_reader.HeadReader, "take", count)
    return counted


@pytest.fixture(scope="module")
def web() -> Iterator[App]:
    with http_app(response(body=b"alive")) as running:
        yield running


@pytest.fixture(scope="module")
def tcp() -> Iterator[App]:
    with app(hold) as running:
        yield running


@pytest.fixture(scope="module")
def running(web: App, tcp: App) -> Iterator[Sidecar]:
    http = http_probe(web.port)
    probes = {"livenessProbe": http, "readinessProbe": tcp_probe(tcp.port)}
    with sidecar({"app": {**probes, "lifecycle": {"postStart": http}}}) as started:
        yield started


def send(running: Sidecar, port: int, *pieces: bytes) -> tuple[bytes, bool]:
    with connect(running.address, port) as sock:
        for piece in pieces:
            sock.sendall(piece)
        return read_to_end(sock)


def test_the_same_head_is_read_once(running: Sidecar, web: App, tcp: App, reads: Reader) -> None:
    before = len(web.requests)
    answers = {send(running, LIVENESS, PROBE) for _ in range(3)}
    checks = {send(running, HEALTHCHECK, CHECK % tcp.port) for _ in range(3)}
    assert reads.count == 2
    assert len(answers) == len(checks) == 1
    assert len(web.requests[before:]) == 3  # the app is asked each time
    assert len(set(web.requests[before:])) == 1


def test_what_is_remembered_is_the_target_and_not_its_state(reads: Reader) -> None:
    with sidecar() as started, app(hold) as target:
        data = CHECK % target.port
        assert b" 200 " in send(started, HEALTHCHECK, data)[0]
        target.close()
        assert b" 404 " in send(started, HEALTHCHECK, data)[0]
        assert reads.count == 1


@pytest.mark.parametrize(
    "data",
    [
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /osm-healthcheck HTTP/1.1\r\nHost: x\r\n\r\n",
        CHECK % 1,  # not declared
        CHECK % 15904,
        CHECK % 99999,
        b"GET /osm-post-start-hook/app HTTP/1.1\r\nHost: x\r\n\r\n",  # once in a pod's life
        b"GET /osm-post-start-hook/other HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        b"\0",
    ],
    ids=repr,
)
def test_errors_and_pages_about_this_moment_are_read_each_time(
    running: Sidecar, reads: Reader, data: bytes
) -> None:
    for _ in range(2):
        send(running, HEALTHCHECK, data)
    assert reads.count in (0, 2)
    assert reads.count == 2 or data == b"\0"


def test_only_a_head_that_came_alone_and_whole_is_remembered(
    running: Sidecar, tcp: App, reads: Reader
) -> None:
    unique = (CHECK % tcp.port).replace(b"Host: x", b"Host: alone")
    body = unique[:-2] + b"Content-Length: 1\r\n\r\n"
    for data in (unique + b"x", b"\r\n" + unique, body, body + b"x"):
        for _ in range(2):
            assert b" 200 " in send(running, HEALTHCHECK, data)[0]
    assert reads.count == 8
    with connect(running.address, HEALTHCHECK) as sock:
        sock.sendall(unique[:20])
        with connect(running.address, HEALTHCHECK) as other:  # by then the first part was read
            other.sendall(b"\0")
            read_to_end(other)
        sock.sendall(unique[20:])
        assert b" 200 " in read_to_end(sock)[0]
    before = reads.count
    send(running, HEALTHCHECK, unique)
    assert reads.count == before + 1


def test_a_remembered_head_with_more_behind_it_is_another(
    running: Sidecar, web: App, reads: Reader
) -> None:
    send(running, LIVENESS, PROBE)
    before = reads.count
    raw, orderly = send(running, LIVENESS, PROBE + PROBE)
    assert (raw.count(b"HTTP/1.1"), orderly) == (1, True)
    assert reads.count == before + 1


def test_a_caller_outside_allow_from_gets_nothing_of_what_others_are_remembered_by(
    web: App, reads: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    from osm_healthcheck.probes import addresses

    with sidecar(
        {"app": {"livenessProbe": http_probe(web.port)}}, "--allow-from", "192.0.2.0/24"
    ) as started:
        assert b" 200 " in send(started, LIVENESS, PROBE)[0]  # loopback is always allowed
        before = len(web.requests)
        monkeypatch.setattr(addresses, "is_loopback", lambda _: False)
        for _ in range(2):
            assert b" 403 " in send(started, LIVENESS, PROBE)[0]
        assert send(started, LIVENESS, b"\x16\x03\x01")[0] == b""
        monkeypatch.undo()
        assert b" 200 " in send(started, LIVENESS, PROBE)[0]
        assert len(web.requests) == before + 1


class Lasting(TextReply):
    lasting = True


def test_at_most_64_of_1024_bytes_and_the_oldest_goes_first() -> None:
    assert (MAX_REMEMBERED_HEADS, MAX_REMEMBERED_HEAD_BYTES) == (64, 1024)
    heads = RememberedHeads()
    reply = Lasting(200, "x")
    heads.add(b"x" * 1025, reply)
    assert len(heads) == 0
    for number in range(65):
        heads.add(b"%d" % number + b" " * (1024 - len(str(number))), reply)
    assert len(heads) == 64
    assert heads.get(b"0" + b" " * 1023) is None
    assert heads.get(b"64" + b" " * 1022) is reply


class Long(Lasting):
    held_bytes = 30 * 1024


def test_what_replies_hold_is_bounded_and_the_oldest_goes_first() -> None:
    heads = RememberedHeads()
    for name in (b"a", b"b", b"a", b"c"):
        heads.add(name, Long(200, "x"))
    assert [name for name in (b"a", b"b", b"c") if heads.get(name)] == [b"a", b"c"]
    assert len(heads) == 2


def test_of_a_probe_with_long_headers_few_heads_are_remembered(web: App, reads: Reader) -> None:
    """Each would hold what the probe declares, and the request for each address of the app."""
    probe = http_probe(web.port)
    for size, remembered in ((10_000, 1), (30_000, 0), (10, 8)):
        probe["httpGet"]["httpHeaders"] = [{"name": "X", "value": "x" * size}]
        with sidecar({"app": {"livenessProbe": probe}}) as started:
            heads = [PROBE.replace(b"1.34", b"%d" % number) for number in range(8)]
            for one in heads:
                assert b" 200 " in send(started, LIVENESS, one)[0]
            before = reads.count
            for one in reversed(heads):
                assert b" 200 " in send(started, LIVENESS, one)[0]
            assert reads.count - before == 8 - remembered


class Unhashed(bytes):
    """Bytes that nobody may hash."""

    def __hash__(self) -> int:
        raise AssertionError("hashed")


def test_a_long_head_is_not_even_hashed() -> None:
    heads = RememberedHeads()
    assert heads.get(Unhashed(1025)) is None
    with pytest.raises(AssertionError, match="hashed"):
        heads.get(Unhashed(1024))


# -- the second answer is the first


METRICS = re.compile(rb"Content-Length: \d+|(?s:\r\n\r\n.*)")


def same_twice(running: Sidecar, port: int, data: bytes) -> None:
    first, second = (send(running, port, data) for _ in range(2))
    if b"/metrics" in data:
        first, second = ((METRICS.sub(b"", raw), end) for raw, end in (first, second))
    assert first == second, data


HEADERS = [
    vector["given"]["httpHeaders"]
    for vector in vectors.kubelet("headers").values()
    if "httpHeaders" in vector["given"]
]


@pytest.mark.parametrize("headers", HEADERS, ids=range(len(HEADERS)))
def test_every_vector_is_answered_alike_twice(running: Sidecar, web: App, headers: object) -> None:
    data = request(f"{running.address}:{LIVENESS}", "/osm-liveness-probe", headers)  # type: ignore[arg-type]
    before = len(web.requests)
    same_twice(running, LIVENESS, data)
    asked = web.requests[before:]
    assert len(set(asked)) <= 1


METHODS = st.sampled_from([b"GET", b"HEAD", b"POST", b"get", b"OPTIONS"])
TARGETS = st.sampled_from(
    [
        b"/osm-healthcheck",
        b"/osm-healthcheck?x",
        b"/osm-liveness-probe",
        b"/osm-liveness-probe/app",
        b"/osm-liveness-probe/app?q",
        b"/healthz",
        b"/metrics",
        b"/",
        b"*",
        b"http://h/osm-liveness-probe",
    ]
)
VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.1\r\nHost: x"])
NAMES = st.sampled_from(
    b"Host Original-Tcp-Port Original-Grpc-Port Original-Grpc-Service User-Agent Accept Connection "
    b"Upgrade Content-Length Transfer-Encoding Expect X-A Range".split()
)
VALUES = st.sampled_from(
    b"|x|80|15904|0|chunked|close|upgrade|keep-alive|*/*|100-continue|\xff".split(b"|")
)


@given(METHODS, TARGETS, VERSIONS, st.lists(st.tuples(NAMES, VALUES), max_size=5), st.booleans())
@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_head_is_answered_alike_twice(
    running: Sidecar,
    tcp: App,
    method: bytes,
    target: bytes,
    version: bytes,
    headers: list[tuple[bytes, bytes]],
    declared: bool,
) -> None:
    lines = [name + b": " + value for name, value in headers]
    if declared:
        lines.append(b"Original-Tcp-Port: %d" % tcp.port)
    data = b"\r\n".join([method + b" " + target + b" " + version, *lines, b"", b""])
    for port in (HEALTHCHECK, LIVENESS):
        same_twice(running, port, data)


def test_a_refusal_is_found_out_each_time(reads: Reader) -> None:
    with closed_port() as port, sidecar() as started:
        answers = {exchange(started.address, HEALTHCHECK, CHECK % port).raw for _ in range(3)}
        assert len(answers) == 1
        assert b" 404 " in answers.pop()
        assert reads.count == 1


def test_what_a_pod_declared_goes_with_the_pod(web: App) -> None:
    """In node mode pods come and go in one process."""

    def held() -> list[HTTPTarget]:
        gc.collect()
        found = [one for one in gc.get_objects() if isinstance(one, HTTPTarget)]
        return [one for one in found if one.action.path == "/of-one-pod"]

    with sidecar({"app": {"livenessProbe": http_probe(web.port, "/of-one-pod")}}) as started:
        send(started, LIVENESS, PROBE)
        assert held()
    del started
    assert not held()
