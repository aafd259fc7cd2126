"""``osm-healthcheck node``: answer the probes of every pod of this node, from one process."""

import argparse
import gc
import socket
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from osm_healthcheck.cli.numbers import whole_number
from osm_healthcheck.cli.process import prepare, run_until_told, server_parser
from osm_healthcheck.probes.quote import quoted

if TYPE_CHECKING:
    from osm_healthcheck.node.bypass import Bypass

_WHAT = """\
Node mode: one process a node. It opens ports 15901-15904 inside the network namespace of every pod
that was injected with --proxy node, and answers the kubelet's probes there. It takes the pods from
the container runtime, and needs SYS_ADMIN (to enter the namespaces) and the runtime's socket; with
--sockets, `osm-healthcheck node-sockets` has these, and this process needs no rights at all.
"""
DEFAULT_NAMESPACES = Path("/run/netns")
_EPILOG = """\
Exit code: 0 ended as told, 1 where a port cannot be had or a right is missing, 2 for wrong options.
"""


def run(argv: Sequence[str]) -> int:
    """Serve until told to end; 0, 1 where that cannot be, 2 for wrong options."""
    gc.disable()  # nothing that the start makes is garbage; see serve_until_signalled
    prepare()
    parser = _parser()
    options = parser.parse_args(argv)

    from osm_healthcheck.node.agent import NodeSettings
    from osm_healthcheck.node.cri import DEFAULT_SOCKET
    from osm_healthcheck.node.serve import AgentSettings, serve_until_signalled

    if options.sockets is None:
        if not may_enter_namespaces("osm-healthcheck node"):
            return 1
    elif options.runtime or options.namespaces or options.bypass:
        parser.error(
            "where there is --sockets, --runtime, --namespaces and --bypass are for node-sockets"
        )
    settings = AgentSettings(
        NodeSettings(
            options.connections,
            options.all_connections,
            options.allow_from,
        ),
        options.runtime or DEFAULT_SOCKET,
        options.namespaces or DEFAULT_NAMESPACES,
        options.sockets,
        read_bypass(options.bypass, "osm-healthcheck node"),
        options.handover,
        options.status,
    )
    return run_until_told(
        partial(serve_until_signalled, settings),
        "osm-healthcheck node",
        options.verbosity,
        options.log_format,
        "osm-healthcheck-node",
    )


def read_bypass(script: Path | None, name: str) -> "Bypass | None":
    """The rules of ``--bypass``; where there are none, a line that begins with ``name`` says so.

    Raises:
        SystemExit: with 2, where there are none.
    """
    from osm_healthcheck.node.bypass import Bypass, BypassError

    try:
        return None if script is None else Bypass(script)
    except BypassError as error:
        print(f"{name}: --bypass: {error}", file=sys.stderr)
        sys.exit(2)


def may_enter_namespaces(name: str) -> bool:
    """Whether this process may; where not, a line that begins with ``name`` says so."""
    from osm_healthcheck.node.network_namespace import NetworkNamespace

    own = NetworkNamespace("/proc/self/ns/net")
    try:
        own.make_socket(socket.AF_INET).close()
    except PermissionError:
        print(f"{name}: may not enter network namespaces: it needs SYS_ADMIN", file=sys.stderr)
        return False
    finally:
        own.close()
    return True


def add_runtime_options(parser: argparse.ArgumentParser) -> None:
    """Add what the process that finds pods has to be told."""
    from osm_healthcheck.node.cri import DEFAULT_SOCKET

    add = parser.add_argument
    add(
        "--runtime",
        metavar="SOCKET",
        help=f"the container runtime's (default {DEFAULT_SOCKET}; CRI-O: /run/crio/crio.sock)",
    )
    add(
        "--namespaces",
        type=Path,
        metavar="FOLDER",
        help=f"where it keeps the files of network namespaces (default {DEFAULT_NAMESPACES})",
    )
    add(
        "--bypass",
        type=Path,
        metavar="SCRIPT",
        help="install the rules of this init.sh in every pod: for meshes without an annotation. It "
        "needs NET_ADMIN and iptables",
    )
    add(
        "--handover",
        type=Path,
        metavar="SOCKET",
        help="hand listening sockets to the next agent, and take them from the one before, here",
    )


def _parser() -> argparse.ArgumentParser:
    from osm_healthcheck.probes.addresses import AllowFrom

    parser = server_parser("node", _WHAT, _EPILOG)
    add = parser.add_argument
    add_runtime_options(parser)
    add(
        "--sockets",
        type=Path,
        metavar="SOCKET",
        help="`osm-healthcheck node-sockets SOCKET` has the rights, finds pods and makes sockets",
    )
    add(
        "--status",
        type=_address,
        default=("", 9092),
        metavar="[ADDRESS:]PORT",
        help="where /healthz, /health/ready, /metrics and /debug/pods are served (default 9092)",
    )
    add(
        "--allow-from",
        type=AllowFrom.parse,
        metavar="CIDR,…",
        help="answer only callers from these networks (and a pod's own loopback)",
    )
    add(
        "--connections",
        type=_count,
        default=64,
        metavar="N",
        help="how many connections one pod holds at once (default 64)",
    )
    add(
        "--all-connections",
        type=_count,
        default=2048,
        metavar="N",
        help="how many connections all pods together hold at once (default 2048)",
    )
    return parser


def _address(text: str) -> tuple[str, int]:
    from osm_healthcheck.probes.ports import parse_port

    host, _, number = text.rpartition(":")
    port = parse_port(number)
    if port is None:
        raise argparse.ArgumentTypeError(f"not a port, or an address and a port: {text!r}")
    return host.strip("[]"), port


def _count(text: str) -> int:
    if (count := whole_number(text, 4, 16384)) is None:
        raise argparse.ArgumentTypeError(f"must be a number from 4 to 16384, not {quoted(text)}")
    return count
