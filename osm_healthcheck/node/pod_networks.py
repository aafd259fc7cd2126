"""The pods of the node that declare probes: what the runtime lists, and their network namespaces.

It is all of node mode that needs rights. What pods and their callers say is not read here.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path

from osm_healthcheck.node.bypass import Bypass, BypassError
from osm_healthcheck.node.cri import ContainerRuntime, RuntimeUnavailableError, Sandbox
from osm_healthcheck.node.namespace_files import FolderWatch
from osm_healthcheck.node.network_namespace import NetworkNamespace
from osm_healthcheck.node.pod import Pod, PodConsumer
from osm_healthcheck.probes.constants import DECLARED_PROBES

POLL_SECONDS = 1.0
# after a namespace file has come, until the runtime lists its pod
_SOON_SECONDS = 0.02
_SOON_POLLS = 100
# between two looks at all namespace files, 1 ms of work with 250 of them
_LOOK_SECONDS = 0.5
# calls to the runtime at the same time
_CONCURRENCY = 8
# Ten containers with three probes each have some 6 KiB. All pods of the node wait while it is read.
MAX_DECLARATION_BYTES = 32 * 1024


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
        self._unusable: dict[str, tuple[str, str]] = {}
        self._unavailable: str | None = None
        self._is_listed = False
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Follow what the runtime lists, until this is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._close_gone())

    async def _follow(self) -> None:
        soon = 0
        watch = None
        try:
            while True:
                if watch is None:
                    with contextlib.suppress(OSError):  # made with the node's first pod
                        watch = FolderWatch(self._folder, self._changed)
                self._changed.clear()
                before = len(self._open)
                await self._reconcile()
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
        for identity, (name, reason) in self._unusable.items():
            self._consumer.unusable(identity, name, reason)
        if self._is_listed:
            self._consumer.listed()
        if self._unavailable is not None:
            self._consumer.unavailable(self._unavailable)

    def close(self) -> None:
        """Let go of all namespaces, and tell nobody."""
        for one in self._open.values():
            one.network.close()
        self._open.clear()

    async def _reconcile(self) -> None:
        """Ask the runtime once: open what is new, close what has ended."""
        try:
            listed = await self._runtime.sandboxes()
        except RuntimeUnavailableError as error:
            self._unavailable = str(error)
            self._consumer.unavailable(str(error))
            return
        self._unavailable = None
        wanted = {one.id: one for one in listed if one.is_ready and one.declared is not None}
        for identity in self._open.keys() - wanted.keys():
            self._close(identity)
        for identity in self._unusable.keys() - wanted.keys():
            del self._unusable[identity]
            self._consumer.gone(identity)
        turns = asyncio.Semaphore(_CONCURRENCY)

        async def try_to_open(sandbox: Sandbox) -> None:
            async with turns:
                await self._try_to_open(sandbox)

        new = [one for one in wanted.values() if one.id not in self._open]
        await asyncio.gather(*map(try_to_open, new))
        self._is_listed = True
        self._consumer.listed()

    async def _close_gone(self) -> None:
        """Close every namespace whose file is gone, whatever the runtime says or does not say."""
        while True:
            for identity in [one for one, pod in self._open.items() if pod.is_gone()]:
                self._close(identity)
            await asyncio.sleep(_LOOK_SECONDS)

    def _close(self, identity: str) -> None:
        self._open.pop(identity).network.close()
        self._consumer.gone(identity)

    async def _try_to_open(self, sandbox: Sandbox) -> None:
        try:
            found = await self._open_network(sandbox)
        except (_UnusableError, BypassError, RuntimeUnavailableError) as error:
            self._is_unusable(sandbox, str(error))
        except Exception as error:  # a mistake of ours: its neighbours are served all the same
            self._is_unusable(sandbox, f"a mistake in osm-healthcheck: {error!r}")
        else:
            self._unusable.pop(sandbox.id, None)
            self._open[sandbox.id] = found
            self._consumer.found(found.pod)

    def _is_unusable(self, sandbox: Sandbox, reason: str) -> None:
        told = (f"{sandbox.namespace}/{sandbox.name}", reason)
        if self._unusable.get(sandbox.id) != told:
            self._unusable[sandbox.id] = told
            self._consumer.unusable(sandbox.id, *told)

    async def _open_network(self, sandbox: Sandbox) -> _Open:
        declared = sandbox.declared or b""
        if len(declared) > MAX_DECLARATION_BYTES:
            raise _UnusableError(f"{DECLARED_PROBES} is over {MAX_DECLARATION_BYTES} bytes")
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
