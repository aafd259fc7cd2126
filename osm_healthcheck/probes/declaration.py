"""How probes are declared to the sidecar: as JSON, or in short as one URL a kind.

The JSON is ``{"<container>": {"livenessProbe": {…}, …}}`` with Kubernetes' own probes in it, and
``httpGet`` hooks: ``{"<container>": {"lifecycle": {"preStop": {"httpGet": {…}}}}}``.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import cast

from osm_healthcheck.errors import FieldError, InvalidInputError, Validation
from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.probes.hooks import DeclaredHook, LifecycleHook
from osm_healthcheck.probes.ports import OwnPorts, parse_port
from osm_healthcheck.probes.probe import (
    ExecAction,
    FieldReader,
    GRPCAction,
    Handler,
    HTTPGetAction,
    Probe,
    TCPSocketAction,
    read_http_get,
    read_probe,
)
from osm_healthcheck.probes.quote import quoted
from osm_healthcheck.probes.targets import DeclaredProbe

# The short form is for one container, which needs no name but for its paths and its log lines.
SHORT_FORM_CONTAINER = "app"
_LIFECYCLE = "lifecycle"
_CONTAINER_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SHORT_FORM = r"(?P<scheme>[a-z]+)://(?P<host>[^/?#]*?):(?P<port>[0-9]+)(?P<rest>(?s:[/?#].*)?)"
_EXAMPLES = "http://:14001/liveness, https://:8443/healthz, tcp://:5432 or grpc://:50051/my.Service"


def read_declaration(text: str, where: str, own: OwnPorts) -> tuple[DeclaredProbe, ...]:
    """Read declared probes from JSON; ``where`` names the option they came by.

    Raises:
        InvalidInputError: with every error in it.
    """
    return read_all_declared(text, where, own)[0]


def read_hooks(text: str, where: str, own: OwnPorts) -> tuple[DeclaredHook, ...]:
    """Read the lifecycle hooks that the same JSON declares.

    Raises:
        InvalidInputError: with every error in it.
    """
    return read_all_declared(text, where, own)[1]


def read_all_declared(
    text: str, where: str, own: OwnPorts, most: int | None = None
) -> tuple[tuple[DeclaredProbe, ...], tuple[DeclaredHook, ...]]:
    """Read both: see `read_declaration` and `read_hooks`. Beyond ``most`` together none is read.

    Raises:
        InvalidInputError: with every error in it.
    """
    document = _read_json(text, where)
    validation = Validation()
    probes: list[DeclaredProbe] = []
    hooks: list[DeclaredHook] = []
    for container, fields in document.items():
        path = f"{where}: {container}"
        if not _CONTAINER_NAME.fullmatch(container):
            validation.error(
                path, "not a container name: up to 63 of a-z, 0-9 and -, no - at the ends"
            )
        if not isinstance(fields, Mapping):
            validation.error(path, "must be a mapping from livenessProbe, … to probes")
            continue
        reader = FieldReader(cast("Mapping[str, object]", fields), path, validation)
        reader.only({kind.field for kind in ProbeKind} | {_LIFECYCLE})
        probes += _read_probes(reader, container, own)
        hooks += _read_lifecycle(reader, container, own)
        if most is not None and len(probes) + len(hooks) > most:
            problem = f"more than {most} probes and lifecycle hooks are declared"
            raise InvalidInputError([FieldError(where, problem)])
    validation.raise_errors()
    return tuple(probes), tuple(hooks)


def _read_json(text: str, where: str) -> Mapping[str, object]:
    try:
        document = json.loads(text, object_pairs_hook=_no_repeats)
    except _RepeatedKeyError as repeated:
        raise InvalidInputError(
            [FieldError(where, f"the key {repeated} stands there twice")]
        ) from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        problem = f"it is not JSON: {reason}"
        if not text.strip():
            problem = "it is empty; {} declares no probe"
        raise InvalidInputError([FieldError(where, problem)]) from None
    if not isinstance(document, dict):
        raise InvalidInputError(
            [FieldError(where, "must be a mapping from container names to probes")]
        )
    try:
        json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidInputError(
            [FieldError(where, "a text in it holds half a character (\\ud800 to \\udfff)")]
        ) from None
    return document


def _read_probes(reader: FieldReader, container: str, own: OwnPorts) -> Iterator[DeclaredProbe]:
    for kind in ProbeKind:
        if (field := _present(reader, kind.field)) is None:
            continue
        probe = read_probe(field, kind)
        if probe is not None:
            _check_for_sidecar(probe.handler, field, own)
            yield DeclaredProbe(container, kind, probe)


def _read_lifecycle(reader: FieldReader, container: str, own: OwnPorts) -> Iterator[DeclaredHook]:
    if (lifecycle := _present(reader, _LIFECYCLE)) is None:
        return
    lifecycle.only({hook.value for hook in LifecycleHook})
    for hook in LifecycleHook:
        if (field := _present(lifecycle, hook.value)) is None:
            continue
        field.only({"httpGet"})
        if (value := field.mapping("httpGet")) is None:
            field.invalid("", "Required value: must be an httpGet")
            continue
        action = read_http_get(value)
        _check_for_sidecar(action, field, own)
        yield DeclaredHook(container, hook, action)


def _present(reader: FieldReader, name: str) -> FieldReader | None:
    """The mapping in field ``name``; ``None`` where the field is not there, or wrong."""
    if name not in reader.value:
        return None
    if reader.value[name] is None:
        reader.invalid(name, "Required value: leave the key out instead of null")
    return reader.mapping(name)


def read_short_form(text: str, where: str, kind: ProbeKind, own: OwnPorts) -> DeclaredProbe:
    """Read one probe from a URL such as ``http://:14001/liveness``.

    Raises:
        InvalidInputError: where it is no such URL.
    """

    def refuse(problem: str) -> InvalidInputError:
        return InvalidInputError([FieldError(where, f"{quoted(text)} {problem}")])

    match = re.fullmatch(_SHORT_FORM, text)
    if match is None:
        raise refuse(f"is not a probe: write {_EXAMPLES}")
    if match["host"]:
        raise refuse("names a host: leave it out, the sidecar asks its own pod (--target-host)")
    port = parse_port(match["port"])
    if port is None:
        raise refuse("has no port from 1 to 65535")
    if port in own:
        raise refuse(f"is aimed at port {port}, which is the sidecar's own")
    rest = match["rest"]
    handler: Handler
    match match["scheme"]:
        case "http":
            handler = HTTPGetAction(port, rest or "/")
        case "https":
            handler = HTTPGetAction(port, rest or "/", "HTTPS")
        case "tcp" if rest in ("", "/"):
            handler = TCPSocketAction(port)
        case "grpc" if re.fullmatch(r"(/[^/?#]*)?", rest):
            handler = GRPCAction(port, rest[1:])
        case _:
            raise refuse(f"is not a probe: write {_EXAMPLES}")
    return DeclaredProbe(SHORT_FORM_CONTAINER, kind, Probe(handler))


def _check_for_sidecar(handler: Handler, field: FieldReader, own: OwnPorts) -> None:
    """What Kubernetes allows and the sidecar cannot serve."""
    if isinstance(handler, ExecAction):
        field.invalid("exec", "Forbidden: the kubelet runs it inside the container; leave it out")
        return
    name = {HTTPGetAction: "httpGet", TCPSocketAction: "tcpSocket", GRPCAction: "grpc"}[
        type(handler)
    ]
    if isinstance(handler.port, str):
        field.invalid(
            f"{name}.port",
            f"Invalid value: {quoted(handler.port)}: must be a number (inject resolves names)",
        )
    elif handler.port in own:
        field.invalid(
            f"{name}.port", f"Invalid value: {handler.port}: is one of the sidecar's own ports"
        )
    if not isinstance(handler, GRPCAction) and handler.host:
        field.invalid(
            f"{name}.host",
            f"Invalid value: {quoted(handler.host)}: such a probe asks another machine; "
            "leave it to the kubelet",
        )


class _RepeatedKeyError(Exception):
    pass


def _no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise _RepeatedKeyError(quoted(key))
        found[key] = value
    return found
