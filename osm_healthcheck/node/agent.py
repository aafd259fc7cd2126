"""Which pods of the node are served, and what was opened for each."""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from osm_healthcheck.errors import InvalidInputError
from osm_healthcheck.node.pod import Pod, PodNetworkError
from osm_healthcheck.node.pod_log import PodLog
from osm_healthcheck.probes.addresses import AllowFrom
from osm_healthcheck.probes.constants import DECLARED_PROBES, MAX_NODE_DECLARED
from osm_healthcheck.probes.declaration import read_all_declared
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.probes.targets import Targets, targets_of
from osm_healthcheck.server.connection_limiter import SharedLimit
from osm_healthcheck.server.logs import Log
from osm_healthcheck.server.pod_server import Listeners, PodServer, close_all
from osm_healthcheck.server.settings import PodSettings
from osm_healthcheck.wire.dial import Network
from osm_healthcheck.wire.lingering import LingeringSockets

# until a port that is taken is tried again: at first, doubled each time, and at most
_RETRY_SECONDS = 1.0
_MAX_RETRY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What the agent was told.

    ``connections`` is how many one pod may hold at once, and ``all_connections`` all pods together.
    """

    connections: int = 64
    all_connections: int = 2048
    allow_from: AllowFrom | None = None


@dataclass(slots=True)
class ServedPod:
    """A pod whose ports are open. ``since`` is a time of the event loop."""

    pod: Pod
    server: PodServer
    since: float


@dataclass(slots=True)
class RefusedPod:
    """A pod that declares probes and cannot be served; ``full_name`` as of `Pod`."""

    full_name: str
    reason: str
    is_final: bool


@dataclass(slots=True)
class _Wanted:
    """A pod that is there, and ``targets``, what it declares, once that has been read.

    ``again`` is a time of the event loop: that of the next try.
    """

    pod: Pod
    targets: Targets | None = None
    pause: float = 0.0
    again: float = 0.0


@dataclass(slots=True)
class NodeAgent:
    """Opens the ports of every pod that it is told of, and closes them when that is gone.

    See `PodConsumer` for who tells it. ``lock`` is held while ports are opened: whoever holds it
    knows that none are. ``has_begun`` is set once it has served what it was told at first, and
    ``has_taken_over`` once nothing that was handed over is left.
    """

    settings: NodeSettings
    log: Log
    lingering: LingeringSockets
    served: dict[str, ServedPod] = field(default_factory=dict)
    refused: dict[str, RefusedPod] = field(default_factory=dict)
    handed_over: dict[str, Listeners] = field(default_factory=dict)
    unavailable_reason: str | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    has_begun: asyncio.Event = field(default_factory=asyncio.Event)
    has_taken_over: asyncio.Event = field(default_factory=asyncio.Event)
    shared: SharedLimit = field(init=False)
    _wanted: dict[str, _Wanted] = field(default_factory=dict)
    _is_listed: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.shared = SharedLimit(self.settings.all_connections)

    @property
    def is_available(self) -> bool:
        """Whether it is told of the node's pods as they come and go."""
        return self._is_listed and self.unavailable_reason is None

    async def run(self) -> None:
        """Serve what it is told of, until this is cancelled."""
        while True:
            self._changed.clear()
            async with self.lock:
                await self._serve_what_is_new()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_SECONDS):
                    await self._changed.wait()

    # -- what `PodNetworks` calls: see `PodConsumer`

    def found(self, pod: Pod) -> None:
        """See `PodConsumer`."""
        if pod.id not in self.served:
            self.refused.pop(pod.id, None)
        self._wanted[pod.id] = _Wanted(pod)
        self._changed.set()

    def unusable(self, identity: str, name: str, reason: str) -> None:
        """See `PodConsumer`."""
        self._refuse(identity, name, reason, is_final=False)

    def gone(self, identity: str) -> None:
        """See `PodConsumer`."""
        self._wanted.pop(identity, None)
        self.refused.pop(identity, None)
        self._changed.set()
        served = self.served.pop(identity, None)
        if served is not None:
            served.server.abort()
            self.log.info("pod released", pod=served.pod.full_name)

    def listed(self) -> None:
        """See `PodConsumer`."""
        if self.unavailable_reason is not None:
            self.log.info("the node's pods are known again")
        if not self.is_available:
            self._changed.set()
        self._is_listed = True
        self.unavailable_reason = None

    def unavailable(self, reason: str) -> None:
        """See `PodConsumer`."""
        if self.unavailable_reason is None:
            self.log.warning("the node's pods are not known", reason=reason)
            self._changed.set()
        self.unavailable_reason = reason

    # -- the rest

    async def _serve_what_is_new(self) -> None:
        is_told = self._is_listed or self.unavailable_reason is not None
        is_complete = self.is_available
        now = asyncio.get_running_loop().time()
        for identity, one in list(self._wanted.items()):
            if identity in self.served or one.again > now or self._wanted.get(identity) is not one:
                continue
            refused = self.refused.get(identity)
            if refused is None or not refused.is_final:
                await self._serve_or_tell(one)
                await asyncio.sleep(0)  # the pods that are served have their turn
        if is_complete:
            retried = {one for one, refused in self.refused.items() if not refused.is_final}
            for identity in self.handed_over.keys() - retried:
                close_all(self.handed_over.pop(identity))  # of pods that are gone
            if not self.handed_over:
                self.has_taken_over.set()
        if is_told:
            self.has_begun.set()

    async def _serve_or_tell(self, wanted: _Wanted) -> None:
        pod, is_final = wanted.pod, False
        try:
            served = await self._serve(wanted)
        except InvalidInputError as error:
            reason, is_final = str(error.errors[0]), True
        except PodNetworkError as error:
            reason = str(error)
        except Exception as error:  # a mistake of ours: its neighbours are served all the same
            self.log.error(f"pod {pod.full_name} could not be served", error)
            reason = f"a mistake in osm-healthcheck: {type(error).__name__}"
        else:
            self.refused.pop(pod.id, None)
            self.served[pod.id] = served
            if pod.id not in self._wanted:
                self.gone(pod.id)  # meanwhile
            return
        wanted.pause = min(max(2 * wanted.pause, _RETRY_SECONDS), _MAX_RETRY_SECONDS)
        wanted.again = asyncio.get_running_loop().time() + wanted.pause
        if pod.id in self._wanted:
            self._refuse(pod.id, pod.full_name, reason, is_final=is_final)

    def _refuse(self, identity: str, name: str, reason: str, *, is_final: bool) -> None:
        known = self.refused.get(identity)
        if known is None or known.reason != reason:
            self.log.warning("pod not served, its probes fail", pod=name, reason=reason)
        self.refused[identity] = RefusedPod(name, reason, is_final)

    async def _serve(self, wanted: _Wanted) -> ServedPod:
        pod, own = wanted.pod, OwnPorts()
        if wanted.targets is None:
            text = pod.declared.decode("utf-8", "replace")
            wanted.targets = targets_of(
                *read_all_declared(text, DECLARED_PROBES, own, MAX_NODE_DECLARED)
            )
        loop = asyncio.get_running_loop()
        server = PodServer(
            PodSettings(
                targets=wanted.targets,
                ports=own,
                allow_from=self.settings.allow_from,
                pod_ip=pod.addresses[0],
            ),
            Network(self.lingering, pod.network.make_socket),
            self.settings.connections,
            PodLog(self.log, pod.full_name),
            loop,
            self.shared,
        )
        listening = await self._listening(pod, server.ports)
        try:
            addresses = await server.start(listening)
        except BaseException:
            server.abort()
            close_all(listening)
            raise
        pod.network.prepare(pod.addresses)
        self.log.info("pod served", pod=pod.full_name, listening=addresses)
        return ServedPod(pod, server, loop.time())

    async def _listening(self, pod: Pod, ports: "dict[str, int]") -> Listeners:
        """Its listening sockets by the names of ``ports``: handed over, or new ones."""
        handed_over = self.handed_over.pop(pod.id, None)
        if handed_over is not None:
            if ports.keys() <= handed_over.keys():
                return handed_over
            close_all(handed_over)
        sockets = await pod.network.listen(_numbers(ports))
        return {name: sockets[port] for name, port in ports.items()}


def _numbers(ports: "dict[str, int]") -> Iterable[int]:
    return sorted(ports.values())
