"""HTTPS apps that speak h2 and apps that speak gRPC, frame by frame: those of `http2_cases`."""

from collections.abc import Iterator

from tests.differential.case import Case, http_get
from tests.differential.zoo.http1 import SHORT
from tests.io.go_http2 import patience
from tests.io.http2_cases import GRPC, HTTPS
from tests.io.tls import server_context


def https() -> Iterator[Case]:
    """Those over TLS."""
    made = server_context("h2")
    for name, talk in HTTPS.items():
        limit = SHORT if patience("https", name) == 1 else 10.0
        yield Case(
            "h2",
            name,
            (),
            http_get(scheme="HTTPS"),
            tls=lambda: made,
            time_limit=limit,
            talk=tuple(talk),
        )


def grpc() -> Iterator[Case]:
    """Those of gRPC."""
    for name, talk in GRPC.items():
        limit = SHORT if patience("grpc", name) == 1 else 10.0
        yield Case("grpc", name, (), {"grpc": {}}, time_limit=limit, talk=tuple(talk))
