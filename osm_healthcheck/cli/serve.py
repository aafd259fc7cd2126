"""``osm-healthcheck serve``: the sidecar."""

import gc
import os
import sys
from collections.abc import Sequence
from functools import partial

from osm_healthcheck.cli.process import prepare, run_until_told


def run(argv: Sequence[str]) -> int:
    """Serve until told to end; 0, 1 where a port could not be had, 2 for wrong settings."""
    gc.disable()  # nothing that the start makes is garbage; see serve_until_signalled
    prepare()

    from osm_healthcheck.errors import InvalidInputError
    from osm_healthcheck.server.options import read_settings

    try:
        settings = read_settings(argv, os.environ)
    except InvalidInputError as error:
        for one in error.errors:
            print(f"osm-healthcheck: {one}", file=sys.stderr)
        return 2

    from osm_healthcheck.server.serve import serve_until_signalled

    process = settings.process
    return run_until_told(
        partial(serve_until_signalled, settings),
        "osm-healthcheck",
        process.verbosity,
        process.log_format,
    )
