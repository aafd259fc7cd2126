"""15904: the declared lifecycle hooks, whose requests are made here on the kubelet's behalf.

They are no probes (``pkg/kubelet/lifecycle/handlers.go``): any HTTP status is a success, and only a
request without an answer fails. So an app that cannot be asked is a connection that is reset, and
never a status of ours. Nothing ends a hook but its caller and the app: the kubelet's client
(``insecureContainerLifecycleHTTPClient`` of ``pkg/kubelet/kubelet.go``) has no timeout.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from time import perf_counter

from osm_healthcheck.probes.addresses import AppAddresses
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.probes.redirect import Hop, RedirectError
from osm_healthcheck.probes.request import Headers, hook_headers
from osm_healthcheck.probes.targets import HookTarget
from osm_healthcheck.server.forwarding import follow_redirects, stream_answer, url_of
from osm_healthcheck.server.reply import Caller, Reply
from osm_healthcheck.server.request import Request
from osm_healthcheck.server.results import Results, TargetResult
from osm_healthcheck.wire.dial import Network, dial
from osm_healthcheck.wire.errors import (
    BadAnswerError,
    DialError,
    NoSocketError,
    PlainHTTPError,
    WireError,
)
from osm_healthcheck.wire.http import ask, ask_on
from osm_healthcheck.wire.response import Response


class LifecycleHooks:
    """The hooks of one pod, by path."""

    def __init__(
        self,
        targets: Mapping[str, HookTarget],
        ports: OwnPorts,
        app_addresses: AppAddresses,
        network: Network,
        results: Results,
    ) -> None:
        self._targets = targets
        self._ports = ports
        self._app_addresses = app_addresses
        self._network = network
        self._results = results
        self._running = 0
        self._none_runs = asyncio.Event()
        self._none_runs.set()

    async def done(self) -> None:
        """Wait until none is under way."""
        await self._none_runs.wait()

    def resolve(self, request: Request) -> Reply | None:
        """What a GET comes to; ``None`` where no hook has this path."""
        target = self._targets.get(request.path)
        return None if target is None else _HookReply(self, target, request)

    async def run(self, connection: Caller, reply: "_HookReply") -> None:
        """Ask the app for the hook of ``reply``, and pass its answer on."""
        self._running += 1
        self._none_runs.clear()
        try:
            await self._run(connection, reply)
        finally:
            self._running -= 1
            if not self._running:
                self._none_runs.set()

    async def _run(self, connection: Caller, reply: "_HookReply") -> None:
        target = reply.target
        addresses = self._app_addresses.addresses(connection.local_address)
        started = perf_counter()
        response: Response | None = None
        result = TargetResult.SUCCESS
        try:
            response = await self._ask(target, addresses, reply.headers)
            seconds, reason = perf_counter() - started, f"status {response.status}"
            self._results.record(target, result, seconds, reason)
            await stream_answer(connection, response, reply.http11)
        except (WireError, RedirectError) as error:
            if response is not None:
                return  # the kubelet has its status, and does not mind what becomes of the body
            connection.reset()
            self._results.record(target, _failure(error), perf_counter() - started, str(error))
        finally:
            if response is not None:
                response.close()

    async def _ask(
        self, target: HookTarget, addresses: Sequence[str], headers: Headers
    ) -> Response:
        """The answer that the kubelet would take for the app's.

        An app that speaks HTTP where the hook says HTTPS is asked once more by HTTP, without the
        credentials (``runHTTPHandler``). Where that fails too, it is the first error that counts.
        """
        try:
            return await self._follow(target, target.action.scheme, addresses, headers)
        except PlainHTTPError as error:
            headers = tuple(line for line in headers if line[0] != b"Authorization")
            try:
                return await self._follow(target, "HTTP", addresses, headers)
            except (WireError, RedirectError):
                raise error from None

    async def _follow(
        self, target: HookTarget, scheme: str, addresses: Sequence[str], headers: Headers
    ) -> Response:
        if target.headers.refusal:
            raise BadAnswerError(f"the kubelet sends no such request: {target.headers.refusal}")
        url_of(target.action, target.port, addresses[0])
        stream, address = await dial(addresses, target.port, self._network)
        url = url_of(target.action, target.port, address)._replace(scheme=scheme.lower())
        first = Hop(url, target.headers.host, headers)
        response = await ask_on(stream, "GET", first, self._network, http2=False)

        def follow(hop: Hop) -> Awaitable[Response]:
            return ask([hop.url.hostname], "GET", hop, self._network, http2=False)

        return await follow_redirects(first, response, self._ports, follow)


class _HookReply:
    """A hook that is to be run; see `Reply`."""

    lasting = False
    held_bytes = 0

    def __init__(self, hooks: LifecycleHooks, target: HookTarget, request: Request) -> None:
        self._hooks = hooks
        self.target = target
        self.headers = hook_headers(
            target.action.http_headers, request.first("User-Agent"), request.first("Accept")
        )
        self.http11 = request.http11
        self.head_only = request.head_only

    def answer(self, connection: Caller) -> None:
        """See `Reply`."""
        connection.start(self._hooks.run(connection, self))


def _failure(error: Exception) -> TargetResult:
    if isinstance(error, NoSocketError):
        return TargetResult.FAILURE
    return TargetResult.REFUSED if isinstance(error, DialError) else TargetResult.BAD_ANSWER
