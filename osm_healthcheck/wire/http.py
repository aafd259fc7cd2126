"""One request to an app, over whatever its URL and ALPN call for."""

import asyncio
from collections.abc import Sequence

from osm_healthcheck.probes.redirect import Hop
from osm_healthcheck.probes.request import requires_http1
from osm_healthcheck.wire import http1
from osm_healthcheck.wire.dial import Network, dial
from osm_healthcheck.wire.errors import BrokenOffError, UnprocessedError
from osm_healthcheck.wire.response import Framing, Response
from osm_healthcheck.wire.stream import Stream

# net/http client.go: before it follows a redirect, a client reads so much of the answer's body
_MAX_SKIPPED_BYTES = 2 * 1024
# Go asks again at once, each time. The second time and later we wait: each is a TLS handshake.
_FIRST_PAUSE = 0.01
_MAX_PAUSE = 0.1


async def ask(
    addresses: Sequence[str], method: str, hop: Hop, network: Network, *, http2: bool = True
) -> Response:
    """Dial the app of ``hop`` at one of ``addresses``, send its request, read the answer's head.

    ``http2`` is whether it is offered to an app that speaks TLS.

    Raises:
        RefusedError: where no address takes the connection.
        NoSocketError: where there is nothing to connect with.
        BadAnswerError: where what comes back is not HTTP.
    """
    stream, _ = await dial(addresses, hop.url.port, network, one_write=hop.url.scheme == "http")
    return await ask_on(stream, method, hop, network, http2=http2)


async def ask_on(
    stream: Stream,
    method: str,
    hop: Hop,
    network: Network,
    encoded: bytes | None = None,
    *,
    http2: bool = True,
) -> Response:
    """Do the same on a connection that has been dialled; it belongs to this function.

    Where an app has not looked at a request that came by HTTP/2, it is asked once more on a new
    connection, as Go's ``Transport.RoundTrip`` does, until the caller's deadline. ``encoded`` is
    the request as bytes of HTTP/1.1, where somebody has made them already.

    Raises:
        RefusedError: where the app takes no new connection.
        BadAnswerError: where what comes back is not HTTP.
        BrokenOffError: where it has no body that could be passed on, and breaks off in one.
    """
    if hop.url.scheme == "http":
        try:
            return await http1.exchange(stream, method, hop, encoded)
        except BaseException:
            stream.abandon()
            raise
    pause = 0.0
    while True:
        try:
            return await _ask_securely(stream, method, hop, http2=http2)
        except UnprocessedError:
            await asyncio.sleep(pause)
            pause = min(max(2 * pause, _FIRST_PAUSE), _MAX_PAUSE)
        address, port = stream.peer
        stream, _ = await dial([address], port, network)


async def _ask_securely(stream: Stream, method: str, hop: Hop, *, http2: bool) -> Response:
    from osm_healthcheck.wire.tls import TLSStream

    secure = TLSStream(stream, hop.url.hostname, http2=http2 and not requires_http1(hop.lines))
    try:
        await secure.handshake()
        if secure.protocol == "h2":
            from osm_healthcheck.wire.http2 import exchange

            return await exchange(secure, method, hop)
        return await http1.exchange(secure, method, hop)
    except BaseException:
        secure.abandon()
        raise


async def skip_body(response: Response) -> None:
    """Read of a redirect's body what Go's client reads before it goes on (``Client.do``).

    A body that ends early does no harm; one that never does keeps its reader until the deadline.
    The response stays the caller's to close.
    """
    length = {name.lower(): value for name, value in response.headers}.get(b"content-length")
    if response.framing is Framing.LENGTH and length and int(length) > _MAX_SKIPPED_BYTES:
        return
    count = 0
    try:
        while count < _MAX_SKIPPED_BYTES and (piece := await response.read()):
            count += len(piece)
    except BrokenOffError:
        return
