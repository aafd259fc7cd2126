"""The server of one pod: its listeners, what is behind them, and how they end.

What the process has (event loop, log, network) is handed in, so that one process can serve many
pods, each in a network namespace of its own.
"""

import asyncio
import importlib
import socket
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from osm_healthcheck.probes.addresses import AppAddresses
from osm_healthcheck.probes.constants import METRICS_PATH, STATUS_PATH
from osm_healthcheck.probes.targets import Targets
from osm_healthcheck.server.check import CheckEndpoint
from osm_healthcheck.server.connection import Connection
from osm_healthcheck.server.connection_limiter import ConnectionLimiter, SharedLimit
from osm_healthcheck.server.head_reader import make_server
from osm_healthcheck.server.listen import bind_all
from osm_healthcheck.server.logs import Log
from osm_healthcheck.server.page import Page
from osm_healthcheck.server.reply import Endpoint
from osm_healthcheck.server.results import Results
from osm_healthcheck.server.settings import ANY_ADDRESS, PodSettings
from osm_healthcheck.server.transport import Acceptor
from osm_healthcheck.wire.dial import Network
from osm_healthcheck.wire.errors import authority
from osm_healthcheck.wire.listening import any_listening

if TYPE_CHECKING:
    from osm_healthcheck.server.hooks import LifecycleHooks

_DRAIN_POLL_SECONDS = 0.25
# How long the end waits for answers. With the 25 s of `--drain` it is what a pod has by default.
FINISH_SECONDS = 5.0


Listeners = Mapping[str, Sequence[socket.socket]]


class PodServer:
    """What one pod has: targets, listeners, connections, results.

    Args:
        settings: what this pod declares and allows.
        network: where its sockets are made, listening ones and connections to the app.
        limit: how many connections it holds at once.
        log: gets a line for each change of a result.
        loop: the event loop that serves it.
        shared: what it and other pods hold together, at most.
    """

    def __init__(
        self,
        settings: PodSettings,
        network: Network,
        limit: int,
        log: Log,
        loop: asyncio.AbstractEventLoop,
        shared: SharedLimit | None = None,
    ) -> None:
        self.loop = loop
        self.log = log
        self.limiter = ConnectionLimiter(loop, limit, shared)
        self.make_reader = make_server()
        self.allow_from = settings.allow_from
        self._settings = settings
        self._network = Network(network.lingering, network.make_socket, self.limiter.asked)
        self._limit = limit
        self.results = Results(log)
        self._app_addresses = AppAddresses(
            settings.target_hosts, settings.pod_ip, settings.targets is not None
        )
        self._hooks: LifecycleHooks | None = None
        self._acceptors: list[Acceptor] = []
        self.listening: dict[str, list[socket.socket]] = {}

    @property
    def ports(self) -> dict[str, int]:
        """The ports that are needed, by name."""
        needed = {"healthcheck": self._settings.ports.healthcheck}
        if self._settings.targets is not None:
            kinds = self._settings.targets.routes
            needed |= {kind.value: self._settings.ports.of(kind) for kind in kinds}
        return needed

    async def start(self, listening: Listeners | None = None) -> list[str]:
        """Listen on every port that is needed, and say where.

        Args:
            listening: sockets that listen already, by the name of the port, which were made
                elsewhere. Those of ports that are not needed are closed.

        Raises:
            ListenError: where one cannot be had; none is listened on then.
        """
        settings, targets = self._settings, self._settings.targets
        endpoints = self._endpoints()
        _load_what_will_be_asked_for(targets)
        if listening is None:
            bound: Listeners = bind_all(
                settings.bind, self.ports, optional_ipv6=settings.bind is ANY_ADDRESS
            )
        else:
            bound = {name: listening[name] for name in self.ports}
            close_all({name: listening[name] for name in listening.keys() - bound.keys()})
        addresses = []
        for name, sockets in bound.items():
            for sock in sockets:
                begin = partial(self._begin, endpoints[name])
                self._acceptors.append(Acceptor(sock, begin, self.loop))
                self.listening.setdefault(name, []).append(sock)
                address = sock.getsockname()
                addresses.append(authority(address[0], address[1]))
        return addresses

    def close(self) -> None:
        """Take no more connections; those that there are go on."""
        for acceptor in self._acceptors:
            acceptor.close()

    def abort(self) -> None:
        """End everything at once, connections that wait for an answer included."""
        self.close()
        self.limiter.close_all()

    async def stop(self, drain: float) -> None:
        """Go on answering while the app does, ``drain`` seconds at most; then end.

        An app may be finishing requests after it was told to end, and still be ready. A lifecycle
        hook that is under way is waited for, however long it takes: so does the kubelet, up to the
        pod's grace period, and then ends us (``executePreStopHook`` of
        ``pkg/kubelet/kuberuntime/kuberuntime_container.go``).
        """
        targets = self._settings.targets
        if targets is not None and drain:
            end = self.loop.time() + drain
            # Nothing tells when a port of another process stops to listen: it has to be looked up.
            while (left := end - self.loop.time()) > 0 and await any_listening(targets.ports):  # noqa: ASYNC110
                await asyncio.sleep(min(_DRAIN_POLL_SECONDS, left))
            if self._hooks is not None:
                await self._hooks.done()
        await asyncio.gather(*(one.finish(self._limit) for one in self._acceptors))
        await self.limiter.finish(FINISH_SECONDS)

    def _begin(self, endpoint: Endpoint, sock: socket.socket, peer: str) -> None:
        Connection(self, endpoint, sock, peer).begin()

    def _endpoints(self) -> dict[str, Endpoint]:
        """What is behind each port, by the port's name."""
        targets = self._settings.targets
        if targets is not None and targets.hooks:
            from osm_healthcheck.server.hooks import LifecycleHooks

            self._hooks = LifecycleHooks(
                targets.hooks,
                self._settings.ports,
                self._app_addresses,
                self._network,
                self.results,
            )
        endpoints: dict[str, Endpoint] = {
            "healthcheck": CheckEndpoint(
                targets,
                self._settings.ports,
                self._app_addresses,
                self._network,
                self.results,
                {
                    METRICS_PATH: Page(self._render_metrics, self.loop),
                    STATUS_PATH: Page(self._render_status, self.loop),
                },
                self.loop,
                self._hooks,
            )
        }
        if targets is not None and targets.routes:
            from osm_healthcheck.server.proxy import ProbeProxy

            for kind, routes in targets.routes.items():
                endpoints[kind.value] = ProbeProxy(
                    routes,
                    self._settings.ports,
                    self._app_addresses,
                    self._network,
                    self.results,
                    self.loop,
                )
        return endpoints

    async def _render_metrics(self) -> tuple[bytes, bytes]:
        from osm_healthcheck.server import exposition, metrics

        page = metrics.render(
            self.results.tallies(),
            connections=len(self.limiter),
            connections_refused=self.limiter.refused,
            lines_lost=self.log.lines_lost,
            lines_left_out=self.log.lines_left_out,
        )
        return exposition.HEADERS, page

    async def _render_status(self) -> tuple[bytes, bytes]:
        from osm_healthcheck.server import status

        return status.render(
            self.results,
            self._settings.targets,
            pod_ip=self._settings.pod_ip,
            connections=len(self.limiter),
            connections_refused=self.limiter.refused,
            lines_dropped=self.log.lines_lost + self.log.lines_left_out,
        )


def close_all(listeners: Listeners) -> None:
    """Close listening sockets that nobody needs."""
    for sockets in listeners.values():
        for sock in sockets:
            sock.close()


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
        importlib.import_module("osm_healthcheck.wire.tls").client_context(http2=True)
        importlib.import_module("osm_healthcheck.wire.http2")
    if any(one.action.scheme == "HTTPS" for one in targets.hooks.values()):
        importlib.import_module("osm_healthcheck.wire.tls").client_context(http2=False)
