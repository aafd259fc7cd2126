"""``osm-healthcheck node-sockets``: the rights of node mode, in a process that parses little."""

import argparse
import socket
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from osm_healthcheck.cli.numbers import whole_number
from osm_healthcheck.cli.process import prepare, run_until_told, server_parser
from osm_healthcheck.probes.quote import quoted

_WHAT = """\
The half of node mode that needs rights, for `osm-healthcheck node --sockets SOCKET`, which needs
none. It follows the container runtime, opens the pods' network namespaces, and hands out sockets
in them: listening ones on ports 15901-15904, and ones that reach the pod itself and nothing else.
"""
_EPILOG = """\
Exit code: 0 ended as told, 1 where SOCKET cannot be had or a right is missing, 2 for wrong options.
"""
_NAME = "osm-healthcheck node-sockets"


def run(argv: Sequence[str]) -> int:
    """Serve until told to end; 0, 1 where that cannot be, 2 for wrong options."""
    prepare()
    options = _parser().parse_args(argv)

    from osm_healthcheck.cli.node import DEFAULT_NAMESPACES, may_enter_namespaces, read_bypass
    from osm_healthcheck.node.cri import DEFAULT_SOCKET
    from osm_healthcheck.node.serve_sockets import SocketsSettings, serve_sockets_until_signalled

    if not may_enter_namespaces(_NAME) or not _may_filter():
        return 1
    settings = SocketsSettings(
        options.socket,
        options.server_user,
        options.runtime or DEFAULT_SOCKET,
        options.namespaces or DEFAULT_NAMESPACES,
        read_bypass(options.bypass, _NAME),
        options.handover,
    )
    try:
        return run_until_told(
            partial(serve_sockets_until_signalled, settings),
            _NAME,
            options.verbosity,
            options.log_format,
            "osm-healthcheck-node-sockets",
        )
    except OSError as error:
        print(
            f"{_NAME}: {options.socket}: {(error.strerror or str(error)).lower()}", file=sys.stderr
        )
        return 1


def _may_filter() -> bool:
    """Whether this process may bind sockets to what they are for; where not, a line says so."""
    from osm_healthcheck.node.socket_filter import allow_callers

    with socket.socket() as tried:
        try:
            allow_callers(tried)
        except PermissionError:
            print(f"{_NAME}: may not put filters on sockets: it needs NET_ADMIN", file=sys.stderr)
            return False
    return True


def _parser() -> argparse.ArgumentParser:
    from osm_healthcheck.cli.node import add_runtime_options
    from osm_healthcheck.node.serve_sockets import SERVER_USER

    parser = server_parser("node-sockets", _WHAT, _EPILOG)
    add = parser.add_argument
    add("socket", type=Path, metavar="SOCKET", help="the unix socket at which it is found")
    add_runtime_options(parser)
    add(
        "--server-user",
        type=_user,
        default=SERVER_USER,
        metavar="UID",
        help=f"who may connect: the user of the server (default {SERVER_USER})",
    )
    return parser


def _user(text: str) -> int:
    if (user := whole_number(text, 0, (1 << 32) - 1)) is None:
        raise argparse.ArgumentTypeError(f"not the id of a user: {quoted(text)}")
    return user
