"""The life of the agent: take over, serve, hand over, end."""

import asyncio
import contextlib
import gc
import resource
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from osm_healthcheck.node.agent import NodeAgent, NodeSettings
from osm_healthcheck.node.bypass import Bypass
from osm_healthcheck.node.cri import DEFAULT_SOCKET, ContainerRuntime
from osm_healthcheck.node.handover import Handover, HandoverError, HandoverServer
from osm_healthcheck.node.handover_path import SECONDS, HandoverPath, HandoverPlace
from osm_healthcheck.node.messages import SOCKETS_AT_ONCE
from osm_healthcheck.node.pod_networks import PodNetworks
from osm_healthcheck.node.remote_networks import RemoteNetworks
from osm_healthcheck.node.status import StatusServer
from osm_healthcheck.server.logs import Log
from osm_healthcheck.server.pod_server import Listeners
from osm_healthcheck.server.shutdown import Shutdown, on_signals
from osm_healthcheck.wire.lingering import LingeringSockets

MAX_PODS = 250
# a connection may hold one to the app, and one more that is being given back
_FILES_PER_CONNECTION = 3
_FILES_PER_POD = 10
# and of the split, sockets that were made ahead of need
_FILES_PER_POD_AHEAD = 2 * (SOCKETS_AT_ONCE + SOCKETS_AT_ONCE // 2)
_RESERVED_FILES = 128
_MAX_LINGERING = 1024
_START_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What the process was told.

    ``namespaces`` is the folder of namespace files; ``sockets`` is the unix socket of the process
    that has both the runtime and the namespaces, or ``None`` where that is this one. ``bypass`` is
    for meshes that have no annotation for it. ``handover`` is the unix socket by which agents hand
    over, or ``None`` for none; ``status`` is where /healthz, /metrics and /debug/pods are served,
    an address (empty: all) and a port.
    """

    node: NodeSettings = field(default_factory=NodeSettings)
    runtime: str = DEFAULT_SOCKET
    namespaces: Path = Path("/run/netns")
    sockets: Path | None = None
    bypass: Bypass | None = None
    handover: Path | None = None
    status: tuple[str, int] = ("", 9092)


async def serve_until_signalled(settings: AgentSettings, log: Log) -> None:
    """Run the agent as a process of its own.

    Raises:
        ListenError: where the port for its status cannot be had.
    """
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log.asyncio_error)
    # `osm-healthcheck node` starts with the collector switched off, until the pods that are there
    # are served. What was imported stays for good: it need not be looked at.
    gc.freeze()
    loop.call_later(_START_SECONDS, gc.enable)
    await serve(settings, log, on_signals(loop))


async def serve(
    settings: AgentSettings,
    log: Log,
    shutdown: Awaitable[Shutdown],
    ready: asyncio.Event | None = None,
) -> None:
    """Run the agent until ``shutdown``; ``ready`` is set once what the runtime lists is served.

    Raises:
        ListenError: where the port for its status cannot be had.
    """
    lingering = LingeringSockets(_MAX_LINGERING)
    agent = NodeAgent(_within_files(settings, log), log, lingering)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(lingering.close)
        status = StatusServer(agent)
        await stack.enter_async_context(status.listening(*settings.status))
        networks: PodNetworks | RemoteNetworks
        place: HandoverPlace = HandoverPath(settings.handover)
        if settings.sockets is None:
            runtime = ContainerRuntime(settings.runtime)
            networks = PodNetworks(runtime, settings.namespaces, agent, settings.bypass)
        else:
            networks = remote = RemoteNetworks(settings.sockets, agent)
            if settings.handover is None:
                place = remote
        stack.callback(networks.close)
        ended = asyncio.ensure_future(shutdown)
        life = asyncio.create_task(_live(agent, networks.run, place, log, status.ready))
        if ready is not None:
            await status.ready.wait()
            ready.set()
        try:
            await asyncio.wait((ended, life), return_when=asyncio.FIRST_COMPLETED)
            if life.done():
                life.result()
            await ended
        finally:
            status.ready.clear()
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)
            log.info("ending", pods=len(agent.served))
            await asyncio.gather(*(one.server.stop(0.0) for one in agent.served.values()))
            log.info("ended")


async def _live(
    agent: NodeAgent,
    follow_pods: Callable[[], Awaitable[None]],
    place: HandoverPlace,
    log: Log,
    ready: asyncio.Event,
) -> None:
    """Take over from the agent that serves, serve, and hand over to the next one."""
    tasks = [asyncio.ensure_future(follow_pods())]
    server = None
    try:
        before = await _take_over(place, log)
        if before is not None:
            agent.handed_over.update(before.listeners)
        tasks.append(asyncio.create_task(agent.run()))
        await _unless_ended(agent.has_begun.wait(), tasks)
        if before is not None:
            await _unless_ended(_end_agent_before(before, agent), tasks)
        server = await _hand_over_at(place, log)
        taken = len(before.listeners) if before else 0
        log.info("started", pods=len(agent.served), taken_over=taken)
        ready.set()
        if server is None:
            await asyncio.gather(*tasks)
        else:
            await _unless_ended(server.run(lambda: _listening(agent), agent.lock), tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if server is not None:
            server.close()
    for one in agent.served.values():
        one.server.close()
    log.info("handed over to another agent", pods=len(agent.served))


async def _unless_ended(
    work: Coroutine[Any, Any, object], tasks: "Sequence[asyncio.Future[None]]"
) -> None:
    """Wait for ``work``, or for the error by which one of ``tasks`` ends."""
    doing = asyncio.ensure_future(work)
    both: list[asyncio.Future[Any]] = [doing, *tasks]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
        await doing
    finally:
        doing.cancel()


async def _end_agent_before(before: Handover, agent: NodeAgent) -> None:
    """Tell it to end once all that it has handed over is served; it goes on where that is not."""
    try:
        async with asyncio.timeout(SECONDS):
            await agent.has_taken_over.wait()
    except TimeoutError:
        before.close()
    else:
        before.finish()


async def _hand_over_at(place: HandoverPlace, log: Log) -> HandoverServer | None:
    try:
        sock = await place.listen()
    except OSError as error:
        log.warning("nothing can be handed over to the next agent", reason=str(error))
        return None
    return None if sock is None else HandoverServer(sock)


async def _take_over(place: HandoverPlace, log: Log) -> Handover | None:
    try:
        sock = await place.connect()
        if sock is None:
            return None
        handover = Handover(sock)
        await handover.receive()
        return handover
    except (OSError, HandoverError) as error:
        log.warning("nothing is taken over from an agent before", reason=str(error))
        return None


def _listening(agent: NodeAgent) -> Mapping[str, Listeners]:
    return {identity: one.server.listening for identity, one in agent.served.items()}


def _within_files(settings: AgentSettings, log: Log) -> NodeSettings:
    """Raise ``RLIMIT_NOFILE`` to what is allowed; lower the limit of connections to what it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    node, per_pod = settings.node, _FILES_PER_POD
    if settings.sockets is not None:
        per_pod += _FILES_PER_POD_AHEAD
    others = _RESERVED_FILES + MAX_PODS * per_pod
    needed = others + _FILES_PER_CONNECTION * node.all_connections
    if soft != resource.RLIM_INFINITY and soft < needed:
        wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return node
    # on a node with fewer pods than `MAX_PODS` the half of it is not needed for them
    connections = max(soft - others, soft // 2) // _FILES_PER_CONNECTION
    log.warning(
        "open files are few: fewer connections at once", files=soft, connections=connections
    )
    return replace(
        node,
        connections=min(node.connections, connections),
        all_connections=connections,
    )
