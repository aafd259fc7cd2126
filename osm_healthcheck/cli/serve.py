"""``osm-healthcheck serve``: the sidecar."""

import asyncio
import os
import sys
from collections.abc import Sequence

import uvloop

from osm_healthcheck.core.errors import InvalidInputError
from osm_healthcheck.daemon import logs
from osm_healthcheck.daemon.listen import ListenError
from osm_healthcheck.daemon.serve import serve
from osm_healthcheck.daemon.settings import Settings, read_settings
from osm_healthcheck.daemon.shutdown import on_signals


def run(argv: Sequence[str]) -> int:
    """Serve until told to end; 0, 1 where a port could not be had, 2 for wrong settings."""
    try:
        settings = read_settings(argv, os.environ)
    except InvalidInputError as error:
        for mistake in error.mistakes:
            print(f"osm-healthcheck: {mistake}", file=sys.stderr)
        return 2
    logs.configure(settings.verbosity, settings.log_format)
    try:
        uvloop.run(_serve(settings))
    except ListenError as error:
        print(f"osm-healthcheck: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(settings: Settings) -> None:
    await serve(settings, logs.logger(), on_signals(asyncio.get_running_loop()))
