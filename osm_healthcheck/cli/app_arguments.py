"""What the commands that ask an app here have in common on the command line."""

import argparse
import re

from osm_healthcheck.cli.arguments import command_parser
from osm_healthcheck.cli.sources import add_sources
from osm_healthcheck.probes.ports import parse_port
from osm_healthcheck.probes.quote import quoted

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?")


def app_parser(
    command: str, what: str, epilog: str, *, objects: bool = False
) -> argparse.ArgumentParser:
    """A parser with the manifests and where their app runs; ``what`` is said in its help.

    With ``objects`` it takes one manifest, or an object of a cluster, and without an argument none
    is assumed.
    """
    parser = command_parser(command, what, epilog)
    add = parser.add_argument
    if objects:
        add(
            "file",
            nargs="?",
            metavar="FILE|KIND/NAME",
            help="YAML or JSON; - is standard input; or an object of a cluster, as deploy/web",
        )
    else:
        add(
            "files",
            nargs="*",
            metavar="FILE",
            help="YAML or JSON; - or none is standard input",
        )
    add_sources(parser)
    add(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="where the app runs: what the pod's IP is in a cluster (default 127.0.0.1)",
    )
    add(
        "--port-map",
        type=port_map,
        default={},
        metavar="POD=HERE,…",
        help="ports on which the app listens here instead of those of the pod, as 80=8080,443=8443",
    )
    add("--container", metavar="NAME", help="the probes of this container only")
    return parser


def add_output(parser: argparse.ArgumentParser, what: str) -> None:
    """Let ``parser`` take ``-o text|json``; ``what`` says what JSON comes to."""
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help=what)


def duration(text: str) -> float:
    """A time span such as ``30s``, ``1m30s``, ``90`` in seconds."""
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        raise argparse.ArgumentTypeError(f"not a time: {quoted(text)}; write 30s or 2m")
    hours, minutes, seconds = match.groups()
    total = int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds or 0)
    if total <= 0:
        raise argparse.ArgumentTypeError("must be more than 0s")
    return total


def port_map(text: str) -> dict[int, int]:
    """``80=8080,443=8443`` as a mapping of ports."""
    found: dict[int, int] = {}
    for pair in text.split(","):
        here: int | None
        pod, here = (parse_port(part.strip()) for part in (*pair.split("=", 1), "")[:2])
        if pod is None or here is None:
            raise argparse.ArgumentTypeError(
                f"not two ports from 1 to 65535 with = between them: {quoted(pair)}; write 80=8080"
            )
        if found.setdefault(pod, here) != here:
            raise argparse.ArgumentTypeError(f"port {pod} stands there twice")
    return found
