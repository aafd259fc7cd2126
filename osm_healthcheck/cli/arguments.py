"""What the commands that do not serve have in common on the command line."""

import argparse
import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from osm_healthcheck.cli.files import STDIN

_BROKEN_PIPE = 128 + signal.SIGPIPE
_INTERRUPTED = 128 + signal.SIGINT


def command_parser(command: str, what: str, epilog: str = "") -> argparse.ArgumentParser:
    """A parser without options; ``what`` and ``epilog`` are said in its help as they stand."""
    return argparse.ArgumentParser(
        prog=f"osm-healthcheck {command}",
        description=what,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def parser_for(
    command: str, what: str, epilog: str = "", *, objects: bool = False
) -> argparse.ArgumentParser:
    """A parser with the files that a command reads; ``what`` is said in its help.

    With ``objects`` it reads those of a cluster, too, and without arguments none is assumed.
    """
    parser = command_parser(command, what, epilog)
    parser.add_argument(
        "files",
        nargs="*",
        default=[] if objects else [STDIN],
        metavar="FILE|KIND/NAME" if objects else "FILE",
        help="YAML or JSON, one document or many; - or none is the standard input"
        + ("; or objects of a cluster, as deploy/web" if objects else ""),
    )
    return parser


def guarded(work: Callable[[], int]) -> int:
    """Run ``work``; a reader that leaves, and signals, end it as they end other tools.

    Whatever ends it, what it has begun is taken back: temporary files, port-forwards.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # as manifests are, whatever the locale says
    try:
        with _ended_by_signals():
            code = work()
            sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return _BROKEN_PIPE
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return _INTERRUPTED
    except OSError as error:
        _drop_output()
        print(f"osm-healthcheck: cannot write: {error.strerror or error}", file=sys.stderr)
        return 2
    return code


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM, and SIGHUP where it is not ignored, unwind what runs; the second ends it at once."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        signal.signal(number, signal.SIG_DFL)
        sys.exit(128 + number)

    numbers = [
        one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is signal.SIG_DFL
    ]
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _drop_output() -> None:
    """What is still buffered has nowhere to go: not even at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
