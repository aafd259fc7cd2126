"""Of a redirect's own body 2 KiB are read before it is followed, as Go's client does it."""

import socket

import pytest

from tests.io.apps import app, hold, read_head, response
from tests.io.kubelet import PATIENCE
from tests.io.sidecar import http_probe, sidecar

HEAD = b"HTTP/1.1 302 Found\r\nLocation: /next\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LIMIT = 2048


def ask(answer: bytes, seconds: int) -> tuple[int, list[bytes]]:
    """The sidecar's status where the app gives ``answer`` first and keeps the connection."""
    paths: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        path = read_head(sock).split()[1]
        paths.append(path)
        if path == b"/next":
            sock.sendall(response("200 OK", b"done"))
        else:
            sock.sendall(answer)
            hold(sock)

    with app(serve) as running:
        probe = http_probe(running.port, "/first", timeoutSeconds=seconds)
        with sidecar({"app": {"livenessProbe": probe}}) as asked:
            return asked.probe().status, paths


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"\r\n",
        HEAD + b"\r\n" + b"x" * (LIMIT - 1),
        HEAD + b"Content-Length: 5\r\n\r\nhalf",
        HEAD + b"Content-Length: %d\r\n\r\n" % LIMIT + b"x" * (LIMIT - 1),
        CHUNKED + b"4\r\nhalf\r\n",
    ],
    ids=lambda answer: repr(answer[-40:]),
)
def test_a_body_that_does_not_end_fails_at_the_deadline(answer: bytes) -> None:
    assert ask(answer, 1) == (504, [b"/first"])


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"\r\n" + b"x" * LIMIT,
        HEAD + b"Content-Length: %d\r\n\r\n" % (LIMIT + 1),
        HEAD + b"Content-Length: 4\r\n\r\nbody",
        CHUNKED + b"4\r\nbody\r\n0\r\n\r\n",
        CHUNKED + b"4\r\nbodyXX",
        CHUNKED + b"800\r\n" + b"x" * LIMIT,
    ],
    ids=lambda answer: repr(answer[-40:]),
)
def test_any_other_is_followed(answer: bytes) -> None:
    assert ask(answer, PATIENCE) == (200, [b"/first", b"/next"])
