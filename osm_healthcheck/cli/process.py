"""What the commands that serve until they are told to end have in common as processes."""

import argparse
import atexit
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from osm_healthcheck.cli.requirements import unmet_requirements

if TYPE_CHECKING:
    from osm_healthcheck.server.logs import Log


def prepare() -> None:
    """Set the process up, before anything that takes time is imported.

    It ends with 1 where that could not work.
    """
    if unmet := list(unmet_requirements()):
        for one in unmet:
            print(f"osm-healthcheck: {one}", file=sys.stderr)
        raise SystemExit(1)
    # Until the event loop takes them over, signals end the start, also for PID 1 of a container,
    # whose default is to ignore them.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: os._exit(128 + received))
    # aiohttp makes two TLS contexts when it is imported, with all the machine's CA certificates
    # in each: 2 MB and half of the start for what nobody here ever looks at.
    os.environ["SSL_CERT_FILE"] = os.environ["SSL_CERT_DIR"] = os.devnull
    # structlog imports rich where that is installed: 4 MB and a fifth of the start, for tracebacks
    # in colours.
    sys.modules["rich"] = None  # type: ignore[assignment]


def server_parser(command: str, what: str, epilog: str) -> argparse.ArgumentParser:
    """A parser of a command that serves, with the options of its log; ``what`` is its help."""
    from osm_healthcheck.server.settings import LEVELS

    parser = argparse.ArgumentParser(
        prog=f"osm-healthcheck {command}",
        description=what,
        epilog=epilog,
        formatter_class=_help_formatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    levels = ", ".join(LEVELS)
    add("-v", "--verbosity", choices=LEVELS, default="info", metavar="LEVEL", help=levels)
    add("--log-format", choices=("json", "console"), default="json", help="default json")
    return parser


def _help_formatter(prog: str) -> argparse.HelpFormatter:
    """As wide as the terminal; argparse would ask shutil, which is 0.8 MB of compression."""
    try:
        columns = os.get_terminal_size().columns
    except OSError:
        columns = 80
    return argparse.RawDescriptionHelpFormatter(prog, width=columns - 2)


def run_until_told(
    serve: "Callable[[Log], Coroutine[Any, Any, None]]",
    name: str,
    verbosity: str,
    log_format: str,
    component: str = "osm-healthcheck",
) -> int:
    """Run ``serve`` with a log of ``component`` on an event loop; the exit code.

    It is 1, with a line that begins with ``name``, where a port or the files for connections cannot
    be had.
    """
    import uvloop

    from osm_healthcheck.server import logs
    from osm_healthcheck.server.connection_limiter import TooFewFilesError, connection_limit
    from osm_healthcheck.server.listen import ListenError

    log, writer = logs.make_log(verbosity, log_format, component)
    # From here on nothing waits for standard error, a traceback at the very end included.
    sys.stderr = writer
    atexit.register(writer.end)
    try:
        connection_limit()  # the event loop itself could not start without files
        uvloop.run(serve(log))
    except (ListenError, TooFewFilesError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0
