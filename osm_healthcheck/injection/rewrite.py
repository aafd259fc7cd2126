"""A probe and what it becomes: the table of the wire contract, applied to one pod.

Only the handler changes. Whatever else a probe says, fields that nobody here knows included,
stays as it is.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

from osm_healthcheck.errors import FieldError
from osm_healthcheck.injection.manifest_probe import HANDLERS, handler_name, uses_the_network
from osm_healthcheck.injection.pods import Container, Manifest, Pod, resolve_port
from osm_healthcheck.probes.constants import (
    HEALTHCHECK_PATH,
    HEALTHCHECK_PORT,
    ORIGINAL_GRPC_PORT,
    ORIGINAL_GRPC_SERVICE,
    ORIGINAL_TCP_PORT,
    ProbeKind,
)
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.probes.probe import (
    ExecAction,
    FieldReader,
    GRPCAction,
    HTTPGetAction,
    Probe,
    TCPSocketAction,
    read_probe,
)
from osm_healthcheck.probes.quote import quoted
from osm_healthcheck.probes.targets import DeclaredProbe

HTTPSMode = Literal["passthrough", "request"]
HTTPS_MODES: tuple[HTTPSMode, ...] = ("passthrough", "request")
# Kubernetes' own fields. Others are kept in the manifest, but not told to the sidecar.
_KNOWN: dict[str, tuple[str, ...]] = {
    "": (
        *HANDLERS,
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
        "terminationGracePeriodSeconds",
    ),
    "httpGet": ("path", "port", "host", "scheme", "httpHeaders"),
    "tcpSocket": ("port", "host"),
    "grpc": ("port", "service"),
    "exec": ("command",),
}
# Fields that the sidecar has no use for: what is wrong with them is the API server's business.
_KUBELETS_OWN = ("successThreshold", "terminationGracePeriodSeconds")


@dataclass(frozen=True, slots=True)
class OriginalProbe:
    """A probe that is ours to rewrite.

    ``value`` is the mapping in the manifest, ``declaration`` what the sidecar is told of it: the
    fields that Kubernetes knows, the port as a number. ``declared`` is the same, read.
    """

    value: Manifest
    declaration: Manifest
    declared: DeclaredProbe

    @property
    def container(self) -> str:
        """The name of its container."""
        return self.declared.container

    @property
    def kind(self) -> ProbeKind:
        """Which of the container's probes it is."""
        return self.declared.kind

    @property
    def handler(self) -> HTTPGetAction | TCPSocketAction | GRPCAction:
        """What it asks; its port is a number."""
        return cast("HTTPGetAction | TCPSocketAction | GRPCAction", self.declared.probe.handler)

    @property
    def scheme(self) -> str:
        """``HTTP``, ``HTTPS``, or empty where it is no ``httpGet``."""
        return self.handler.scheme if isinstance(self.handler, HTTPGetAction) else ""


def read_original(
    pod: Pod,
    container: Container,
    kind: ProbeKind,
    mistakes: list[FieldError],
    notes: list[FieldError],
) -> OriginalProbe | None:
    """Read one probe; ``None`` where it is not ours, or wrong.

    Its mistakes go to ``mistakes``; why it is left alone, or what of it, to ``notes``.
    """
    own = OwnPorts()
    where = f"{pod.where}: {container.name}.{kind.field}"
    value = container.value[kind.field]
    if not isinstance(value, dict):
        mistakes.append(FieldError(where, f"Invalid value: {quoted(value)}: must be a mapping"))
        return None
    found: list[FieldError] = []
    known, unknown = _known_part(value)
    probe = read_probe(FieldReader(known, where, found), kind)
    for name in _KUBELETS_OWN:
        wrong = [one for one in found if one.where == f"{where}.{name}"]
        if wrong and probe is not None:
            known.pop(name)
            found = [one for one in found if one not in wrong]
            notes += [
                FieldError(one.where, f"warning: kept as it is: {one.problem}") for one in wrong
            ]
    if found or probe is None:
        mistakes += found
        return None
    if isinstance(probe.handler, ExecAction):
        return None
    name = handler_name(value)
    if not isinstance(probe.handler, GRPCAction) and probe.handler.host:
        notes.append(
            FieldError(
                where,
                f"left alone: its host {quoted(probe.handler.host)} is another machine (127.0.0.1 "
                "is the node, not the pod); without host it asks the pod",
            )
        )
        return None
    port, problem = resolve_port(probe.handler.port, container)
    if port is None:
        mistakes.append(FieldError(f"{where}.{name}.port", problem))
        return None
    if port in own:
        mistakes.append(
            FieldError(
                f"{where}.{name}.port",
                f"Invalid value: {quoted(probe.handler.port)}: port {port} belongs to "
                "osm-healthcheck; let the app listen on another one",
            )
        )
        return None
    if isinstance(probe.handler, GRPCAction) and not _fits_a_header(probe.handler.service):
        mistakes.append(
            FieldError(
                f"{where}.grpc.service",
                f"Invalid value: {quoted(probe.handler.service)}: cannot be sent as a header: no "
                "control characters, no white space at the ends",
            )
        )
        return None
    if unknown:
        notes.append(FieldError(where, f"unknown fields kept as they are: {', '.join(unknown)}"))
    known[name] = {**cast("Manifest", known[name]), "port": port}
    handler = replace(probe.handler, port=port)
    return OriginalProbe(
        value, known, DeclaredProbe(container.name, kind, replace(probe, handler=handler))
    )


def rewritten(originals: Sequence[OriginalProbe], https: HTTPSMode) -> list[Manifest]:
    """What each of the probes of one pod becomes, in their order."""
    schemes = Counter((one.kind, one.scheme) for one in originals)

    def rewrite(one: OriginalProbe) -> Manifest:
        kind = one.kind
        match one.handler:
            case HTTPGetAction(scheme="HTTP"):
                alone = schemes[kind, "HTTP"] == 1
                path = kind.path if alone else f"{kind.path}/{one.container}"
                return _changed(one, {"path": path, "port": kind.port})
            case HTTPGetAction():
                if https == "passthrough" and schemes[kind, "HTTPS"] == 1:
                    return _changed(one, {"port": kind.port})
                path = f"{kind.path}/{one.container}"
                return _changed(one, {"path": path, "port": kind.port, "scheme": "HTTP"})
            case TCPSocketAction(port=port):
                return _check(one, "tcpSocket", {ORIGINAL_TCP_PORT: str(port)})
            case GRPCAction(port=port, service=service):
                headers = {ORIGINAL_GRPC_PORT: str(port)}
                if service:
                    headers[ORIGINAL_GRPC_SERVICE] = service
                return _check(one, "grpc", headers)

    return [rewrite(one) for one in originals]


def declaration_of(originals: Iterable[OriginalProbe]) -> dict[str, Manifest]:
    """What the sidecar is told: its ``OSM_HEALTHCHECK_PROBES``, not yet JSON."""
    declared: dict[str, Manifest] = {}
    for one in originals:
        declared.setdefault(one.container, {})[one.kind.field] = one.declaration
    return declared


def restored(current: Manifest, saved: Manifest) -> Manifest:
    """The probe whose original is ``saved`` and which stands there as ``current`` by now.

    Only the handler was changed by us. The other fields are whatever they are today: somebody
    may have edited them since, and the API server fills in defaults.
    """
    fields = {name: value for name, value in current.items() if name not in HANDLERS}
    if fields == {name: value for name, value in saved.items() if name not in HANDLERS}:
        return saved
    return {name: value for name, value in saved.items() if name in HANDLERS} | fields


def _changed(one: OriginalProbe, changes: Manifest) -> Manifest:
    action = cast("Manifest", one.value["httpGet"])
    return {**one.value, "httpGet": {**action, **changes}}


def _check(one: OriginalProbe, handler: str, headers: Mapping[str, str]) -> Manifest:
    """A request to the check endpoint, in the place of ``handler``."""
    action: Manifest = {
        "httpHeaders": [{"name": name, "value": value} for name, value in headers.items()],
        "path": HEALTHCHECK_PATH,
        "port": HEALTHCHECK_PORT,
        "scheme": "HTTP",
    }
    return {
        ("httpGet" if name == handler else name): (action if name == handler else value)
        for name, value in one.value.items()
        if name != "httpGet"  # it may stand there as null
    }


def _known_part(probe: Manifest) -> tuple[Manifest, list[str]]:
    """The fields of a probe that Kubernetes knows and that say something, and all others' names."""
    unknown: list[str] = []

    def pick(value: Mapping[str, object], known: Sequence[str], path: str) -> Manifest:
        unknown.extend(f"{path}{name}" for name in value if name not in known)
        return {name: value[name] for name in value if name in known and value[name] is not None}

    picked = pick(probe, _KNOWN[""], "")
    for name in HANDLERS:
        action = picked.get(name)
        if isinstance(action, dict):
            picked[name] = action = pick(action, _KNOWN[name], f"{name}.")
            headers = action.get("httpHeaders")
            if name == "httpGet" and isinstance(headers, list):
                action["httpHeaders"] = [
                    pick(header, ("name", "value"), "httpGet.httpHeaders.")
                    if isinstance(header, dict)
                    else header
                    for header in headers
                ]
    return picked, unknown


def _fits_a_header(text: str) -> bool:
    return text == text.strip(" \t") and all(c >= " " and c != "\x7f" for c in text)


def is_check(probe: Probe) -> bool:
    """Whether 15904 answers for it, and no probe proxy."""
    return not isinstance(probe.handler, HTTPGetAction)


def why_no_probe_is_ours(pod: Pod) -> str:
    """Why none of the pod's probes is to be rewritten: it has none, or all were left alone."""
    kinds = "httpGet, tcpSocket or grpc probe"
    if any(uses_the_network(probe) for one in pod.containers for _, probe in one.probes()):
        return f"every {kinds} is left alone"
    return f"no {kinds}"
