"""The pods of the node that declare probes: what the runtime lists, and their network namespaces.

It is all of node mode that needs rights. What pods and their callers say is not read here.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from osm_healthcheck.node.bypass import Bypass, BypassError
from osm_healthcheck.node.cri import ContainerRuntime, RuntimeUnavailableError, Sandbox
from osm_healthcheck.node.namespace_files import FolderWatch
from osm_healthcheck.node.network_namespace import NetworkNamespace
from osm_healthcheck.node.pod import Pod, PodConsumer
from osm_healthcheck.probes.constants import DECLARED_PROBES, MAX_NODE_DECLARATION_BYTES

POLL_SECONDS = 1.0
# after a namespace file has come, until the runtime lists its pod
_SOON_SECONDS = 0.02
_SOON_POLLS = 100
# between two looks at all namespace files, 1 ms of work with 250 of them
_LOOK_SECONDS = 0.5
# pods that are opened at the same time
_CONCURRENCY = 8
# and of them, such as could not be used before
_RETRIES = 4
# until nobody waits any more for a pod whose network is being opened
_PATIENCE_SECONDS = 2.0
# between two tries to open the network of a pod: at first, doubled each time, and at most
_FIRST_PAUSE_SECONDS = 0.02
_MAX_PAUSE_SECONDS = 10.0


class _UnusableError(Exception):
    """The network of a pod cannot be used; the text is for whoever looks after the pod."""


@dataclass(frozen=True, slots=True)
class _Open:
    pod: Pod
    network: NetworkNamespace

    def is_gone(self) -> bool:
        """Whether its namespace file is gone, or is another namespace's by now."""
        try:
            return Path(self.pod.path).stat().st_ino != self.network.inode
        except OSError:
            return True


@dataclass(frozen=True, slots=True)
class _Unusable:
    """Why a pod cannot be used. ``again`` is a time of the event loop: that of the next try."""

    name: str
    reason: str
    pause: float
    again: float


class PodNetworks:
    """Opens the network of every pod that declares probes, and closes it when the pod is gone.

    Args:
        runtime: lists the pods.
        folder: where the runtime keeps the files of network namespaces.
        consumer: is told of them.
        bypass: what keeps a mesh off their ports; ``None`` where something else does.
    """

    def __init__(
        self,
        runtime: ContainerRuntime,
        folder: Path,
        consumer: PodConsumer,
        bypass: Bypass | None = None,
    ) -> None:
        self._runtime = runtime
        self._folder = folder
        self._consumer = consumer
        self._bypass = bypass
        self._open: dict[str, _Open] = {}
        self._unusable: dict[str, _Unusable] = {}
        self._opening: set[str] = set()
        self._retries = asyncio.Semaphore(_RETRIES)
        self._wanted: Mapping[str, Sandbox] = {}
        self._unavailable: str | None = None
        self._is_listed = False
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Follow what the runtime lists, until this is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(tasks))
            tasks.create_task(self._close_gone())

    async def _follow(self, tasks: asyncio.TaskGroup) -> None:
        soon = 0
        watch = None
        try:
            while True:
                if watch is None:
                    with contextlib.suppress(OSError):  # made with the node's first pod
                        watch = FolderWatch(self._folder, self._changed)
                self._changed.clear()
                before = len(self._open)
                await self._reconcile(tasks)
                soon = 0 if len(self._open) > before else max(soon - 1, 0)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_SOON_SECONDS if soon else POLL_SECONDS):
                        await self._changed.wait()
                        soon = _SOON_POLLS
        finally:
            if watch is not None:
                watch.close()

    def get(self, identity: str) -> NetworkNamespace | None:
        """The network of a pod that is there."""
        found = self._open.get(identity)
        return None if found is None else found.network

    def tell(self) -> None:
        """Tell the consumer all that is known, from the beginning."""
        for one in self._open.values():
            self._consumer.found(one.pod)
        for identity, unusable in self._unusable.items():
            self._consumer.unusable(identity, unusable.name, unusable.reason)
        if self._is_listed:
            self._consumer.listed()
        if self._unavailable is not None:
            self._consumer.unavailable(self._unavailable)

    def close(self) -> None:
        """Let go of all namespaces, and tell nobody."""
        for one in self._open.values():
            one.network.close()
        self._open.clear()

    async def _reconcile(self, tasks: asyncio.TaskGroup) -> None:
        """Ask the runtime once: open what is new, close what has ended."""
        try:
            listed = await self._runtime.sandboxes()
        except RuntimeUnavailableError as error:
            self._unavailable = str(error)
            self._consumer.unavailable(str(error))
            return
        self._unavailable = None
        wanted = {one.id: one for one in listed if one.is_ready and one.declared is not None}
        self._wanted = wanted
        for identity in self._open.keys() - wanted.keys():
            self._close(identity)
        for identity in self._unusable.keys() - wanted.keys():
            del self._unusable[identity]
            self._consumer.gone(identity)
        turns = asyncio.Semaphore(_CONCURRENCY)

        async def open_or_tell(sandbox: Sandbox) -> None:
            async with turns:
                opening = tasks.create_task(self._try_to_open(sandbox))
                await asyncio.wait([opening], timeout=_PATIENCE_SECONDS)
                if not opening.done():
                    reason = f"its network is not open after {_PATIENCE_SECONDS:g} s"
                    self._is_unusable(sandbox, reason)

        due = [one for one in wanted.values() if self._is_due(one)]
        self._opening.update(one.id for one in due)
        new = []
        for one in due:
            if one.id in self._unusable:  # which has been told, and goes for now
                tasks.create_task(self._try_again(one))
            else:
                new.append(one)
        await asyncio.gather(*map(open_or_tell, new))
        self._is_listed = True
        self._consumer.listed()

    def _is_due(self, sandbox: Sandbox) -> bool:
        """Whether its network is to be opened now."""
        if sandbox.id in self._open or sandbox.id in self._opening:
            return False
        unusable = self._unusable.get(sandbox.id)
        return unusable is None or unusable.again <= asyncio.get_running_loop().time()

    async def _close_gone(self) -> None:
        """Close every namespace whose file is gone, whatever the runtime says or does not say."""
        while True:
            for identity in [one for one, pod in self._open.items() if pod.is_gone()]:
                self._close(identity)
            await asyncio.sleep(_LOOK_SECONDS)

    def _close(self, identity: str) -> None:
        self._open.pop(identity).network.close()
        self._consumer.gone(identity)

    async def _try_again(self, sandbox: Sandbox) -> None:
        async with self._retries:
            await self._try_to_open(sandbox)

    async def _try_to_open(self, sandbox: Sandbox) -> None:
        try:
            found = await self._open_network(sandbox)
        except (_UnusableError, BypassError, RuntimeUnavailableError) as error:
            self._is_unusable(sandbox, str(error))
        except Exception as error:  # a mistake of ours: its neighbours are served all the same
            self._is_unusable(sandbox, f"a mistake in osm-healthcheck: {error!r}")
        else:
            if sandbox.id not in self._wanted:  # it has ended meanwhile
                found.network.close()
                return
            self._unusable.pop(sandbox.id, None)
            self._open[sandbox.id] = found
            self._consumer.found(found.pod)
        finally:
            self._opening.discard(sandbox.id)

    def _is_unusable(self, sandbox: Sandbox, reason: str) -> None:
        if sandbox.id not in self._wanted:
            return
        name = f"{sandbox.namespace}/{sandbox.name}"
        known = self._unusable.get(sandbox.id)
        pause = _FIRST_PAUSE_SECONDS if known is None else min(2 * known.pause, _MAX_PAUSE_SECONDS)
        again = asyncio.get_running_loop().time() + pause
        self._unusable[sandbox.id] = _Unusable(name, reason, pause, again)
        if known is None or known.reason != reason:
            self._consumer.unusable(sandbox.id, name, reason)

    async def _open_network(self, sandbox: Sandbox) -> _Open:
        declared = sandbox.declared or b""
        if len(declared) > MAX_NODE_DECLARATION_BYTES:
            raise _UnusableError(f"{DECLARED_PROBES} is over {MAX_NODE_DECLARATION_BYTES} bytes")
        where = await self._runtime.network_of(sandbox.id)
        if not where.namespace_path or not where.addresses:
            raise _UnusableError("the runtime names no network namespace, or no address, of it")
        try:
            network = NetworkNamespace(where.namespace_path)
        except OSError as error:
            raise _UnusableError(f"{where.namespace_path}: {error.strerror}") from None
        try:
            if not network.holds(where.addresses[0]):
                raise _UnusableError(
                    f"{where.namespace_path} does not hold its address {where.addresses[0]}"
                )
            if self._bypass is not None:
                await self._bypass.install(network, where.addresses)
        except BaseException:
            network.close()
            raise
        pod = Pod(
            sandbox.id,
            sandbox.namespace,
            sandbox.name,
            declared,
            where.addresses,
            where.namespace_path,
            network,
        )
        return _Open(pod, network)
