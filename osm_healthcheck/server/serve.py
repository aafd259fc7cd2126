"""The life of the sidecar: bind, serve, drain, end."""

import asyncio
import importlib
import os
import signal
from collections.abc import Awaitable
from enum import Enum

from osm_healthcheck.probes.addresses import AppAddresses
from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.probes.targets import Targets
from osm_healthcheck.server.check import CheckEndpoint
from osm_healthcheck.server.connection import Connection, Endpoint
from osm_healthcheck.server.connection_limiter import ConnectionLimiter, connection_limit
from osm_healthcheck.server.listen import BACKLOG, bind_all
from osm_healthcheck.server.logs import Log
from osm_healthcheck.server.metrics_page import MetricsPage
from osm_healthcheck.server.results import Results
from osm_healthcheck.server.settings import ANY_ADDRESS, Settings
from osm_healthcheck.wire.errors import authority
from osm_healthcheck.wire.listening import any_listening
from osm_healthcheck.wire.stream import limit_lingering

_DRAIN_POLL_SECONDS = 0.25


class Shutdown(Enum):
    """How to end."""

    DRAIN = "answer as long as the app does, then end"
    FINISH = "finish what is in flight, then end"


class Sidecar:
    """Everything that a running sidecar shares; connections use it as a `ServerContext`."""

    def __init__(self, settings: Settings, log: Log) -> None:
        self.settings = settings
        self.log = log
        self.loop = asyncio.get_running_loop()
        cap = connection_limit()
        self.limiter = ConnectionLimiter(self.loop, cap)
        limit_lingering(cap)
        self.allow_from = settings.allow_from
        self._servers: list[asyncio.Server] = []

    async def start(self) -> list[str]:
        """Listen on every port that is needed, and say where.

        Raises:
            ListenError: where one cannot be had; none is listened on then.
        """
        settings = self.settings
        endpoints = self._endpoints()
        _load_what_will_be_asked_for(settings.targets)
        ports = {"healthcheck": settings.ports.healthcheck}
        ports |= {kind.value: settings.ports.of(kind) for kind in self._kinds()}
        optional = settings.bind is ANY_ADDRESS
        bound = bind_all(settings.bind, ports, optional_ipv6=optional)
        addresses = []
        for name, sockets in bound.items():
            for sock in sockets:
                endpoint = endpoints[name]
                server = await self.loop.create_server(
                    lambda endpoint=endpoint: Connection(self, endpoint),  # type: ignore[misc]
                    sock=sock,
                    backlog=BACKLOG,
                )
                self._servers.append(server)
                address = sock.getsockname()
                addresses.append(authority(address[0], address[1]))
        return addresses

    async def stop(self, how: Shutdown) -> None:
        """End: with `Shutdown.DRAIN` after the app, at most ``drain`` seconds from now."""
        targets = self.settings.targets
        if how is Shutdown.DRAIN and targets is not None:
            await self._drain(targets)
        for server in self._servers:
            server.close()
        await self.limiter.close_idle()

    async def _drain(self, targets: Targets) -> None:
        """Go on answering while the app does: it may be finishing requests, and still be ready."""
        end = self.loop.time() + self.settings.drain
        # Nothing tells when a port of another process stops to listen: it has to be looked up.
        while await any_listening(targets.ports) and (left := end - self.loop.time()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(_DRAIN_POLL_SECONDS, left))

    def _kinds(self) -> list[ProbeKind]:
        targets = self.settings.targets
        return [] if targets is None else list(targets.routes)

    def _endpoints(self) -> dict[str, Endpoint]:
        settings, targets = self.settings, self.settings.targets
        results = Results(self.log)
        metrics_page = MetricsPage(results, self.limiter, self.log, self.loop)
        app_addresses = AppAddresses(settings.target_hosts, settings.pod_ip, targets is not None)
        endpoints: dict[str, Endpoint] = {
            "healthcheck": CheckEndpoint(
                targets, settings.ports, app_addresses, results, metrics_page, self.loop
            )
        }
        if targets is not None and targets.routes:
            from osm_healthcheck.server.proxy import ProbeProxy

            for kind, routes in targets.routes.items():
                endpoints[kind.value] = ProbeProxy(
                    routes, settings.ports, app_addresses, results, self.loop
                )
        return endpoints


def _load_what_will_be_asked_for(targets: Targets | None) -> None:
    """Optional parts load at first use; these would do so within the first probe's deadline."""
    if targets is None:
        return
    if any(service is not None for _, service in targets.checks):
        importlib.import_module("osm_healthcheck.wire.grpc_health")
    if any(
        routes.tls is None and any(one.action.scheme == "HTTPS" for one in routes.http.values())
        for routes in targets.routes.values()
    ):  # several HTTPS probes of a kind: nothing is passed through, the requests are made here
        importlib.import_module("osm_healthcheck.wire.tls").client_context()
        importlib.import_module("osm_healthcheck.wire.http2")


async def serve(
    settings: Settings,
    log: Log,
    shutdown: Awaitable[Shutdown],
    ready: asyncio.Event | None = None,
) -> None:
    """Run the sidecar until ``shutdown`` says how to end; ``ready`` is set once all is bound.

    Raises:
        ListenError: where a port cannot be had.
    """
    sidecar = Sidecar(settings, log)
    addresses = await sidecar.start()
    if settings.targets is None:
        log.info("no probes are declared: any port of this pod can be checked")
    if settings.unknown:
        log.warning("unknown variables in the environment", names=settings.unknown)
    log.info("ready", listening=addresses, connections=connection_limit())
    if ready is not None:
        ready.set()
    how = await shutdown
    if settings.targets is None or not settings.drain:
        how = Shutdown.FINISH  # there is no app to wait for
    log.info("ending", how=how.value)
    await sidecar.stop(how)
    log.info("ended")


async def serve_until_signalled(settings: Settings, log: Log) -> None:
    """Run the sidecar as a process of its own: SIGTERM drains, SIGINT does not.

    Raises:
        ListenError: where a port cannot be had.
    """
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log.asyncio_error)
    await serve(settings, log, on_signals(loop))


def on_signals(loop: asyncio.AbstractEventLoop) -> "asyncio.Future[Shutdown]":
    """The first SIGTERM or SIGINT, as an awaitable. The second ends the process where it is.

    Handlers are installed here because PID 1 of a container has none by default.
    """
    told: asyncio.Future[Shutdown] = loop.create_future()

    def handle(number: signal.Signals, how: Shutdown) -> None:
        if told.done():
            os._exit(128 + number)
        told.set_result(how)

    loop.add_signal_handler(signal.SIGTERM, handle, signal.SIGTERM, Shutdown.DRAIN)
    loop.add_signal_handler(signal.SIGINT, handle, signal.SIGINT, Shutdown.FINISH)
    return told
