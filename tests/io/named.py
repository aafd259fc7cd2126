"""Apps that say who they are, so that a test sees which one a probe has reached."""

import contextlib
import socket
import ssl
from collections.abc import Iterator

import trustme

from tests.io.apps import App, app, read_head, response


def certificate() -> ssl.SSLContext:
    """A server's side of TLS, with a certificate that nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("app.example").configure_cert(context)
    return context


@contextlib.contextmanager
def answering(name: str, tls: ssl.SSLContext | None = None) -> Iterator[App]:
    """An app that answers with its name and remembers the requests."""

    def serve(sock: socket.socket) -> None:
        stream = tls.wrap_socket(sock, server_side=True) if tls else sock
        with stream:
            running.requests.append(read_head(stream))
            stream.sendall(response(body=name.encode()))

    with app(serve) as running:
        yield running
