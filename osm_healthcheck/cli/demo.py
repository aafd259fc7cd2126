"""``osm-healthcheck demo``: a bookstore that falls ill, and what the kubelet makes of it."""

import argparse
import errno
import sys
from collections.abc import Sequence

from osm_healthcheck.cli.app_arguments import add_output, duration
from osm_healthcheck.cli.arguments import command_parser, guarded

_WHAT = """\
Start a small bookstore, inject its manifest, start the sidecar, and watch its probes as
the kubelet does while the bookstore falls ill in one way after another. No cluster is
needed, and everything stays on this machine's loopback addresses.
"""
_DEFAULT_SECONDS = 4.0
_ADVICE = (
    "end the process that has it (ss -ltnp shows which), or give the demo a network of its own: "
    "unshare -rn sh -c 'ip link set lo up; exec osm-healthcheck demo'"
)


def run(argv: Sequence[str]) -> int:
    """Run the command; 0, 1 where the probes did not show what they should."""
    options = _parser().parse_args(argv)

    def run_demo() -> int:
        from osm_healthcheck.cli import coroutines
        from osm_healthcheck.demo.script import run_script
        from osm_healthcheck.server.listen import ListenError

        try:
            return coroutines.run(run_script(options.output, options.duration))
        except ListenError as error:
            print(f"osm-healthcheck demo: {error.problem}; {_ADVICE}", file=sys.stderr)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            print(f"osm-healthcheck demo: {error.strerror}; {_ADVICE}", file=sys.stderr)
        return 1

    return guarded(run_demo)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("demo", _WHAT)
    parser.add_argument(
        "--for",
        dest="duration",
        type=duration,
        default=_DEFAULT_SECONDS,
        metavar="TIME",
        help="how long the pauses for the reader are in all (default 4s); each fault lasts until "
        "the probes show it, which takes 16s more",
    )
    add_output(
        parser, "json: one object a line for each chapter, event, verdict and change of status"
    )
    return parser
