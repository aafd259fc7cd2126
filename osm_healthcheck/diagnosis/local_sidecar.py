"""A sidecar in this process, on a loopback address of its own."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Mapping, MutableMapping
from typing import Any

import structlog

from osm_healthcheck.server.listen import ListenError
from osm_healthcheck.server.logs import Log
from osm_healthcheck.server.options import read_settings
from osm_healthcheck.server.serve import serve
from osm_healthcheck.server.shutdown import Shutdown

_TRIES = 5


def loopback_address() -> str:
    """An address of this machine on which, with near certainty, all ports are free (Linux)."""
    return (
        f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(256)}.{secrets.randbelow(253) + 1}"
    )


@contextlib.asynccontextmanager
async def local_sidecar(
    declaration: Mapping[str, object], app_address: str, address: str = ""
) -> AsyncIterator[str]:
    """Run a sidecar for the declared probes of an app at ``app_address``; yields its own address.

    Raises:
        ListenError: where its ports cannot be had.
    """
    silent: Any = structlog.make_filtering_bound_logger("critical")
    log = Log(silent(None, [_drop], {}))
    for attempt in range(_TRIES):
        where = address or loopback_address()
        settings = read_settings(
            ["--probes", json.dumps(declaration), "--bind", where, "--target-host", app_address], {}
        )
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        shutdown: asyncio.Future[Shutdown] = loop.create_future()
        task = loop.create_task(serve(settings, log, shutdown, ready))
        waiting = loop.create_task(ready.wait())
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not task.done():
            break
        try:
            task.result()
        except ListenError:
            if address or attempt == _TRIES - 1:
                raise
    try:
        yield where
    finally:
        if not shutdown.done():  # a signal that ends the process cancels it
            shutdown.set_result(Shutdown.FINISH)
        await task


def _drop(_logger: object, _method: str, _event: MutableMapping[str, Any]) -> Any:
    raise structlog.DropEvent
