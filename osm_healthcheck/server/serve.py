"""The sidecar as a process: one pod's server, the log, and the signals that end it."""

import asyncio
import gc
from collections.abc import Awaitable, Callable

from osm_healthcheck.server.connection_limiter import connection_limit
from osm_healthcheck.server.logs import Log
from osm_healthcheck.server.pod_server import PodServer
from osm_healthcheck.server.settings import Settings
from osm_healthcheck.server.shutdown import Shutdown, on_signals
from osm_healthcheck.wire.dial import Network
from osm_healthcheck.wire.lingering import LingeringSockets


async def serve(
    settings: Settings,
    log: Log,
    shutdown: Awaitable[Shutdown],
    ready: asyncio.Event | None = None,
) -> None:
    """Run the sidecar until ``shutdown`` says how to end; ``ready`` is set once all is bound.

    Raises:
        ListenError: where a port cannot be had.
        TooFewFilesError: where ``RLIMIT_NOFILE`` leaves nothing for connections.
    """
    await _serve(settings, log, shutdown, _do_nothing if ready is None else ready.set)


async def _serve(
    settings: Settings, log: Log, shutdown: Awaitable[Shutdown], on_bound: Callable[[], None]
) -> None:
    limit = connection_limit()
    lingering = LingeringSockets(limit)
    loop = asyncio.get_running_loop()
    network = Network(lingering)
    pod = PodServer(settings.pod, network, limit, log, loop)
    try:
        addresses = await pod.start()
        if settings.pod.targets is None:
            log.info("no probes are declared: any port of this pod can be checked")
        if settings.process.unknown:
            log.warning("unknown variables in the environment", names=settings.process.unknown)
        log.info("ready", listening=addresses, connections=limit)
        on_bound()
        how = await shutdown
        if settings.pod.targets is None or not settings.pod.drain:
            how = Shutdown.FINISH  # there is no app to wait for
        log.info("ending", how=how.value)
        await pod.stop(settings.pod.drain if how is Shutdown.DRAIN else 0.0)
        log.info("ended")
    finally:
        lingering.close()


async def serve_until_signalled(settings: Settings, log: Log) -> None:
    """Run the sidecar as a process of its own: SIGTERM drains, SIGINT does not.

    Raises:
        ListenError: where a port cannot be had.
    """
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log.asyncio_error)
    await _serve(settings, log, on_signals(loop), _settle_memory)


def _settle_memory() -> None:
    """What was made for the start stays for good: the collector need not look at it again.

    ``osm-healthcheck serve`` starts with the collector switched off.
    """
    gc.freeze()
    gc.enable()


def _do_nothing() -> None:
    """A sidecar inside another program leaves that program's memory alone."""
