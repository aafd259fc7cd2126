"""Requests that nobody should send: each gets an answer or is closed, and reaches nothing."""

import pytest

from tests.io.apps import app, header_lines, hold
from tests.io.attacked_pod import AttackedPod, pod
from tests.io.sidecar import HEALTHCHECK, LIVENESS, READINESS, STARTUP, http_probe, sidecar
from tests.io.wire import connect, parse, read_to_end

HEAD_LIMIT = 8 * 1024
PATH = "/osm-liveness-probe/web"
GET = f"GET {PATH} HTTP/1.1\r\nHost: x\r\n".encode()
MORE = f"GET {PATH}?second HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def padded(length: int, *, lines: int = 1, newline: bool = True) -> bytes:
    """A request whose head has this many bytes, filled up with ``lines`` headers."""
    end = b"\r\n" if newline else b""
    each, rest = divmod(length - len(GET) - len(end), lines)
    fill = b"".join(
        b"X: " + b"x" * (each - 5 + (rest if number == 0 else 0)) + b"\r\n"
        for number in range(lines)
    )
    data = GET + fill + end
    assert len(data) == length
    return data


# -- heads


@pytest.mark.parametrize("lines", [1, 40, 600])
def test_a_head_of_8_kib_is_read_and_one_byte_more_is_not(
    attacked: AttackedPod, lines: int
) -> None:
    whole, orderly = attacked.send(padded(HEAD_LIMIT, lines=lines), LIVENESS)
    assert (parse(whole, orderly).status, orderly) == (200, True)
    longer, orderly = attacked.send(padded(HEAD_LIMIT + 1, lines=lines), LIVENESS)
    assert (parse(longer, orderly).status, orderly) == (431, True)


def test_a_request_line_may_fill_the_head(attacked: AttackedPod) -> None:
    line = f"GET {PATH}?".encode()
    rest = b" HTTP/1.1\r\nHost: x\r\n\r\n"
    query = b"q" * (HEAD_LIMIT - len(line) - len(rest))
    whole, orderly = attacked.send(line + query + rest, LIVENESS)
    assert (parse(whole, orderly).status, orderly) == (200, True)
    longer, orderly = attacked.send(line + query + b"q" + rest, LIVENESS)
    assert (parse(longer, orderly).status, orderly) == (431, True)


def test_a_head_in_single_bytes_is_counted_as_one(attacked: AttackedPod) -> None:
    with attacked.open(LIVENESS) as sock:
        for byte in padded(HEAD_LIMIT):
            sock.send(bytes([byte]))
        assert parse(*read_to_end(sock)).status == 200
    with attacked.open(LIVENESS) as sock:
        data = padded(HEAD_LIMIT + 1, newline=False)
        sock.sendall(data[:-1])
        sock.sendall(data[-1:])
        assert parse(*read_to_end(sock)).status == 431


# -- more than one request on a connection


def test_a_second_request_is_never_read(attacked: AttackedPod) -> None:
    with app(hold) as slow, pod({"slow": {"livenessProbe": http_probe(slow.port)}}) as other:
        ask = GET.replace(b"/web", b"/slow") + b"\r\n"
        with other.open(LIVENESS, ask) as sock:
            slow.wait_for(lambda app: app.connections == 1)
            sock.sendall(MORE + ask)
            whole, orderly = read_to_end(sock)
        assert slow.connections == 1
        assert other.web.connections == 0
        assert (parse(whole, orderly).status, orderly) == (504, True)
        assert whole.count(b"HTTP/1.1") == 1


def test_nor_while_the_answer_to_the_first_is_on_its_way(attacked: AttackedPod) -> None:
    # The second request is read away; were it the parser's, the third would be acted on.
    with attacked.open(LIVENESS, GET + b"\r\n" + MORE) as sock:
        data = sock.recv(65536)
        sock.sendall(MORE)
        rest, _ = read_to_end(sock)
    assert parse(data + rest, True).body == b"alive"
    assert (data + rest).count(b"HTTP/1.1") == 1
    assert not any(b"second" in request for request in attacked.web.requests)


@pytest.mark.parametrize("times", [2, 1000, 100_000])
def test_a_pipeline_gets_one_answer(attacked: AttackedPod, times: int) -> None:
    with attacked.open(LIVENESS) as sock:
        try:
            sock.sendall(GET + b"\r\n" + MORE * (times - 1))
        except ConnectionError:
            assert times > 1000  # it is not listened to for ever
        whole, _ = read_to_end(sock)
    if times <= 1000:
        assert parse(whole, True).body == b"alive"
        assert whole.count(b"HTTP/1.1") == 1
    assert not any(b"second" in request for request in attacked.web.requests)


# -- bodies


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 5\r\n\r\nhello",
        b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
        b"Content-Length: 8192\r\n\r\n" + b"x" * 8192,
        b"Content-Length: 1000000\r\n\r\n" + b"x" * 1_000_000,
        b"Content-Length: 1000000\r\nContent-Encoding: gzip\r\n\r\n" + b"x" * 1_000_000,
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n" + b"2000\r\n" + b"x" * 8192 + b"\r\n0\r\n\r\n",
        b"Content-Length: 5\r\n\r\nhello" + MORE,
    ],
    ids=lambda body: repr(body[:60]),
)
def test_a_body_is_not_passed_on_and_costs_no_answer(attacked: AttackedPod, body: bytes) -> None:
    whole, orderly = attacked.send(GET + b"User-Agent: has-a-body\r\n" + body, LIVENESS)
    answer = parse(whole, orderly)
    assert (answer.status, answer.body, orderly) == (200, b"alive", True)
    request = next(request for request in attacked.web.requests if b"has-a-body" in request)
    attacked.web.requests.remove(request)
    names = {line.partition(":")[0].lower() for line in header_lines(request)}
    assert not names & {"content-length", "transfer-encoding", "expect"}
    assert request.endswith(b"\r\n\r\n")


def test_a_body_that_never_comes_delays_nothing(attacked: AttackedPod) -> None:
    whole, orderly = attacked.send(GET + b"Content-Length: 99999999999\r\n\r\n", LIVENESS)
    assert (parse(whole, orderly).body, orderly) == (b"alive", True)


# -- callers that end one half


@pytest.mark.parametrize("port", [HEALTHCHECK, LIVENESS, STARTUP])
@pytest.mark.parametrize("data", [b"", b"G", GET, b"\x16", b"\x16\x03\x01\x02\x00"])
def test_a_caller_that_stops_half_way_is_let_go(
    attacked: AttackedPod, port: int, data: bytes
) -> None:
    with attacked.open(port, data) as sock:
        sock.shutdown(1)
        whole, orderly = read_to_end(sock)
    assert orderly
    assert b" 200 " not in whole


def test_a_caller_that_ends_its_half_after_asking_counts_as_gone() -> None:
    with (
        app(hold) as slow,
        sidecar({"app": {"livenessProbe": http_probe(slow.port, timeoutSeconds=60)}}) as running,
        connect(running.address, LIVENESS) as sock,
    ):
        sock.sendall(GET.replace(b"/web", b"") + b"\r\n")
        slow.wait_for(lambda app: app.connections == 1)
        sock.shutdown(1)
        slow.wait_for(lambda app: app.open == 0)
        assert read_to_end(sock) == (b"", True)


# -- TLS where there is none


def test_tls_on_a_port_without_tls_reaches_nothing(attacked: AttackedPod) -> None:
    hello = b"\x16\x03\x01\x00\x05hello" + b"\0" * 1000
    before = attacked.tls.connections
    assert parse(*attacked.send(hello, HEALTHCHECK)).status == 400
    for port in (LIVENESS, READINESS):
        with attacked.open(port) as sock:
            sock.sendall(hello)
            data, _ = read_to_end(sock)
            assert data == b""
    assert attacked.tls.connections == before


def test_tls_garbage_is_the_apps_to_refuse(attacked: AttackedPod) -> None:
    data, _ = attacked.send(b"\x16" + b"garbage" * 100, STARTUP)
    assert data.startswith(b"\x15")  # an alert, and it is the app's own
