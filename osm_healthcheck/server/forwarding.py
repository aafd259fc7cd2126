"""What probe proxies and lifecycle hooks have in common: the app is asked on a caller's behalf."""

import asyncio
from collections.abc import Awaitable, Callable

from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.probes.probe import HTTPGetAction
from osm_healthcheck.probes.redirect import Hop, RedirectError, location_of, next_hop
from osm_healthcheck.probes.request import end_to_end
from osm_healthcheck.probes.url import URL, URLError, probe_url
from osm_healthcheck.server.reply import Caller
from osm_healthcheck.wire.errors import BadAnswerError, BrokenOffError
from osm_healthcheck.wire.http import skip_body
from osm_healthcheck.wire.response import Framing, Response


def url_of(action: HTTPGetAction, port: int, address: str) -> URL:
    """The URL that the kubelet asks for ``action`` at ``address``.

    Raises:
        BadAnswerError: where it would ask none.
    """
    try:
        url = probe_url(action.scheme, address, port, action.path)
    except URLError as error:
        raise BadAnswerError(f"the kubelet sends no such request: {error}") from None
    if not url.host:
        raise BadAnswerError(f"the kubelet sends no such request: Get {url.quoted}: no Host in it")
    return url


async def follow_redirects(
    first: Hop, response: Response, ports: OwnPorts, ask: Callable[[Hop], Awaitable[Response]]
) -> Response:
    """The answer that the kubelet would take for the app's.

    Args:
        first: the request.
        response: the answer to it, which belongs to this function.
        ports: our own, to which none is followed.
        ask: sends a request that follows.

    Raises:
        RedirectError: where a redirect makes the request fail.
        WireError: what ``ask`` raises.
    """
    hops = [first]
    while location := location_of(response.status, response.headers):
        try:
            hop = next_hop(response.status, location, hops)
        except RedirectError:
            response.close()
            raise
        if hop is None:
            break
        try:
            await skip_body(response)
        finally:
            response.close()
        if hop.url.port in ports:
            # Without us nothing listens there; asking ourselves would be an answer of our own.
            raise RedirectError(f"redirect to {hop.url.quoted}, which is the sidecar's own port")
        hops = [*([first] * len(hops)), hop]  # what was between them may be long
        response = await ask(hop)
    return response


async def stream_answer(connection: Caller, response: Response, http11: bool) -> None:
    """Pass an answer on as it comes, and break off where it does.

    ``http11`` is whether the caller knows chunks. ``response`` has no headers after that.

    Raises:
        BrokenOffError: where it ends before it is whole; the caller's side has ended then, too.
    """
    chunked = response.framing is Framing.CHUNKED and http11
    write = connection.write
    first = _head(response, chunked)
    response.headers = ()  # an app can send a hundred kilobytes of them, and then nothing for long
    # What came with the head goes on with it: most answers are one write.
    if not (connection.head_only or chunked):
        first += response.received()
    await write(first)
    del first
    try:
        if not connection.head_only:
            while piece := await response.read():
                await write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            if chunked:
                await write(b"0\r\n\r\n")
    except (BrokenOffError, TimeoutError, asyncio.CancelledError):
        if response.framing is Framing.LENGTH or chunked:
            connection.close()
        else:
            connection.reset()
        raise
    connection.close()


def _head(response: Response, chunked: bool) -> bytes:
    """The app's own status and headers; of ours there is nothing but the framing."""
    upgraded = response.status == 101
    headers = response.headers if upgraded else end_to_end(response.headers)
    lines = [b"HTTP/1.1 %03d %b" % (response.status, response.reason)]
    framed_by_length = response.framing in (Framing.LENGTH, Framing.NONE)
    lines += [
        name + b": " + value
        for name, value in headers
        if framed_by_length or len(name) != 14 or name.lower() != b"content-length"
    ]
    if chunked:
        lines.append(b"Transfer-Encoding: chunked")
    if not upgraded:
        lines.append(b"Connection: close")
    lines.append(b"\r\n")
    return b"\r\n".join(lines)
