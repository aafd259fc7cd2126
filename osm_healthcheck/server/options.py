"""Reading the settings of the sidecar: one table of options, flags first, then the environment.

This is the one place that reads the environment. All errors are found before anything is bound.
"""

import argparse
import math
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from osm_healthcheck import __version__
from osm_healthcheck.errors import FieldError, InvalidInputError, Validation
from osm_healthcheck.probes.addresses import AllowFrom
from osm_healthcheck.probes.constants import (
    HEALTHCHECK_PORT,
    LIVENESS_PORT,
    READINESS_PORT,
    STARTUP_PORT,
    ProbeKind,
)
from osm_healthcheck.probes.declaration import read_all_declared, read_short_form
from osm_healthcheck.probes.hooks import DeclaredHook
from osm_healthcheck.probes.ports import OwnPorts, parse_port
from osm_healthcheck.probes.quote import quoted
from osm_healthcheck.probes.targets import DeclaredProbe, Targets, targets_of
from osm_healthcheck.server.settings import (
    ANY_ADDRESS,
    LEVELS,
    PodSettings,
    ProcessSettings,
    Settings,
)

_TWIN_PREFIX = "OSM_HEALTHCHECK_"

T = TypeVar("T")


class Option(NamedTuple):
    """One option: its flag, what stands for its value in the help, and what it does."""

    flag: str
    metavar: str
    help: str

    @property
    def name(self) -> str:
        """What argparse calls its value."""
        return self.flag.lstrip("-").replace("-", "_")

    @property
    def twin(self) -> str:
        """The environment variable that does the same."""
        return _TWIN_PREFIX + self.name.upper()


_PROBES = Option(
    "--probes", "JSON|@FILE", "the pod's probes and hooks: {container: {livenessProbe: …}}"
)
_SHORT_FORMS = {
    kind: Option(f"--{kind.value}", "URL", f"the {kind.value} probe of the one container, in short")
    for kind in ProbeKind
}
_TARGET_HOST = Option(
    "--target-host", "HOST", "ask the app here, not where the caller connected to"
)
_ALLOW_FROM = Option(
    "--allow-from", "CIDR,…", "answer only callers from these networks (and loopback)"
)
_BIND = Option("--bind", "ADDRESS,…", "listen on these addresses (default: all, IPv4 and IPv6)")
_PORTS = {
    name: Option(f"--{name}-port", "PORT", f"{what} (default {default})")
    for name, what, default in (
        (
            "healthcheck",
            "the port of checks, /healthz and /metrics",
            HEALTHCHECK_PORT,
        ),
        ("liveness", "the port of the liveness probe proxy", LIVENESS_PORT),
        ("readiness", "the port of the readiness probe proxy", READINESS_PORT),
        ("startup", "the port of the startup probe proxy", STARTUP_PORT),
    )
}
_DRAIN = Option(
    "--drain", "SECONDS", "on SIGTERM, answer for so long while the app still listens (default 25)"
)
_VERBOSITY = Option("--verbosity", "LEVEL", f"{', '.join(LEVELS)} (default info)")
_LOG_FORMAT = Option("--log-format", "FORMAT", "json or console (default json)")

OPTIONS = (
    _PROBES,
    *_SHORT_FORMS.values(),
    _TARGET_HOST,
    _ALLOW_FROM,
    _BIND,
    *_PORTS.values(),
    _DRAIN,
    _VERBOSITY,
    _LOG_FORMAT,
)


def read_settings(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Read the settings from flags and, where a flag is not given, from the environment.

    A usage that argparse refuses ends the process with 2, ``--help`` and ``--version`` with 0.

    Raises:
        InvalidInputError: with every error, each named by the flag or variable it came by.
    """
    return _Reading(_flags(argv), environ).settings()


def _flags(argv: Sequence[str]) -> Mapping[str, str | None]:
    """The value of each flag that is given.

    Whole flags with a value each are what a pod's sidecar is started with, and need no argparse,
    which is 0.5 MB in every pod.
    """
    pairs = list(zip(argv[::2], argv[1::2], strict=False))
    known = {option.flag for option in OPTIONS}
    plain = all(flag in known and not value.startswith("-") for flag, value in pairs)
    if plain and len(argv) == 2 * len(pairs):
        return dict(pairs)
    parsed = vars(_parser().parse_args(argv))
    return {option.flag: parsed[option.name] for option in OPTIONS}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="osm-healthcheck serve",
        usage="osm-healthcheck [serve] [OPTION ...]",
        description="The sidecar: answer the kubelet's probes on 15901-15904.",
        epilog=f"Each option can be set as {_TWIN_PREFIX}<NAME> in the environment, "
        "--target-host as OSM_HEALTHCHECK_TARGET_HOST. A flag beats the environment.",
        # A width of its own: finding the terminal's loads shutil and every compression library.
        formatter_class=lambda prog: argparse.HelpFormatter(prog, width=100),
        allow_abbrev=False,
    )
    for option in OPTIONS:
        short = ("-v",) if option is _VERBOSITY else ()
        parser.add_argument(option.flag, *short, metavar=option.metavar, help=option.help)
    parser.add_argument("--version", action="version", version=f"osm-healthcheck {__version__}")
    return parser


class _Reading:
    """Turns texts into values and gathers what is wrong with them."""

    def __init__(self, flags: Mapping[str, str | None], environ: Mapping[str, str]) -> None:
        self._flags = flags
        self._environ = environ
        self._validation = Validation()

    def settings(self) -> Settings:
        ports = self._ports()
        human = self._environ.get("OSM_HUMAN_DEBUG_LOG", "").lower() == "true"
        pod = PodSettings(
            targets=self._targets(ports),
            ports=ports,
            bind=self._value(_BIND, _addresses, ANY_ADDRESS),
            target_hosts=self._value(_TARGET_HOST, _resolve, ()),
            allow_from=self._value(_ALLOW_FROM, AllowFrom.parse, None),
            pod_ip=self._pod_ip(),
            drain=self._value(_DRAIN, _seconds, 25.0),
        )
        process = ProcessSettings(
            verbosity=self._value(_VERBOSITY, _one_of(LEVELS), "info"),
            log_format=self._value(
                _LOG_FORMAT, _one_of(("json", "console")), "console" if human else "json"
            ),
            unknown=_unknown(self._environ),
        )
        self._validation.raise_errors()
        return Settings(pod, process)

    def _text(self, option: Option) -> tuple[str, str] | None:
        """The text given for ``option`` and the name it came by."""
        flag = self._flags.get(option.flag)
        if flag is not None:
            return flag, option.flag
        twin = self._environ.get(option.twin)
        return None if twin is None else (twin, option.twin)

    def _value(self, option: Option, read: Callable[[str], T], default: T) -> T:
        given = self._text(option)
        if given is None:
            return default
        text, name = given
        try:
            if not text.strip():
                raise ValueError("it is empty; leave it out for the default")
            return read(text)
        except ValueError as error:
            self._validation.error(name, str(error))
            return default

    def _ports(self) -> OwnPorts:
        default = OwnPorts()
        given = {
            name: self._value(option, _port, getattr(default, name))
            for name, option in _PORTS.items()
        }
        seen: dict[int, str] = {}
        for name, port in given.items():
            if port in seen:
                self._validation.error(
                    _PORTS[name].flag, f"{port} is the {seen[port]} port already"
                )
            seen.setdefault(port, name)
        return OwnPorts(**given)

    def _targets(self, ports: OwnPorts) -> Targets | None:
        """What is declared, ``None`` where no option declares anything."""
        declared: list[DeclaredProbe] = []
        hooks: tuple[DeclaredHook, ...] = ()
        probes = self._text(_PROBES)
        short = {
            kind: given for kind, option in _SHORT_FORMS.items() if (given := self._text(option))
        }
        if probes and short:
            names = ", ".join(name for _, name in short.values())
            self._validation.error(
                probes[1], f"declares probes and so does {names}: use one of them"
            )
        try:
            if probes:
                text, name = probes
                text = _contents(text, name)
                probes_declared, hooks = read_all_declared(text, name, ports)
                declared += probes_declared
        except InvalidInputError as error:
            self._validation.include(error)
        for kind, (text, name) in short.items():
            try:
                declared.append(read_short_form(text, name, kind, ports))
            except InvalidInputError as error:
                self._validation.include(error)
        return targets_of(declared, hooks) if probes or short else None

    def _pod_ip(self) -> str:
        text = self._environ.get("POD_IP", "")
        if text and not _is_address(text):
            self._validation.error("POD_IP", f"{quoted(text)} is not an IP address")
        return text


def _unknown(environ: Mapping[str, str]) -> tuple[str, ...]:
    known = {option.twin for option in OPTIONS}
    # Kubernetes tells every container of every Service; one may be called osm-healthcheck-something
    ending = "_SERVICE_HOST"
    services = tuple(name.removesuffix(ending) + "_" for name in environ if name.endswith(ending))
    return tuple(
        name
        for name in sorted(environ)
        if name.startswith(_TWIN_PREFIX) and name not in known and not name.startswith(services)
    )


def _contents(text: str, name: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInputError(
            [FieldError(name, f"cannot read {quoted(text[1:])}: {reason}")]
        ) from None


def _port(text: str) -> int:
    port = parse_port(text)
    if port is None:
        raise ValueError(f"{quoted(text)} is not a port from 1 to 65535")
    return port


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{quoted(text)} is not a number of seconds, 0 or more")
    return seconds


def _one_of(allowed: Sequence[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(f"{quoted(text)} is none of {', '.join(allowed)}")
        return text.lower()

    return read


def _addresses(text: str) -> tuple[str, ...]:
    addresses = tuple(part.strip() for part in text.split(","))
    for address in addresses:
        if not _is_address(address):
            raise ValueError(
                f"{quoted(address)} is not an IP address (without brackets, without a port)"
            )
    packed = [socket.inet_pton(_family(address), address) for address in addresses]
    for address, bits in zip(addresses, packed, strict=True):
        if packed.count(bits) > 1:
            raise ValueError(f"{quoted(address)} stands there twice")
    return addresses


def _resolve(host: str) -> tuple[str, ...]:
    """The addresses of ``host``, looked up once: a probe must not wait for a name server."""
    if host.startswith("["):
        raise ValueError(f"{quoted(host)}: write an IPv6 address without brackets")
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ValueError(f"cannot resolve {quoted(host)}: {error.strerror}") from None
    except UnicodeError:
        raise ValueError(f"{quoted(host)} is not a host name") from None
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _is_address(text: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False
