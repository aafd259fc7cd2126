"""Which pods of the node are served: what the runtime lists, and what was opened for it."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from osm_healthcheck.errors import InvalidInputError
from osm_healthcheck.node.cri import ContainerRuntime, RuntimeUnavailableError, Sandbox
from osm_healthcheck.node.namespace_files import FolderWatch
from osm_healthcheck.node.network_namespace import NetworkNamespace
from osm_healthcheck.node.pod_log import PodLog
from osm_healthcheck.probes.addresses import AllowFrom
from osm_healthcheck.probes.constants import DECLARED_PROBES
from osm_healthcheck.probes.declaration import read_declaration, read_hooks
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.probes.targets import targets_of
from osm_healthcheck.server.connection_limiter import SharedLimit
from osm_healthcheck.server.listen import ListenError
from osm_healthcheck.server.logs import Log
from osm_healthcheck.server.pod_server import Listeners, PodServer, close_all
from osm_healthcheck.server.settings import PodSettings
from osm_healthcheck.wire.dial import Network
from osm_healthcheck.wire.lingering import LingeringSockets

POLL_SECONDS = 1.0
# after a namespace file has come, until the runtime lists its pod
_SOON_SECONDS = 0.02
_SOON_POLLS = 100
# calls to the runtime at the same time
_CONCURRENCY = 8
# Ten containers with three probes each have some 6 KiB. All pods of the node wait while it is read.
MAX_DECLARATION_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What the agent was told.

    ``connections`` is how many one pod may hold at once, and ``all_connections`` all pods together.
    """

    connections: int = 64
    all_connections: int = 2048
    allow_from: AllowFrom | None = None
    namespace_folder: Path = Path("/run/netns")


@dataclass(slots=True)
class ServedPod:
    """A pod whose ports are open. ``since`` is a time of the event loop."""

    sandbox: Sandbox
    namespace: NetworkNamespace
    path: str
    server: PodServer
    addresses: Sequence[str]
    since: float

    @property
    def name(self) -> str:
        """Its namespace and name."""
        return f"{self.sandbox.namespace}/{self.sandbox.name}"

    def is_gone(self) -> bool:
        """Whether its namespace file is gone, or is another namespace's by now."""
        try:
            return Path(self.path).stat().st_ino != self.namespace.inode
        except OSError:
            return True


class _NotServedError(Exception):
    """A pod cannot be served; the reason is for the log and for /debug/pods."""


@dataclass(slots=True)
class _Refused:
    reason: str
    is_final: bool


@dataclass(slots=True)
class NodeAgent:
    """Opens the ports of every pod that declares probes, and closes them when it is gone."""

    runtime: ContainerRuntime
    settings: NodeSettings
    log: Log
    lingering: LingeringSockets
    pods: dict[str, ServedPod] = field(default_factory=dict)
    refused: dict[str, _Refused] = field(default_factory=dict)
    handed_over: dict[str, Listeners] = field(default_factory=dict)
    is_runtime_available: bool = True
    shared: SharedLimit = field(init=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.shared = SharedLimit(self.settings.all_connections)

    async def run(self) -> None:
        """Follow what the runtime lists, until this is cancelled."""
        soon = 0
        watch = None
        try:
            while True:
                if watch is None:
                    with contextlib.suppress(OSError):  # made with the node's first pod
                        watch = FolderWatch(self.settings.namespace_folder, self._changed)
                self._changed.clear()
                before = len(self.pods)
                self.release_gone()
                await self.reconcile()
                soon = 0 if len(self.pods) > before else max(soon - 1, 0)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_SOON_SECONDS if soon else POLL_SECONDS):
                        await self._changed.wait()
                        soon = _SOON_POLLS
        finally:
            if watch is not None:
                watch.close()

    async def reconcile(self) -> None:
        """Ask the runtime once: serve what is new, release what has ended."""
        try:
            listed = await self.runtime.sandboxes()
        except RuntimeUnavailableError as error:
            if self.is_runtime_available:
                self.log.warning("the container runtime does not answer", reason=str(error))
            self.is_runtime_available = False
            return
        if not self.is_runtime_available:
            self.log.info("the container runtime answers again")
        self.is_runtime_available = True
        wanted = {
            one.id: one for one in listed if one.is_ready and DECLARED_PROBES in one.annotations
        }
        for identity in [one for one in self.pods if one not in wanted]:
            self.release(identity)
        for identity in [one for one in self.refused if one not in wanted]:
            del self.refused[identity]
        turns = asyncio.Semaphore(_CONCURRENCY)

        async def serve(sandbox: Sandbox) -> None:
            async with turns:
                await self._serve_or_tell(sandbox)

        new = [one for one in wanted.values() if one.id not in self.pods]
        await asyncio.gather(*(serve(one) for one in new if not self._is_refused_for_good(one)))
        retried = {one for one, refused in self.refused.items() if not refused.is_final}
        for identity in self.handed_over.keys() - retried:
            close_all(self.handed_over.pop(identity))  # of pods that are gone

    @property
    def serves_all(self) -> bool:
        """Whether the runtime has answered, and all that was handed over is served."""
        return self.is_runtime_available and not self.handed_over

    def release_gone(self) -> None:
        """Release every pod whose network namespace is gone, whatever the runtime says."""
        for identity in [one for one, pod in self.pods.items() if pod.is_gone()]:
            self.release(identity)

    def release(self, identity: str) -> None:
        """Close all that is open in the namespace of one pod, at once."""
        pod = self.pods.pop(identity)
        pod.server.abort()
        pod.namespace.close()
        self.log.info("pod released", pod=pod.name)

    def _is_refused_for_good(self, sandbox: Sandbox) -> bool:
        refused = self.refused.get(sandbox.id)
        return refused is not None and refused.is_final

    async def _serve_or_tell(self, sandbox: Sandbox) -> None:
        name = f"{sandbox.namespace}/{sandbox.name}"
        is_final = False
        try:
            pod = await self._serve(sandbox)
        except RuntimeUnavailableError as error:
            reason = str(error)
        except InvalidInputError as error:
            reason, is_final = str(error.errors[0]), True
        except (_NotServedError, ListenError) as error:
            reason = getattr(error, "problem", str(error))
        except Exception as error:  # a mistake of ours: its neighbours are served all the same
            self.log.error(f"pod {name} could not be served", error)
            reason = f"a mistake in osm-healthcheck: {type(error).__name__}"
        else:
            self.refused.pop(sandbox.id, None)
            self.pods[sandbox.id] = pod
            return
        known = self.refused.get(sandbox.id)
        if known is None or known.reason != reason:
            self.log.warning("pod not served, its probes fail", pod=name, reason=reason)
        self.refused[sandbox.id] = _Refused(reason, is_final)

    async def _serve(self, sandbox: Sandbox) -> ServedPod:
        text = sandbox.annotations[DECLARED_PROBES]
        if len(text) > MAX_DECLARATION_BYTES:
            raise _NotServedError(f"{DECLARED_PROBES} is over {MAX_DECLARATION_BYTES} bytes")
        own = OwnPorts()
        targets = targets_of(
            read_declaration(text, DECLARED_PROBES, own), read_hooks(text, DECLARED_PROBES, own)
        )
        where = await self.runtime.network_of(sandbox.id)
        if not where.namespace_path or not where.addresses:
            raise _NotServedError("the runtime names no network namespace, or no address, of it")
        try:
            namespace = NetworkNamespace(where.namespace_path)
        except OSError as error:
            raise _NotServedError(f"{where.namespace_path}: {error.strerror}") from None
        try:
            if not namespace.holds(where.addresses[0]):
                raise _NotServedError(
                    f"{where.namespace_path} does not hold its address {where.addresses[0]}"
                )
            loop = asyncio.get_running_loop()
            name = f"{sandbox.namespace}/{sandbox.name}"
            server = PodServer(
                PodSettings(
                    targets=targets,
                    ports=own,
                    allow_from=self.settings.allow_from,
                    pod_ip=where.addresses[0],
                ),
                Network(self.lingering, namespace.make_socket),
                self.settings.connections,
                PodLog(self.log, name),
                loop,
                self.shared,
            )
            listening = await server.start(self.handed_over.pop(sandbox.id, None))
        except BaseException:
            namespace.close()
            raise
        self.log.info("pod served", pod=name, listening=listening)
        return ServedPod(
            sandbox, namespace, where.namespace_path, server, where.addresses, loop.time()
        )
