"""The headers of HTTPS probes whose app settles on h2, and what reaches the app of them.

What Go's client makes of each is in ``tests/vectors/go-http2.json``, by the same names.
"""

from hpack import Decoder

from tests.io.http2_cases import HEADERS, PREFACE, Talker

Declared = tuple[tuple[str, str], ...]

REQUESTS: dict[str, Declared] = {
    "none": (),
    "a host": (("Host", "shop.example:80"),),
    "a host of other letters": (("Host", "bücher.example"),),
    "a host that is none": (("Host", "a b"),),
    "a header twice": (("X-A", "1"), ("x-a", "2")),
    "a value with blanks around it": (("X-A", "  a\t"),),
    "an empty value": (("X-A", ""),),
    "no name and no wish": (("User-Agent", ""), ("Accept", "")),
    "a cookie": (("Cookie", "a=1; b=2;c=3;  d=4"), ("Cookie", "e=5")),
    "a cookie that ends in a semicolon": (("Cookie", "a=1; "),),
    "an empty cookie": (("Cookie", ""),),
    "TE": (("TE", "gzip"),),
    "Trailer": (("Trailer", "X-A"),),
    "Content-Length": (("Content-Length", "5"),),
    "Keep-Alive and Proxy-Connection": (("Keep-Alive", "1"), ("Proxy-Connection", "a")),
    "Connection: Keep-Alive": (("Connection", "Keep-Alive"),),
    "Connection: close": (("Connection", "close"),),
    "Connection, empty": (("Connection", ""),),
    "Connection: close with a blank": (("Connection", " close"),),
    "Connection: another": (("Connection", "X-A"),),
    "Connection twice": (("Connection", "close"), ("Connection", "keep-alive")),
    "Transfer-Encoding: chunked": (("Transfer-Encoding", "chunked"),),
    "Transfer-Encoding: Chunked": (("Transfer-Encoding", "Chunked"),),
    "Transfer-Encoding: gzip": (("Transfer-Encoding", "gzip"),),
    "Transfer-Encoding twice": (("Transfer-Encoding", ""), ("Transfer-Encoding", "")),
    "Upgrade: chunked": (("Upgrade", "chunked"), ("Upgrade", "h2c")),
    "Upgrade: h2c": (("Connection", "upgrade"), ("Upgrade", "h2c")),
    "Upgrade: websocket without Connection": (("Upgrade", "websocket"),),
}
# which is asked for by HTTP/1.1
WEBSOCKET: Declared = (("Connection", "a, Upgrade"), ("Upgrade", "WebSocket"))


def seen(app: Talker) -> list[list[str]] | None:
    """The header list of the one request that has come to ``app``."""
    port = str(app.port)
    for request in filter(None, app.requests):
        return [[name, value.replace(port, "PORT")] for name, value in _fields_of(request)]
    return None


def _fields_of(request: bytes) -> list[list[str]]:
    """The header list of a request, sorted: Go has no order of its own."""
    at = len(PREFACE)
    while request[at + 3] != HEADERS:
        at += 9 + int.from_bytes(request[at : at + 3])
    block = request[at + 9 : at + 9 + int.from_bytes(request[at : at + 3])]
    fields = Decoder().decode(block, raw=True)
    return sorted([name.decode(), value.decode()] for name, value in fields)
