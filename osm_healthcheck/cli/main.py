"""``osm-healthcheck [COMMAND] …``; without a command it is ``serve``, as OSM's daemon was."""

import importlib
import sys
from collections.abc import Sequence

from osm_healthcheck import __version__

# Each is a module of this package with ``run(argv) -> exit code``, loaded when it is asked for.
COMMANDS = {
    "serve": "the sidecar: answer probes on 15901-15904 (the default)",
    "inject": "rewrite the probes in manifests, and add what answers them",
    "uninject": "give back the manifests that were injected",
    "verify": "what is wrong with the probes of a meshed pod",
    "render": "the configuration of a mesh's proxy that serves a pod's probes",
    "probe": "run a manifest's probes against an app here, as the kubelet would",
    "diagnose": "ask each probe directly and through the sidecar, and compare",
    "demo": "watch an app fall ill, with no cluster",
}
_USAGE = """\
usage: osm-healthcheck [COMMAND] [OPTION ...]

Kubernetes health probes that tell the truth inside a service mesh.

commands:
{commands}

osm-healthcheck COMMAND --help lists the options of a command.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0, 1 where the answer is no, 2 for a usage or input that is wrong."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else ""
    if name == "--version":
        print(f"osm-healthcheck {__version__}")
        sys.exit(0)
    if name in ("help", "--help", "-h"):
        commands = "\n".join(f"  {command:<10} {what}" for command, what in COMMANDS.items())
        print(_USAGE.format(commands=commands), end="")
        sys.exit(0)
    if name.startswith("-") or not name:
        name = "serve"
    elif name in COMMANDS:
        del arguments[0]
    else:
        print(
            f"osm-healthcheck: no command {name!r}; commands are {', '.join(COMMANDS)}",
            file=sys.stderr,
        )
        sys.exit(2)
    command = importlib.import_module(f"osm_healthcheck.cli.{name}")
    sys.exit(command.run(arguments))
