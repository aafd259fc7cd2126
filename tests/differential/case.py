"""What is compared: a probe, and what the app does with each connection."""

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.io.apps import read_head
from tests.io.http2_cases import Talk

End = Literal["close", "truncate", "reset", "hang"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What an app does with one connection once it has read the request.

    ``pieces`` are sent one after another, a number is a pause in seconds; ``<port>`` and ``<ip>``
    in them stand for the app's own. ``end``: ``close`` sends FIN and waits for the caller's (over
    TLS with a ``close_notify`` before it, ``truncate`` without), ``reset`` sends RST, ``hang``
    keeps the connection until the caller leaves.
    """

    pieces: tuple[bytes | float, ...] = ()
    end: End = "close"


def reply(*pieces: bytes | float, end: End = "close") -> tuple[Reply, ...]:
    """A script of one reply, for every connection."""
    return (Reply(pieces, end),)


def http_get(path: str = "/", **more: Any) -> dict[str, Any]:
    """An ``httpGet`` handler that asks the app; ``more`` goes into the action."""
    return {"httpGet": {"path": path, "port": "app", **more}}


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison.

    ``handler`` is as in a manifest; port ``"app"`` is the app's, which both probers look up among
    the container's ports (a ``grpc`` handler gets the number). ``script`` has a reply for each
    connection in turn, the last one for all that follow. ``read`` takes the request off the
    connection and returns it. ``tls`` makes the server's context, ``None`` is plain TCP.
    ``address`` is where the app listens. ``time_limit`` in seconds: short where the app hangs.
    ``talk`` is what an app says that speaks HTTP/2; then there is no ``script``.
    """

    group: str
    name: str
    script: tuple[Reply, ...]
    handler: Mapping[str, Any] = field(default_factory=http_get)
    tls: Callable[[], ssl.SSLContext] | None = None
    read: Callable[[Any], bytes] = read_head
    address: str = "127.0.0.1"
    time_limit: float = 10.0
    talk: Sequence[Talk] = ()

    def handler_for(self, port: int) -> Mapping[str, Any]:
        """The handler where the app is on ``port``: that of ``grpc`` is a number."""
        if "grpc" in self.handler:
            return {"grpc": {"port": port, **self.handler["grpc"]}}
        return self.handler
