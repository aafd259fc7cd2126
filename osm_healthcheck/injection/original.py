"""The probes of a pod that are ours to rewrite, each with what the sidecar is told of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.manifest_probe import handler_name
from osm_healthcheck.injection.mesh_rewrites import rewriting_mesh
from osm_healthcheck.injection.opt_out import containers_to_skip
from osm_healthcheck.injection.pods import Container, Manifest, Pod
from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.probes.probe import (
    FIELDS,
    HANDLERS,
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

# Kubernetes' own fields. Others are kept in the manifest, but not told to the sidecar.
_KNOWN: dict[str, tuple[str, ...]] = {
    "": FIELDS,
    "httpGet": ("path", "port", "host", "scheme", "httpHeaders"),
    "tcpSocket": ("port", "host"),
    "grpc": ("port", "service"),
    "exec": ("command",),
}
# Fields that the sidecar has no use for: what is wrong with them is the API server's business.
_IGNORED_BY_SIDECAR = ("successThreshold", "terminationGracePeriodSeconds")


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


def original_probes(
    pod: Pod, validation: Validation, *, native: bool = True
) -> list[OriginalProbe]:
    """The probes of ``pod`` that are ours to rewrite, in the order of its containers.

    ``native`` says whether our sidecar starts before native sidecars, and so can answer for them.
    """
    return [
        probe
        for container in eligible_containers(pod, validation, native=native)
        for kind, _ in container.probes()
        if (probe := read_original(pod, container, kind, validation)) is not None
    ]


def read_original(
    pod: Pod, container: Container, kind: ProbeKind, validation: Validation
) -> OriginalProbe | None:
    """Read one probe; ``None`` where it is not ours to rewrite, or wrong.

    What is wrong with it is an error in ``validation``; why it is left alone, or what of it is
    kept unread, a warning.
    """
    where = f"{pod.where}: {container.name}.{kind.field}"
    value = container.value[kind.field]
    if not isinstance(value, dict):
        validation.error(where, f"Invalid value: {quoted(value)}: must be a mapping")
        return None
    if mesh := rewriting_mesh(value, pod, container, kind):
        validation.warn(
            where,
            f"left alone: {mesh} has rewritten it, and its proxy answers; inject the manifest "
            "from before that",
        )
        return None
    if all(value.get(name) is None for name in HANDLERS):
        validation.warn(
            where,
            f"left alone: it has no handler ({', '.join(HANDLERS)}), which the API server does not "
            "accept",
        )
        return None
    known, unknown = known_part(value)
    probe = _read_known(known, where, kind, validation)
    if probe is None or isinstance(probe.handler, ExecAction):
        return None
    if not isinstance(probe.handler, GRPCAction) and probe.handler.host:
        validation.warn(
            where,
            f"left alone: its host {quoted(probe.handler.host)} is another machine (127.0.0.1 "
            "is the node, not the pod); without host it asks the pod",
        )
        return None
    name = handler_name(value)
    found = Validation()
    port = resolved_port(probe.handler.port, container, f"{where}.{name}.port", found)
    if isinstance(probe.handler, GRPCAction) and not _fits_a_header(probe.handler.service):
        found.error(
            f"{where}.grpc.service",
            f"Invalid value: {quoted(probe.handler.service)}: cannot be sent to the sidecar as a "
            "header: only printable characters, and no white space at the ends",
        )
    validation.include(found)
    if found.errors:
        return None
    if unknown:
        validation.warn(where, f"unknown fields kept as they are: {', '.join(unknown)}")
    if port != probe.handler.port:
        known[name] = {**cast("Manifest", known[name]), "port": port}
        probe = probe._replace(handler=replace(probe.handler, port=port))
    return OriginalProbe(value, known, DeclaredProbe(container.name, kind, probe))


def eligible_containers(pod: Pod, validation: Validation, *, native: bool) -> list[Container]:
    """The containers whose probes and hooks are ours to rewrite.

    Why one with probes is left alone is a warning; ``native`` as in ``original_probes``.
    """
    skipped = containers_to_skip(pod, validation)
    found = []
    for container in pod.containers:
        where = f"{pod.where}: {container.name}"
        fields = [kind.field for kind, _ in container.probes()]
        reason = ""
        if pod.is_mesh_container(container):
            reason = "it is the mesh's own container"
        elif container.name in skipped:
            reason = "the annotation skip-containers names it"
        elif container.starts_before_containers and not container.is_native_sidecar:
            for field in fields:
                validation.error(
                    f"{where}.{field}",
                    "Forbidden: may not be set for init containers without restartPolicy=Always",
                )
            continue
        elif container.is_native_sidecar and not native:
            reason = "it starts before osm-healthcheck does; with --sidecar native it would not"
        else:
            found.append(container)
        if reason and fields:
            validation.warn(where, f"left alone: {reason}")
    return found


def _read_known(
    known: Manifest, where: str, kind: ProbeKind, validation: Validation
) -> Probe | None:
    """Read the fields that Kubernetes knows; ``None`` where there are errors.

    A wrong value of a field that the sidecar has no use for is taken out of ``known``.
    """
    found = Validation()
    probe = read_probe(FieldReader(known, where, found), kind)
    if probe is None:
        validation.include(found)
        return None
    ignored = {f"{where}.{name}": name for name in _IGNORED_BY_SIDECAR}
    errors = [one for one in found.errors if one.where not in ignored]
    validation.errors += errors
    for one in found.errors:
        if one.where in ignored:
            known.pop(ignored[one.where], None)
            validation.warn(one.where, f"warning: kept as it is: {one.problem}")
    return None if errors else probe


def resolved_port(port: int | str, container: Container, where: str, validation: Validation) -> int:
    """The number of ``port``; what is wrong with it is an error at ``where``."""
    try:
        number = container.resolve_port(port)
    except ValueError as error:
        validation.error(where, str(error))
        return 0
    if number in OwnPorts():
        validation.error(
            where,
            f"Invalid value: {quoted(port)}: port {number} belongs to osm-healthcheck; let the "
            "app listen on another one",
        )
    protocol = container.protocol_of(port)
    if protocol not in ("TCP", ""):
        validation.warn(
            where,
            f"warning: {quoted(port)} is a port of {protocol}, and the kubelet asks it over TCP",
        )
    return number


def known_part(probe: Manifest) -> tuple[Manifest, list[str]]:
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
    return text == text.strip() and text.isprintable()
