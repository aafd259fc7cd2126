"""One request to an app, over whatever its URL and ALPN call for."""

from collections.abc import Sequence

from osm_healthcheck.core.redirect import Hop
from osm_healthcheck.wire import http1
from osm_healthcheck.wire.dial import dial
from osm_healthcheck.wire.errors import BrokenOffError
from osm_healthcheck.wire.response import Framing, Response
from osm_healthcheck.wire.stream import Stream

# net/http client.go: before it follows a redirect, a client reads so much of the answer's body
_MAX_SKIPPED_BYTES = 2 * 1024


async def ask(addresses: Sequence[str], method: str, hop: Hop) -> Response:
    """Dial the app of ``hop`` at one of ``addresses``, send its request, read the answer's head.

    Raises:
        RefusedError: where no address takes the connection.
        BadAnswerError: where what comes back is not HTTP.
    """
    stream, _ = await dial(addresses, hop.url.port)
    return await ask_on(stream, method, hop)


async def ask_on(stream: Stream, method: str, hop: Hop) -> Response:
    """Do the same on a connection that has been dialled; it belongs to this function.

    Raises:
        BadAnswerError: where what comes back is not HTTP.
    """
    if hop.url.scheme == "http":
        try:
            return await http1.exchange(stream, method, hop)
        except BaseException:
            stream.abandon()
            raise
    from osm_healthcheck.wire.tls import TLSStream

    secure = TLSStream(stream, hop.url.hostname)
    try:
        await secure.handshake()
        if secure.protocol == "h2":
            from osm_healthcheck.wire import http2

            return await http2.exchange(secure, method, hop)
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
