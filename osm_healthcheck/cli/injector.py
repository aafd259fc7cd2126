"""``osm-healthcheck injector``: inject pods as the API server creates them."""

import argparse
import atexit
import ipaddress
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from osm_healthcheck.injector.serve import InjectorSettings

_WHAT = """\
A mutating admission webhook: pods are injected as the API server creates them, with what inject
would do to their manifests. HTTPS on one port for the API server, HTTP on another one for probes
and scrapes. The chart in charts/ installs it.
"""
_EPILOG = """\
A pod's label healthcheck.openservicemesh.io/mesh names its mesh, or else the path that is called
does, /mutate-pod-creation/MESH, or else --mesh.

example: osm-healthcheck injector --certificate /etc/webhook --mesh istio
"""


def run(argv: Sequence[str]) -> int:
    """Serve until told to end; 0, 1 where a port could not be had, 2 for wrong usage."""
    # Until the event loop takes them over, signals end the start, also for PID 1 of a container,
    # whose default is to ignore them.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: os._exit(128 + received))
    # aiohttp makes two TLS contexts when it is imported, with all the machine's CA certificates
    # in each; what the injector trusts is named by its options.
    os.environ["SSL_CERT_FILE"] = os.environ["SSL_CERT_DIR"] = os.devnull

    parser = _parser()
    options = parser.parse_args(argv)
    settings = _settings(parser, options)

    import uvloop

    from osm_healthcheck.injector.serve import serve_until_signalled
    from osm_healthcheck.server import logs
    from osm_healthcheck.server.connection_limiter import TooFewFilesError, connection_limit
    from osm_healthcheck.server.listen import ListenError

    log, writer = logs.make_log(options.verbosity, options.log_format)
    # From here on nothing waits for standard error, a traceback at the very end included.
    sys.stderr = writer
    atexit.register(writer.end)
    try:
        connection_limit()  # the event loop itself could not start without files
        uvloop.run(serve_until_signalled(settings, log))
    except (ListenError, TooFewFilesError) as error:
        print(f"osm-healthcheck injector: {error}", file=sys.stderr)
        return 1
    return 0


def _settings(parser: argparse.ArgumentParser, options: argparse.Namespace) -> "InjectorSettings":
    from osm_healthcheck.cli.injection_options import read_injection
    from osm_healthcheck.injector.pod_admission import PodAdmission
    from osm_healthcheck.injector.serve import InjectorSettings
    from osm_healthcheck.mesh.annotations import MESHES
    from osm_healthcheck.server.settings import ANY_ADDRESS

    if options.port == options.health_port:
        parser.error(f"--health-port {options.port} is the --port already")
    injections = {
        name: read_injection(parser, options, mesh)
        for name, mesh in MESHES.items()
        if not mesh.injector
    }
    return InjectorSettings(
        admission=PodAdmission(injections, options.mesh, options.on_invalid),
        certificate=options.certificate,
        port=options.port,
        health_port=options.health_port,
        bind=options.bind or ANY_ADDRESS,
        drain=options.drain,
    )


def _parser() -> argparse.ArgumentParser:
    from osm_healthcheck.cli.injection_options import add_injection_options
    from osm_healthcheck.mesh.annotations import MESHES
    from osm_healthcheck.server.settings import LEVELS

    parser = argparse.ArgumentParser(
        prog="osm-healthcheck injector",
        description=_WHAT,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--certificate",
        type=_directory,
        required=True,
        metavar="DIR",
        help="a directory with tls.crt and tls.key, as a Secret's volume has them; it is watched",
    )
    add("--port", type=_port, default=9090, help="HTTPS, for the API server (default 9090)")
    add(
        "--health-port",
        type=_port,
        default=9091,
        metavar="PORT",
        help="HTTP: /health/alive, /health/ready, /healthz, /metrics, /version (default 9091)",
    )
    add("--bind", type=_addresses, metavar="ADDRESS,…", help="listen on these (default: all)")
    add(
        "--mesh",
        choices=[name for name, mesh in MESHES.items() if not mesh.injector],
        default="none",
        help="the mesh of pods where neither their label nor the path names one (default none)",
    )
    add(
        "--on-invalid",
        choices=("warn", "deny"),
        default="warn",
        help="a pod whose probes cannot work: admit it as it is with a warning (the default), or "
        "deny it",
    )
    add(
        "--drain",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="on SIGTERM, go on admitting for so long while callers turn to other replicas "
        "(default 10)",
    )
    add_injection_options(parser)
    add("--verbosity", "-v", choices=LEVELS, default="info", help="(default info)")
    add("--log-format", choices=("json", "console"), default="json", help="(default json)")
    return parser


def _directory(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {text!r}")
    return path


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) < 2**16:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a port from 1 to 65535: not {text!r}")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"must be seconds, 0 or more: not {text!r}")
    return seconds


def _addresses(text: str) -> tuple[str, ...]:
    addresses = tuple(part.strip() for part in text.split(","))
    for address in addresses:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{address!r} is not an IP address") from None
    return addresses
