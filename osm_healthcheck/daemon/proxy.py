"""15901-15903: the probe proxies, which stand in for an app's own ``httpGet`` endpoints."""

import asyncio
import functools
from collections.abc import Sequence
from time import perf_counter

from aiohttp.http_parser import RawRequestMessage
from aiohttp.http_writer import HttpVersion11

from osm_healthcheck.core.ports import OwnPorts
from osm_healthcheck.core.redirect import Hop, RedirectError, location_of, next_hop
from osm_healthcheck.core.request import end_to_end, forwarded_headers
from osm_healthcheck.core.targets import HTTPTarget, Routes
from osm_healthcheck.core.url import URL, URLError, probe_url
from osm_healthcheck.daemon.check import ALLOW
from osm_healthcheck.daemon.connection import Connection
from osm_healthcheck.daemon.passthrough import pass_through
from osm_healthcheck.daemon.reach import Reach
from osm_healthcheck.daemon.results import Result, Results
from osm_healthcheck.wire.dial import dial
from osm_healthcheck.wire.errors import BadAnswerError, BrokenOffError, RefusedError
from osm_healthcheck.wire.http import ask, ask_on, skip_body
from osm_healthcheck.wire.response import Framing, Response


class ProbeProxy:
    """The proxy of one kind of probe: HTTP by path, TLS passed through."""

    def __init__(
        self,
        routes: Routes,
        ports: OwnPorts,
        reach: Reach,
        results: Results,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._routes = routes
        self._ports = ports
        self._reach = reach
        self._results = results
        self._loop = loop

    def take_over(self, connection: Connection, first: bytes) -> bool:
        """See `Endpoint`: TLS goes to the one HTTPS probe of this kind, if it is one."""
        target = self._routes.tls
        if target is None:
            connection.transport.abort()
        else:
            addresses = self._reach.addresses(connection.local_address)
            connection.start(
                pass_through(connection, target, addresses, first, self._results, self._loop)
            )
        return True

    def answer(self, connection: Connection, request: RawRequestMessage) -> None:
        """See `Endpoint`."""
        target = self._routes.http.get(request.url.raw_path)
        if target is None:
            paths = ", ".join(self._routes.http)
            connection.respond(404, f"no declared probe has this path; there are {paths}")
        elif request.method not in ("GET", "HEAD"):
            connection.respond(405, "a probe is a GET or a HEAD", ALLOW)
        else:
            addresses = self._reach.addresses(connection.local_address)
            connection.start(self._proxy(connection, request, target, addresses))

    async def _proxy(
        self,
        connection: Connection,
        request: RawRequestMessage,
        target: HTTPTarget,
        addresses: Sequence[str],
    ) -> None:
        started = perf_counter()
        response: Response | None = None
        try:
            async with asyncio.timeout(target.deadline):
                response = await self._ask(request, target, addresses)
                seconds = perf_counter() - started
                result = Result.SUCCESS if 200 <= response.status < 400 else Result.FAILURE
                await _stream(connection, response, request.version >= HttpVersion11)
        except (TimeoutError, BrokenOffError, RefusedError, BadAnswerError, RedirectError) as error:
            if response is not None:
                result = Result.BROKEN
                reason = f"status {response.status}, then broken off: {error or 'too slow'}"
            elif isinstance(error, TimeoutError):
                result, reason = Result.TIMEOUT, f"no answer after {target.deadline:.3f} s"
                connection.respond(504, f"{target}: {reason}")
            elif isinstance(error, RefusedError):
                result, reason = Result.REFUSED, str(error)
                connection.respond(503, f"{target}: {reason}")
            else:
                result, reason = Result.BAD_ANSWER, str(error)
                connection.respond(502, f"{target}: {reason}")
            seconds = perf_counter() - started
        except asyncio.CancelledError:
            # The kubelet reads 10 KiB and leaves: what it has seen by then is its answer.
            if response is not None:
                self._results.record(target, result, seconds, f"status {response.status}")
            raise
        else:
            reason = f"status {response.status}"
        finally:
            if response is not None:
                response.close()
        self._results.record(target, result, seconds, reason)

    async def _ask(
        self, request: RawRequestMessage, target: HTTPTarget, addresses: Sequence[str]
    ) -> Response:
        """The answer that the kubelet would take for the app's, redirects followed."""
        if target.headers.refusal:
            raise BadAnswerError(f"the kubelet sends no such request: {target.headers.refusal}")
        _url(target, addresses[0])
        stream, address = await dial(addresses, target.port)
        hops = [
            Hop(
                _url(target, address),
                target.headers.host,
                forwarded_headers(request.raw_headers, target.headers),
            )
        ]
        response = await ask_on(stream, request.method, hops[0])
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
            if hop.url.port in self._ports:
                # Without us nothing listens there; asking ourselves would be an answer of our own.
                raise RedirectError(f"redirect to {hop.url}, which is the sidecar's own port")
            hops.append(hop)
            response = await ask([hop.url.hostname], request.method, hop)
        return response


@functools.lru_cache(maxsize=256)
def _url(target: HTTPTarget, address: str) -> URL:
    try:
        url = probe_url(target.action.scheme, address, target.port, target.action.path)
    except URLError as error:
        raise BadAnswerError(f"the kubelet sends no such request: {error}") from None
    if not url.host:
        raise BadAnswerError(f'the kubelet sends no such request: Get "{url}": no Host in it')
    return url


async def _stream(connection: Connection, response: Response, http11: bool) -> None:
    """Pass an answer on as it comes, and break off where it does."""
    chunked = response.framing is Framing.CHUNKED and http11
    write = connection.write
    await write(_head(response, chunked))
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
