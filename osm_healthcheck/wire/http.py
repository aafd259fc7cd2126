"""One request to an app, over whatever its URL and ALPN call for."""

from collections.abc import Sequence

from osm_healthcheck.probes.redirect import Hop
from osm_healthcheck.wire import http1
from osm_healthcheck.wire.dial import Network, dial
from osm_healthcheck.wire.response import Response
from osm_healthcheck.wire.stream import Stream


async def ask(addresses: Sequence[str], method: str, hop: Hop, network: Network) -> Response:
    """Dial the app of ``hop`` at one of ``addresses``, send its request, read the answer's head.

    Raises:
        RefusedError: where no address takes the connection.
        BadAnswerError: where what comes back is not HTTP.
    """
    stream, _ = await dial(addresses, hop.url.port, network)
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
