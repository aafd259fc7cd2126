"""``osm-healthcheck serve``: the sidecar."""

import atexit
import gc
import os
import signal
import sys
from collections.abc import Sequence


def run(argv: Sequence[str]) -> int:
    """Serve until told to end; 0, 1 where a port could not be had, 2 for wrong settings."""
    gc.disable()  # nothing that the start makes is garbage; see serve_until_signalled
    # Until the event loop takes them over, signals end the start, also for PID 1 of a container,
    # whose default is to ignore them.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: os._exit(128 + received))
    # aiohttp makes two TLS contexts when it is imported, with all the machine's CA certificates
    # in each: 2 MB and half of the start for what no probe ever looks at.
    os.environ["SSL_CERT_FILE"] = os.environ["SSL_CERT_DIR"] = os.devnull

    from osm_healthcheck.errors import InvalidInputError
    from osm_healthcheck.server.options import read_settings

    try:
        settings = read_settings(argv, os.environ)
    except InvalidInputError as error:
        for one in error.errors:
            print(f"osm-healthcheck: {one}", file=sys.stderr)
        return 2

    import uvloop

    from osm_healthcheck.server import logs
    from osm_healthcheck.server.connection_limiter import TooFewFilesError, connection_limit
    from osm_healthcheck.server.listen import ListenError
    from osm_healthcheck.server.serve import serve_until_signalled

    log, writer = logs.make_log(settings.process.verbosity, settings.process.log_format)
    # From here on nothing waits for standard error, a traceback at the very end included.
    sys.stderr = writer
    atexit.register(writer.end)
    try:
        connection_limit()  # the event loop itself could not start without files
        uvloop.run(serve_until_signalled(settings, log))
    except (ListenError, TooFewFilesError) as error:
        print(f"osm-healthcheck: {error}", file=sys.stderr)
        return 1
    return 0
