"""What the vectors leave out: odd answers, and the words that Go has for them.

Measured on loopback with Go 1.26.8's ``net/http`` client in the kubelet's settings.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Callable

import pytest
import trustme

from osm_healthcheck.kubelet.address import PodAddress
from osm_healthcheck.kubelet.handlers import run_handler
from osm_healthcheck.kubelet.verdict import Result, Verdict, go_duration
from osm_healthcheck.probes.probe import HTTPGetAction
from tests.differential.case import Case, Reply, http_get
from tests.differential.compare import ask_ours
from tests.differential.zoo.tls import context
from tests.io.apps import app, hold, http_app, read_head, reset, response

BROKEN = "net/http: HTTP/1.x transport connection broken: "
OK = b"HTTP/1.1 200 OK\r\n"


def ask(port: int, scheme: str = "HTTP", time_limit: float = 5) -> Verdict:
    async def run() -> Verdict:
        handler = HTTPGetAction(port, scheme="HTTPS" if scheme == "HTTPS" else "HTTP")
        pod = PodAddress()
        try:
            return await run_handler(handler, time_limit, pod, {})
        finally:
            await pod.network.lingering.settle()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"hello there\r\n\r\n", BROKEN + 'malformed HTTP status code "there"'),
        (
            b"\x15\x03\x01\x00\x02\x02\x16",
            r'malformed HTTP response "\x15\x03\x01\x00\x02\x02\x16"',
        ),
        (b"HTTP/1.1 2000 X\r\n\r\n", BROKEN + 'malformed HTTP status code "2000"'),
        (b"HTTP/1.x 200 OK\r\n\r\n", BROKEN + 'malformed HTTP version "HTTP/1.x"'),
        (b"HTTP/1.1 20", BROKEN + 'malformed HTTP status code "20"'),
        (OK, BROKEN + "unexpected EOF"),
        (OK + b"Content-", BROKEN + 'malformed MIME header: missing colon: "Content-"'),
        (OK + b"no colon\r\n\r\n", BROKEN + 'malformed MIME header: missing colon: "no colon"'),
        (OK + b": x\r\n\r\n", BROKEN + 'malformed MIME header line: ": x"'),
        (OK + b" x: y\r\n\r\n", BROKEN + 'malformed MIME header initial line: " x: y"'),
        (OK + b"A: x\x01y\r\n\r\n", r'malformed MIME header line: "A: x\x01y"'),
        (OK + b"Content-Length: -1\r\n\r\n", BROKEN + 'bad Content-Length "-1"'),
        (OK + b"Content-Length:\r\n\r\n", BROKEN + 'invalid empty Content-Length ""'),
        (
            OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
            'cannot contain multiple Content-Length headers; got ["1" "2"]',
        ),
        (OK + b"Transfer-Encoding: gzip\r\n\r\n", 'unsupported transfer encoding: "gzip"'),
        (
            OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            'too many transfer encodings: ["chunked" "chunked"]',
        ),
        (b"HTTP/1.1 199 X\r\n\r\n", BROKEN + "unexpected EOF"),
        (b"HTTP/1.1 101 X\r\n\r\nfoo", "HTTP probe failed with statuscode: 101"),
    ],
)
def test_what_is_no_answer(answer: bytes, message: str) -> None:
    with http_app(answer) as running:
        verdict = ask(running.port)
    assert verdict.output.endswith(message), verdict
    assert (verdict.result, verdict.error) == ("failure", None)


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"bad name: x\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 7 + OK + b"\r\n",
    ],
)
def test_what_go_takes_all_the_same(answer: bytes) -> None:
    with http_app(answer) as running:
        assert ask(running.port).result == "success"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", "unexpected EOF"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "invalid byte in chunk length"),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabXX0\r\n\r\n",
            "malformed chunked encoding",
        ),
    ],
)
def test_half_a_body_is_an_error_and_no_verdict(answer: bytes, error: str) -> None:
    with http_app(answer) as running:
        assert ask(running.port).error == error


def answer_and_hold(answer: bytes) -> Callable[[socket.socket], None]:
    def serve(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(answer)
        hold(sock)

    return serve


def test_another_protocol_is_told_at_once() -> None:
    with app(answer_and_hold(b"SSH-2.0-OpenSSH_9.2\r\n")) as running:
        verdict = ask(running.port)
    assert verdict.output.endswith(BROKEN + 'malformed HTTP response "SSH-2.0-OpenSSH_9.2"')


def test_a_body_that_hangs_is_an_error() -> None:
    with app(answer_and_hold(OK + b"Content-Length: 9\r\n\r\nhalf")) as running:
        assert ask(running.port, time_limit=0.2).error == (
            "context deadline exceeded (Client.Timeout or context cancellation while reading body)"
        )


def test_a_redirects_body_is_waited_for() -> None:
    redirect = b"HTTP/1.1 302 X\r\nContent-Length: 50\r\nLocation: http://127.0.0.1:1/\r\n\r\nabc"
    with app(answer_and_hold(redirect)) as running:
        assert ask(running.port, time_limit=0.2).output == (
            'Get "http://127.0.0.1:1/": context deadline exceeded '
            "(Client.Timeout exceeded while awaiting headers)"
        )


def test_a_password_is_not_shown() -> None:
    with http_app(response("302 X", b"", "Location: ftp://u:secret@127.0.0.1/")) as running:
        assert ask(running.port).output == (
            'Get "ftp://u:***@127.0.0.1/": unsupported protocol scheme "ftp"'
        )


def tls_app(answer: bytes) -> Callable[[socket.socket], None]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("wrong.example").configure_cert(context)

    def serve(sock: socket.socket) -> None:
        # closed without close_notify, as many servers do it
        with context.wrap_socket(sock, server_side=True) as secure:
            read_head(secure)
            secure.sendall(answer)

    return serve


def test_a_reset_in_the_middle_of_a_head_is_named_over_tls_alone() -> None:
    script = (Reply((b"HTTP/1.1 200", 0.05), "reset"),)
    over_tls = Case("tls", "", script, http_get(scheme="HTTPS"), context)
    with asyncio.Runner() as runner:
        assert ask_ours(over_tls, runner).text.endswith(": connection reset by peer")
        assert ask_ours(Case("plain", "", script), runner).text.endswith(": unexpected EOF")


def test_tls_may_end_without_saying_so() -> None:
    with app(tls_app(OK + b"\r\nabc")) as running:
        assert ask(running.port, "HTTPS") == Verdict(Result.SUCCESS, "abc")
    with app(tls_app(b"")) as running:
        assert ask(running.port, "HTTPS").output.endswith(": EOF")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (40, "remote error: tls: handshake failure"),
        (70, "remote error: tls: protocol version not supported"),
        (80, "remote error: tls: internal error"),
        (112, "remote error: tls: unrecognized name"),
        (120, "remote error: tls: no application protocol"),
    ],
)
def test_tls_alerts(number: int, text: str) -> None:
    def serve(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(b"\x15\x03\x01\x00\x02\x02" + bytes([number]))
        hold(sock)

    with app(serve) as running:
        assert ask(running.port, "HTTPS").output.endswith(text)


def test_tls_with_something_else() -> None:
    def serve(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(b"hello there you")
        hold(sock)

    with app(serve) as running:
        assert ask(running.port, "HTTPS").output.endswith(
            "tls: first record does not look like a TLS handshake"
        )


def test_a_reset_names_both_ends() -> None:
    def serve(sock: socket.socket) -> None:
        read_head(sock)
        reset(sock)

    with app(serve) as running:
        output = ask(running.port).output
    ends = r"127\.0\.0\.1:\d+->127\.0\.0\.1:(\d+)"
    match = re.fullmatch(rf'Get ".*": read tcp {ends}: read: connection reset by peer', output)
    assert match is not None, output
    assert int(match[1]) == running.port


def test_mapped_ports_are_the_pods_own_and_no_other_machines() -> None:
    pod = PodAddress("10.0.0.1", {80: 8080})
    assert [pod.port("10.0.0.1", 80), pod.port("10.0.0.1", 81), pod.port("10.0.0.2", 80)] == [
        8080,
        81,
        80,
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(1, "1s"), (90, "1m30s"), (120, "2m0s"), (3600, "1h0m0s")]
)
def test_durations(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
