"""15901-15903: the probe proxies, which stand in for an app's own ``httpGet`` endpoints."""

import asyncio
from collections.abc import Awaitable, Sequence
from time import perf_counter

from osm_healthcheck.probes.addresses import AppAddresses
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.probes.redirect import Hop, RedirectError
from osm_healthcheck.probes.request import proxied_headers
from osm_healthcheck.probes.targets import HTTPTarget, Routes
from osm_healthcheck.server.forwarding import follow_redirects, stream_answer, url_of
from osm_healthcheck.server.passthrough import pass_through
from osm_healthcheck.server.reply import ALLOW, Caller, RememberedHeads, Reply, TextReply
from osm_healthcheck.server.request import Request
from osm_healthcheck.server.results import Results, TargetResult
from osm_healthcheck.wire.dial import Network, dial
from osm_healthcheck.wire.errors import BadAnswerError, BrokenOffError, DialError, NoSocketError
from osm_healthcheck.wire.http import ask, ask_on
from osm_healthcheck.wire.http1 import encode_request
from osm_healthcheck.wire.response import Response

# A pod has an address or two, and loopback; a caller of a machine with many could go through all.
_MAX_ADDRESSES = 4


class ProbeProxy:
    """The proxy of one kind of probe: HTTP by path, TLS passed through."""

    def __init__(
        self,
        routes: Routes,
        ports: OwnPorts,
        app_addresses: AppAddresses,
        network: Network,
        results: Results,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._routes = routes
        self._ports = ports
        self._app_addresses = app_addresses
        self._network = network
        self._results = results
        self._loop = loop
        self.remembered = RememberedHeads()

    def take_over(self, connection: Caller, first: bytes) -> bool:
        """See `Endpoint`: TLS goes to the one HTTPS probe of this kind, if it is one."""
        target = self._routes.tls
        if target is None:
            connection.abort()
        else:
            addresses = self._app_addresses.addresses(connection.local_address)
            connection.start(
                pass_through(
                    connection, target, addresses, first, self._network, self._results, self._loop
                )
            )
        return True

    def resolve(self, request: Request) -> Reply:
        """See `Endpoint`."""
        target = self._routes.http.get(request.path)
        if target is None:
            paths = ", ".join(self._routes.http)
            text = f"no declared probe has this path; there are {paths}"
            return TextReply(404, text, head_only=request.head_only)
        if request.method not in ("GET", "HEAD"):
            return TextReply(405, "a probe is a GET or a HEAD", ALLOW)
        return _ProxyReply(self, target, request)

    def proxy(self, connection: Caller, reply: "_ProxyReply") -> None:
        """Ask the app for the probe of ``reply``, and pass its answer on."""
        addresses = self._app_addresses.addresses(connection.local_address)
        connection.start(self._proxy(connection, reply, addresses))

    async def _proxy(
        self, connection: Caller, reply: "_ProxyReply", addresses: Sequence[str]
    ) -> None:
        target = reply.target
        started = perf_counter()
        response: Response | None = None
        try:
            async with asyncio.timeout(target.deadline):
                response = await self._ask(reply, addresses)
                seconds = perf_counter() - started
                result = (
                    TargetResult.SUCCESS if 200 <= response.status < 400 else TargetResult.FAILURE
                )
                await stream_answer(connection, response, reply.http11)
        except (TimeoutError, BrokenOffError, DialError, BadAnswerError, RedirectError) as error:
            if response is not None:
                result = TargetResult.BROKEN
                reason = f"status {response.status}, then broken off: {str(error) or 'too slow'}"
            elif isinstance(error, TimeoutError):
                result, reason = TargetResult.TIMEOUT, f"no answer after {target.deadline:.3f} s"
                connection.respond(504, f"{target}: {reason}")
            elif isinstance(error, NoSocketError):
                result, reason = TargetResult.FAILURE, str(error)
                connection.respond(500, f"{target}: {reason}")
            elif isinstance(error, DialError):
                result, reason = TargetResult.REFUSED, str(error)
                connection.respond(503, f"{target}: {reason}")
            else:
                result, reason = TargetResult.BAD_ANSWER, str(error)
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

    async def _ask(self, reply: "_ProxyReply", addresses: Sequence[str]) -> Response:
        """The answer that the kubelet would take for the app's, redirects followed."""
        target = reply.target
        if target.headers.refusal:
            raise BadAnswerError(f"the kubelet sends no such request: {target.headers.refusal}")
        reply.first_request(addresses[0])  # an app is not dialled where there is none
        stream, address = await dial(
            addresses, target.port, self._network, one_write=target.action.scheme == "HTTP"
        )
        first, encoded = reply.first_request(address)
        response = await ask_on(stream, reply.method, first, self._network, encoded)

        def follow(hop: Hop) -> Awaitable[Response]:
            return ask([hop.url.hostname], reply.method, hop, self._network)

        return await follow_redirects(first, response, self._ports, follow)


class _ProxyReply:
    """A proxied probe; see `Reply`. It holds the request for each address of the app."""

    __slots__ = (
        "_headers",
        "_proxy",
        "_requests",
        "head_only",
        "held_bytes",
        "http11",
        "method",
        "target",
    )
    lasting = True

    def __init__(self, proxy: ProbeProxy, target: HTTPTarget, request: Request) -> None:
        self._proxy = proxy
        self._headers = proxied_headers(
            target.action.http_headers, request.first("User-Agent"), request.first("Accept")
        )
        self._requests: dict[str, tuple[Hop, bytes]] = {}
        headers = sum(len(name) + len(value) for name, value in self._headers)
        self.held_bytes = headers * (1 + _MAX_ADDRESSES)
        self.target = target
        self.method = request.method
        self.http11 = request.http11
        self.head_only = request.head_only

    def answer(self, connection: Caller) -> None:
        """See `Reply`."""
        self._proxy.proxy(connection, self)

    def first_request(self, address: str) -> tuple[Hop, bytes]:
        """The request for the app at ``address``, and its bytes in HTTP/1.1.

        Raises:
            BadAnswerError: where the kubelet would send none.
        """
        found = self._requests.get(address)
        if found is None:
            target = self.target
            url = url_of(target.action, target.port, address)
            hop = Hop(url, target.headers.host, self._headers)
            found = hop, encode_request(self.method, hop)
            if len(self._requests) < _MAX_ADDRESSES:
                self._requests[address] = found
        return found
