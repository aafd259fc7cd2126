"""Kubernetes' ``Probe``, read from a manifest's plain mapping and never written back to one.

The field names, defaults and rules are those of ``core/v1`` (``pkg/apis/core/v1/defaults.go`` and
``pkg/apis/core/validation/validation.go``); what is wrong is said in the API server's own words.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, cast

from osm_healthcheck.errors import Validation
from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.probes.ports import PORT_RANGE, is_port
from osm_healthcheck.probes.quote import quoted

_HEADER_NAME = re.compile(r"[-A-Za-z0-9]+")
HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
FIELDS = (
    *HANDLERS,
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
    "terminationGracePeriodSeconds",
)


class HTTPHeader(NamedTuple):
    """One entry of ``httpHeaders``."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class HTTPGetAction:
    """An HTTP GET of ``path`` on ``port`` (a number, or a name in the container's ports)."""

    port: int | str
    path: str = "/"
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"
    host: str = ""
    http_headers: tuple[HTTPHeader, ...] = ()


@dataclass(frozen=True, slots=True)
class TCPSocketAction:
    """A connection to ``port`` (a number, or a name in the container's ports)."""

    port: int | str
    host: str = ""


@dataclass(frozen=True, slots=True)
class GRPCAction:
    """A ``grpc.health.v1.Health/Check`` of ``service`` on ``port``."""

    port: int
    service: str = ""


@dataclass(frozen=True, slots=True)
class ExecAction:
    """A command inside the container, which the kubelet runs there; the sidecar never does."""

    command: tuple[str, ...] = ()


Handler = HTTPGetAction | TCPSocketAction | GRPCAction | ExecAction


class Probe(NamedTuple):
    """One probe with Kubernetes' defaults filled in; all times in seconds."""

    handler: Handler
    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None


@dataclass(slots=True)
class FieldReader:
    """Reads typed fields out of a mapping and gathers every error instead of raising the first.

    ``path`` is where the mapping stands; ``validation`` is shared by all readers of one document.
    """

    value: Mapping[str, object]
    path: str
    validation: Validation = field(default_factory=Validation)

    def invalid(self, name: str, problem: str) -> None:
        """Add ``problem`` with the field ``name`` of this mapping, or with all of it (``""``)."""
        self.validation.error(f"{self.path}.{name}" if name else self.path, problem)

    def invalid_value(self, name: str, rule: str) -> None:
        """Add that the value of ``name`` breaks ``rule``."""
        self.invalid(name, f"Invalid value: {quoted(self.value.get(name))}: {rule}")

    def mapping(self, name: str) -> "FieldReader | None":
        """A reader for the mapping in field ``name``; ``None`` where there is none."""
        value = self.value.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.invalid_value(name, "must be a mapping")
            return None
        return FieldReader(
            cast("Mapping[str, object]", value), f"{self.path}.{name}", self.validation
        )

    def text(self, name: str, default: str = "") -> str:
        """The string in field ``name``; an absent, null or empty one is ``default``."""
        value = self.value.get(name)
        if value is None or value == "":
            return default
        if not isinstance(value, str):
            self.invalid_value(name, "must be a string")
            return default
        return value

    def number(self, name: str, default: int) -> int:
        """The non-negative whole number in field ``name``; absent, null and 0 are ``default``.

        That 0 means the default is Kubernetes' rule, since its fields have no way to be unset.
        """
        value = self.value.get(name)
        if value is None:
            return default
        if type(value) is not int or value > 2**31 - 1:
            self.invalid_value(name, "must be a whole number")
            return default
        if value < 0:
            self.invalid_value(name, "must be greater than or equal to 0")
            return default
        return value or default

    def only(self, allowed: Collection[str]) -> None:
        """Add every field that is not in ``allowed``: a misspelt name would pass unnoticed."""
        for name in self.value:
            if name not in allowed:
                self.invalid(str(name), f"unknown field; known are {', '.join(sorted(allowed))}")


def read_probe(reader: FieldReader, kind: ProbeKind) -> Probe | None:
    """Read the probe that ``reader`` stands on.

    Every rule that it breaks is an error in ``reader.validation``; ``None`` where no handler can
    be made of it at all.
    """
    reader.only(FIELDS)
    handler = _read_handler(reader)
    success = reader.number("successThreshold", 1)
    if kind is not ProbeKind.READINESS and success != 1:
        reader.invalid_value("successThreshold", "must be 1")
    grace = reader.value.get("terminationGracePeriodSeconds")
    if grace is not None:
        if kind is ProbeKind.READINESS:
            reader.invalid_value(
                "terminationGracePeriodSeconds", "must not be set for readinessProbes"
            )
        elif type(grace) is not int or grace <= 0:
            reader.invalid_value("terminationGracePeriodSeconds", "must be greater than 0")
    times = {
        "initial_delay_seconds": reader.number("initialDelaySeconds", 0),
        "timeout_seconds": reader.number("timeoutSeconds", 1),
        "period_seconds": reader.number("periodSeconds", 10),
        "failure_threshold": reader.number("failureThreshold", 3),
    }
    if handler is None:
        return None
    return Probe(
        handler,
        success_threshold=success,
        termination_grace_period_seconds=grace if type(grace) is int else None,
        **times,
    )


def _read_handler(reader: FieldReader) -> Handler | None:
    given = [name for name in HANDLERS if reader.value.get(name) is not None]
    if not given:
        reader.invalid("", "Required value: must specify a handler type")
        return None
    for name in given[1:]:
        reader.invalid(name, "Forbidden: may not specify more than 1 handler type")
    action = reader.mapping(given[0])
    if action is None:
        return None
    match given[0]:
        case "httpGet":
            return read_http_get(action)
        case "tcpSocket":
            action.only({"port", "host"})
            return TCPSocketAction(_read_port(action), action.text("host"))
        case "grpc":
            action.only({"port", "service"})
            if not is_port(action.value.get("port")):
                action.invalid_value("port", PORT_RANGE)
                return None
            return GRPCAction(cast("int", action.value["port"]), action.text("service"))
        case _:
            return _read_exec(action)


def read_http_get(action: FieldReader) -> HTTPGetAction:
    """Read an ``httpGet``; every rule that it breaks is an error in ``action.validation``."""
    action.only({"port", "path", "scheme", "host", "httpHeaders"})
    scheme = action.text("scheme", "HTTP")
    if scheme not in ("HTTP", "HTTPS"):
        action.invalid(
            "scheme", f'Unsupported value: {quoted(scheme)}: supported values: "HTTP", "HTTPS"'
        )
    return HTTPGetAction(
        port=_read_port(action),
        path=action.text("path", "/"),
        scheme="HTTPS" if scheme == "HTTPS" else "HTTP",
        host=action.text("host"),
        http_headers=read_http_headers(action),
    )


def read_http_headers(action: FieldReader) -> tuple[HTTPHeader, ...]:
    """Read the headers of an ``httpGet``; what is wrong with them goes to ``action.validation``."""
    entries = action.value.get("httpHeaders")
    if entries is None:
        return ()
    if not isinstance(entries, list | tuple):
        action.invalid_value("httpHeaders", "must be a list of names and values")
        return ()
    headers = []
    for index, entry in enumerate(entries):
        where = f"httpHeaders[{index}]"
        if not isinstance(entry, dict):
            action.invalid(where, f"Invalid value: {quoted(entry)}: must be a mapping")
            continue
        header = FieldReader(entry, f"{action.path}.{where}", action.validation)
        header.only({"name", "value"})
        name = header.text("name")
        if not _HEADER_NAME.fullmatch(name):
            action.invalid(
                "httpHeaders",
                f"Invalid value: {quoted(name)}: a valid HTTP header must consist of alphanumeric "
                "characters or '-' (e.g. 'X-Header-Name', regex used for validation is "
                "'[-A-Za-z0-9]+')",
            )
            continue
        headers.append(HTTPHeader(name, header.text("value")))
    return tuple(headers)


def _read_port(action: FieldReader) -> int | str:
    """Kubernetes' IntOrString: a number, or the name of one of the container's ports."""
    port = action.value.get("port")
    if isinstance(port, str):
        for broken, rule in _port_name_rules(port):
            if broken:
                action.invalid_value("port", rule)
                break
        return port
    if not is_port(port):
        action.invalid_value("port", PORT_RANGE)
        return 0
    return cast("int", port)


def _port_name_rules(name: str) -> list[tuple[bool, str]]:
    # k8s.io/apimachinery/pkg/util/validation IsValidPortName, in its order
    return [
        (len(name) > 15, "must be no more than 15 characters"),
        (
            not re.fullmatch(r"[-a-z0-9]+", name),
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        (not re.search(r"[a-z]", name), "must contain at least one letter (a-z)"),
        ("--" in name, "must not contain consecutive hyphens"),
        (name.startswith("-") or name.endswith("-"), "must not begin or end with a hyphen"),
    ]


def _read_exec(action: FieldReader) -> ExecAction:
    action.only({"command"})
    command = action.value.get("command")
    if not isinstance(command, list | tuple) or not command:
        action.invalid("command", "Required value")
        return ExecAction()
    return ExecAction(tuple(str(word) for word in command))
