"""Apps that behave as the vectors say. Each notes how its caller ended the connection."""

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping

from tests.io.apps import App, app, read_head, read_until_gone, reset, response


class Ends(list[str]):
    """How callers ended their connections: ``fin`` or ``reset``."""


class Recorder(App):
    """An app that also knows ``ends``."""

    ends: Ends


Answering = Callable[[socket.socket], None]


@contextlib.contextmanager
def answering(answer: bytes | Answering, tls: ssl.SSLContext | None = None) -> Iterator[Recorder]:
    """Run an app that gives ``answer`` to each request, and closes.

    Where ``answer`` is a function it does what it likes once the request has come.
    """
    ends = Ends()

    def serve(plain: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            sock: socket.socket = plain
            if tls is not None:
                try:
                    sock = stack.enter_context(tls.wrap_socket(plain, server_side=True))
                except OSError:
                    return
            if request := read_head(sock):
                running.requests.append(request)
                if callable(answer):
                    answer(sock)
                else:
                    sock.sendall(answer)
                    with contextlib.suppress(OSError):
                        sock.shutdown(socket.SHUT_WR)
            if sock.fileno() >= 0:
                ends.append(read_until_gone(sock))

    with app(serve) as running:
        running.ends = ends  # type: ignore[attr-defined]
        yield running  # type: ignore[misc]


@contextlib.contextmanager
def site(pages: Mapping[str, Callable[[bytes], bytes] | bytes]) -> Iterator[App]:
    """Run an app with these pages; a page that is a function gets the request."""

    def serve(sock: socket.socket) -> None:
        request = read_head(sock)
        running.requests.append(request)
        page = pages.get(request.split(b" ")[1].decode(), response("404 Not Found"))
        sock.sendall(page(request) if callable(page) else page)

    with app(serve) as running:
        yield running


def drop(sock: socket.socket) -> None:
    """Close without a byte."""
    sock.shutdown(socket.SHUT_WR)


def send(data: bytes, then: Answering | None = None) -> Answering:
    """Send these bytes, then close or do something else."""

    def answer(sock: socket.socket) -> None:
        sock.sendall(data)
        if then is None:
            sock.shutdown(socket.SHUT_WR)
        else:
            then(sock)

    return answer


def stay(sock: socket.socket) -> None:
    """Hold the connection open."""


def status(code: int, body: bytes = b"", *headers: str) -> bytes:
    """An answer with this status, whatever RFC 9110 thinks of it."""
    return response(f"{code} Status", body, *headers)


__all__ = ["Recorder", "answering", "drop", "reset", "send", "site", "status", "stay"]
