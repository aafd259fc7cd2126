"""The life of the process that holds the pods' networks, for a server that has no rights."""

import asyncio
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osm_healthcheck.node.bypass import Bypass
from osm_healthcheck.node.cri import DEFAULT_SOCKET, ContainerRuntime
from osm_healthcheck.node.handover_path import HandoverPath
from osm_healthcheck.node.pod_networks import PodNetworks
from osm_healthcheck.node.socket_server import SocketServer
from osm_healthcheck.server.logs import Log
from osm_healthcheck.server.shutdown import on_signals

# the user of our images, and of the sidecar
SERVER_USER = 15904
# 250 pods with one each, what is being handed out, and what is being asked of the runtime
_FILES = 1024


@dataclass(frozen=True, slots=True)
class SocketsSettings:
    """What the process was told: where it is found, and by whom, and where pods are found."""

    path: Path
    user: int = SERVER_USER
    runtime: str = DEFAULT_SOCKET
    namespaces: Path = Path("/run/netns")
    bypass: Bypass | None = None
    handover: Path | None = None


async def serve_sockets_until_signalled(settings: SocketsSettings, log: Log) -> None:
    """Hand out sockets until SIGTERM or SIGINT.

    Raises:
        OSError: where nothing can be had at ``settings.path``.
    """
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log.asyncio_error)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        files = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, files), hard))
    server = SocketServer(settings.path, settings.user, HandoverPath(settings.handover), log)
    runtime = ContainerRuntime(settings.runtime)
    networks = PodNetworks(runtime, settings.namespaces, server, settings.bypass)
    tasks = [asyncio.create_task(networks.run()), asyncio.create_task(server.run(networks))]
    log.info("ready", path=str(settings.path))
    ended = on_signals(loop)
    everything: list[asyncio.Future[Any]] = [ended, *tasks]
    try:
        await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        server.close()
        networks.close()
        log.info("ended")
