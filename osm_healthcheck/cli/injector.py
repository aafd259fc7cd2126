"""``osm-healthcheck injector``: inject pods as the API server creates them."""

import argparse
import ipaddress
import os
import re
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from osm_healthcheck.injector.serve import InjectorSettings
    from osm_healthcheck.injector.shared_certificate import SharedCertificateSettings

from osm_healthcheck.cli.process import prepare, run_until_told, server_parser
from osm_healthcheck.probes.ports import parse_port

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


_SERVICE = "osm-healthcheck-injector"
_SELF = "with --certificate self"
# k8s.io/apimachinery/pkg/util/validation/validation.go
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_LONGEST_SUBDOMAIN, _LONGEST_LABEL = 253, 63
_SHORTEST_LIFETIME, _LONGEST_LIFETIME = 10.0, 10 * 365 * 24 * 3600.0


def run(argv: Sequence[str]) -> int:
    """Serve until told to end; 0, 1 where a port could not be had, 2 for wrong usage."""
    prepare()
    options, settings = read_arguments(argv)

    from osm_healthcheck.injector.serve import serve_until_signalled

    return run_until_told(
        partial(serve_until_signalled, settings),
        "osm-healthcheck injector",
        options.verbosity,
        options.log_format,
        "osm-healthcheck-injector",
    )


def read_arguments(argv: Sequence[str]) -> "tuple[argparse.Namespace, InjectorSettings]":
    """The options, and what the injector is told by them; wrong ones end the process with 2."""
    parser = _parser()
    options = parser.parse_args(argv)
    return options, _settings(parser, options)


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
        certificate=_source(parser, options),
        port=options.port,
        health_port=options.health_port,
        bind=options.bind or ANY_ADDRESS,
        drain=options.drain,
    )


def _source(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> "Path | SharedCertificateSettings":
    """Where the certificate comes from."""
    if isinstance(options.certificate, Path):
        return options.certificate
    from osm_healthcheck.injector.api_server import SERVICE_ACCOUNT, ApiServerAddress
    from osm_healthcheck.injector.shared_certificate import SharedCertificateSettings

    if find_spec("cryptography") is None:
        parser.error(
            "--certificate self takes cryptography: pip install '.[injector]' in a clone of the "
            "repository; the injector's image has it"
        )
    host = os.environ.get("KUBERNETES_SERVICE_HOST")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    account = options.service_account or SERVICE_ACCOUNT
    try:
        namespace = (account / "namespace").read_text().strip()
        _label(namespace)
    except OSError as error:
        parser.error(f"--certificate self is for pods: {error.filename}: {error.strerror}")
    except (argparse.ArgumentTypeError, UnicodeDecodeError) as error:
        parser.error(f"--certificate self is for pods: {account / 'namespace'}: {error}")
    if not host:
        parser.error("--certificate self is for pods: KUBERNETES_SERVICE_HOST is not set")
    if parse_port(port) is None:
        parser.error(f"KUBERNETES_SERVICE_PORT: must be a port from 1 to 65535: not {port!r}")
    return SharedCertificateSettings(
        address=ApiServerAddress(host, int(port), account),
        namespace=namespace,
        secret=options.certificate_secret,
        configuration=options.webhook_configuration,
        names=options.certificate_name or (f"{_SERVICE}.{namespace}.svc",),
        lifetime=options.certificate_lifetime,
    )


def _parser() -> argparse.ArgumentParser:
    from osm_healthcheck.cli.injection_options import add_injection_options
    from osm_healthcheck.mesh.annotations import MESHES

    parser = server_parser("injector", _WHAT, _EPILOG)
    add = parser.add_argument
    add(
        "--certificate",
        type=_certificate,
        default="self",
        metavar="self|DIR",
        help="self (the default): the replicas make one, share it in a Secret and renew it; or a "
        "directory with tls.crt and tls.key, as a Secret's volume has them, which is watched",
    )
    add(
        "--certificate-secret",
        type=_subdomain,
        default=f"{_SERVICE}-certificate",
        metavar="NAME",
        help=_SELF,
    )
    add(
        "--certificate-name",
        type=_certificate_names,
        metavar="NAME,…",
        help=f"names in it (default {_SERVICE}.NAMESPACE.svc); {_SELF}",
    )
    add(
        "--certificate-lifetime",
        type=_lifetime,
        default=90 * 24 * 3600.0,
        metavar="SECONDS",
        help=f"it is renewed after two thirds (default 90 days); {_SELF}",
    )
    add(
        "--webhook-configuration",
        type=_subdomain,
        default=f"0-{_SERVICE}",
        metavar="NAME",
        help=_SELF,
    )
    add(
        "--service-account",
        type=_directory,
        metavar="DIR",
        help=f"token, ca.crt and namespace (default: those of the pod); {_SELF}",
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
    add_injection_options(parser, ("sidecar", "node"))
    return parser


def _certificate(text: str) -> "str | Path":
    return text if text == "self" else _directory(text)


def _directory(text: str) -> Path:
    if not os.path.isdir(text):  # noqa: PTH112 - a Path raises where one above may not be read
        raise argparse.ArgumentTypeError(f"there is no directory {text!r} that can be read")
    return Path(text)


def _certificate_names(text: str) -> tuple[str, ...]:
    return tuple(part if _is_address(part) else _subdomain(part) for part in text.split(","))


def _subdomain(text: str) -> str:
    """The name of an object, or of a host: DNS-1123."""
    if _SUBDOMAIN.fullmatch(text) and len(text) <= _LONGEST_SUBDOMAIN:
        return text
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a DNS-1123 subdomain: at most {_LONGEST_SUBDOMAIN} lower case letters, "
        "digits, - and ., which begins and ends with a letter or digit"
    )


def _label(text: str) -> str:
    """The name of a namespace."""
    if "." in _subdomain(text) or len(text) > _LONGEST_LABEL:
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a namespace")
    return text


def _port(text: str) -> int:
    if (port := parse_port(text)) is not None:
        return port
    raise argparse.ArgumentTypeError(f"must be a port from 1 to 65535: not {text!r}")


def _lifetime(text: str) -> float:
    if not _SHORTEST_LIFETIME <= (seconds := _seconds(text)) <= _LONGEST_LIFETIME:
        raise argparse.ArgumentTypeError(
            f"must be seconds, from {_SHORTEST_LIFETIME:.0f} to {_LONGEST_LIFETIME:.0f} (ten "
            f"years): not {text!r}"
        )
    return seconds


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
        if not _is_address(address):
            raise argparse.ArgumentTypeError(f"{address!r} is not an IP address")
    return addresses


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
