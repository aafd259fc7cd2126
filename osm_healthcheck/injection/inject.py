"""Injection: a pod's probes rewritten, and what answers them put beside its containers.

It always starts from what was there before us: earlier work of ours is undone first. So doing it
twice changes nothing, and a newer version replaces the work of an older one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from osm_healthcheck.errors import FieldError
from osm_healthcheck.injection.containers import (
    DEFAULT_USER,
    Images,
    init_container,
    is_guaranteed,
    sidecar_container,
)
from osm_healthcheck.injection.manifest_probe import asks_the_pod
from osm_healthcheck.injection.mesh import Mesh, extended, with_user
from osm_healthcheck.injection.opt_out import (
    OSM_INJECTION,
    containers_to_skip,
    is_injected_by_osm,
    reason_to_skip,
)
from osm_healthcheck.injection.pods import (
    INIT_CONTAINER,
    SIDECAR,
    Container,
    Manifest,
    ManifestChange,
    Pod,
    each_pod,
)
from osm_healthcheck.injection.record import Record
from osm_healthcheck.injection.rewrite import (
    HTTPSMode,
    OriginalProbe,
    declaration_of,
    is_check,
    read_original,
    rewritten,
    why_no_probe_is_ours,
)
from osm_healthcheck.injection.uninject import (
    LOST_RECORD,
    has_lost_record,
    is_rewritten,
    undo,
)
from osm_healthcheck.probes.constants import HEALTHCHECK_PORT


@dataclass(frozen=True, slots=True)
class Injection:
    """How to inject.

    ``proxy`` says who answers on 15901-15903: our ``sidecar`` or the proxy of the ``mesh``.
    ``user`` is the sidecar's, ``None`` for the cluster's choice; ``init`` allows the init
    container where the mesh has no annotation for its work.
    """

    mesh: Mesh
    images: Images
    version: str
    sidecar: Literal["native", "container"] = "native"
    https: HTTPSMode = "passthrough"
    proxy: Literal["sidecar", "mesh"] = "sidecar"
    user: int | None = DEFAULT_USER
    init: bool = True


def inject(manifest: object, injection: Injection) -> ManifestChange:
    """Inject the pods of one document; other kinds pass through.

    Raises:
        InvalidInputError: with every mistake in the document.
    """

    def change(pod: Pod, mistakes: list[FieldError], notes: list[FieldError]) -> None:
        noted = len(mistakes)
        undone = undo(pod, injection.version, mistakes)
        if len(mistakes) == noted and not injection.mesh.injector:
            _inject(undone, injection, mistakes, notes)

    return each_pod(manifest, change)


def originals_of(
    pod: Pod, mistakes: list[FieldError], notes: list[FieldError], *, native: bool = True
) -> list[OriginalProbe]:
    """The probes of ``pod`` that are ours to rewrite, in the order of its containers.

    ``native`` says whether our sidecar starts before native sidecars, and so can answer for them.
    """
    originals = []
    for container in _looked_at(pod, mistakes, notes, native=native):
        for kind, _ in container.probes():
            if (original := read_original(pod, container, kind, mistakes, notes)) is not None:
                originals.append(original)
    return originals


def ports_for(originals: Sequence[OriginalProbe], *, sidecar: bool) -> list[int]:
    """The ports of ours that a pod with these probes uses, sorted."""
    ports = {one.kind.port for one in originals if not is_check(one.declared.probe)}
    return sorted(ports | ({HEALTHCHECK_PORT} if sidecar else set()))


def _inject(
    pod: Pod, injection: Injection, mistakes: list[FieldError], notes: list[FieldError]
) -> None:
    noted = len(mistakes)
    if reason := reason_to_skip(pod, mistakes):
        notes.append(FieldError(pod.where, f"left alone: {reason}"))
        return
    if has_lost_record(pod):
        _leave_alone(pod, mistakes, notes)
        return
    originals = originals_of(pod, mistakes, notes, native=injection.sidecar == "native")
    if len(mistakes) > noted:
        return
    if not originals:
        notes.append(FieldError(pod.where, f"nothing to rewrite: {why_no_probe_is_ours(pod)}"))
        return
    answered = [
        one for one in originals if injection.proxy == "sidecar" or is_check(one.declared.probe)
    ]
    ports = ports_for(originals, sidecar=bool(answered))
    with_init = injection.init and not injection.mesh.ports
    added = [SIDECAR] * bool(answered) + [INIT_CONTAINER] * with_init
    _check_surroundings(pod, injection, ports, added, mistakes, notes)
    record = Record(injection.version)
    user = injection.user if answered else None
    annotations = _mesh_annotations(pod, injection.mesh, ports, user, record, mistakes, notes)
    if injection.mesh.users and answered and injection.user is None:
        notes.append(
            FieldError(
                pod.where,
                f"warning: {injection.mesh.name} takes the sidecar's questions to the app: name "
                f"its user in {injection.mesh.users}, or give --run-as-user a number",
            )
        )
    if len(mistakes) > noted:
        return
    guaranteed = is_guaranteed(pod)
    for one, value in zip(originals, rewritten(originals, injection.https), strict=True):
        record.probes.setdefault(one.container, {})[one.kind.field] = one.value
        cast("Container", pod.container(one.container)).value[one.kind.field] = value
    first = []
    if with_init:
        first.append(init_container(ports, injection.images, guaranteed=guaranteed))
    if answered:
        sidecar = sidecar_container(
            declaration_of(answered),
            injection.images,
            injection.sidecar,
            injection.user,
            guaranteed=guaranteed,
        )
        if injection.sidecar == "native":
            first.append(sidecar)
        else:
            pod.spec["containers"] = [*cast("list[Manifest]", pod.spec["containers"]), sidecar]
    if first:
        listed = cast("list[Manifest] | None", pod.spec.get("initContainers"))
        if not listed and "initContainers" in pod.spec:
            record.empty["spec.initContainers"] = listed
        _put(pod.spec, "initContainers", [*first, *(listed or [])], before="containers")
    _annotate(pod, annotations, record)


def _looked_at(
    pod: Pod, mistakes: list[FieldError], notes: list[FieldError], *, native: bool
) -> list[Container]:
    """The containers whose probes are ours to rewrite."""
    skipped = containers_to_skip(pod, mistakes, notes)
    found = []
    for container in pod.containers:
        where = f"{pod.where}: {container.name}"
        fields = [kind.field for kind, _ in container.probes()]
        if not fields:
            continue
        if pod.is_mesh_container(container):
            notes.append(FieldError(where, "left alone: it is the mesh's own container"))
        elif container.name in skipped:
            notes.append(FieldError(where, "left alone: the annotation skip-containers names it"))
        elif container.starts_before_containers and not container.is_native_sidecar:
            mistakes.extend(
                FieldError(
                    f"{where}.{field}",
                    "Forbidden: may not be set for init containers without restartPolicy=Always",
                )
                for field in fields
            )
        elif container.is_native_sidecar and not native:
            notes.append(
                FieldError(
                    where,
                    "left alone: it starts before osm-healthcheck does; with --sidecar native it "
                    "would not",
                )
            )
        else:
            found.append(container)
    return found


def _leave_alone(pod: Pod, mistakes: list[FieldError], notes: list[FieldError]) -> None:
    """A pod that was injected and whose record is lost: all of it is done, or it is an error."""
    direct = [
        FieldError(
            f"{pod.where}: {container.name}.{kind.field}",
            f"this probe is not rewritten; of others, {LOST_RECORD}: inject the original manifest",
        )
        for container in pod.containers
        if container.name != SIDECAR and not pod.is_mesh_container(container)
        for kind, probe in container.probes()
        if asks_the_pod(probe) and not is_rewritten(probe, pod, container, kind)
    ]
    mistakes += direct
    if not direct:
        notes.append(FieldError(pod.where, f"left alone: {LOST_RECORD}"))


def _check_surroundings(
    pod: Pod,
    injection: Injection,
    ports: Sequence[int],
    added: Sequence[str],
    mistakes: list[FieldError],
    notes: list[FieldError],
) -> None:
    """What else in the pod stands in the way of our containers."""
    for container in pod.containers:
        where = f"{pod.where}: {container.name}"
        if container.name in added:
            mistakes.append(
                FieldError(
                    f"{where}.name", "is not ours, but has the name of our container: rename it"
                )
            )
        if pod.is_mesh_container(container):
            continue
        mistakes.extend(
            FieldError(
                f"{where}.ports",
                f"containerPort {port['containerPort']} belongs to osm-healthcheck: containers of "
                "a pod share their ports; let the app listen on another one",
            )
            for port in container.ports()
            if port.get("containerPort") in ports and port.get("protocol") in (None, "", "TCP")
        )
        if _user_of(container, pod) == injection.mesh.proxy_user:
            notes.append(
                FieldError(
                    where,
                    f"warning: runs as user {injection.mesh.proxy_user}, as the mesh's proxy does: "
                    "its connections are not redirected",
                )
            )
    if is_injected_by_osm(pod):
        notes.append(
            FieldError(
                pod.where,
                f"warning: its annotation {OSM_INJECTION} asks OSM to rewrite the probes once "
                "more: use --mesh osm",
            )
        )
    if injection.sidecar == "container" and SIDECAR in added:
        if pod.kind in ("Job", "CronJob"):
            mistakes.append(
                FieldError(pod.where, "would never complete with --sidecar container: use native")
            )
        elif pod.spec.get("restartPolicy") in ("Never", "OnFailure"):
            notes.append(
                FieldError(
                    pod.where, "warning: never completes with --sidecar container: use native"
                )
            )


def _user_of(container: Container, pod: Pod) -> object:
    for context in (container.value.get("securityContext"), pod.spec.get("securityContext")):
        if isinstance(context, dict) and context.get("runAsUser") is not None:
            return context["runAsUser"]
    return None


def _mesh_annotations(
    pod: Pod,
    mesh: Mesh,
    ports: Sequence[int],
    user: int | None,
    record: Record,
    mistakes: list[FieldError],
    notes: list[FieldError],
) -> dict[str, str]:
    """The annotations that let our ports past the mesh, and ``user``, noted in ``record``."""
    written: dict[str, str] = {}
    lists = [mesh.ports] if mesh.ports else []
    if mesh.users and user is not None:
        lists.append(mesh.users)
    for name in [*lists, *mesh.switches]:
        was = pod.annotations.get(name)
        where = f"{pod.where}: metadata.annotations: {name}"
        if not isinstance(was, str | None):
            mistakes.append(FieldError(where, "Invalid value: must be a string, in quotes"))
        elif name == mesh.ports:
            try:
                written[name] = extended(was or "", ports)
            except ValueError as error:
                mistakes.append(FieldError(where, str(error)))
                continue
        elif name == mesh.users:
            written[name] = with_user(was or "", cast("int", user))
        elif was not in (None, mesh.switches[name]):
            notes.append(
                FieldError(
                    where,
                    f'warning: stays "{was}" as you set it; with "{mesh.switches[name]}" '
                    f"{mesh.name} would not rewrite the probes once more",
                )
            )
            continue
        else:
            written[name] = mesh.switches[name]
        if name in written:
            record.annotations[name] = (cast("str | None", was), written[name])
    return written


def _annotate(pod: Pod, annotations: dict[str, str], record: Record) -> None:
    metadata = pod.value.get("metadata")
    if not metadata:
        if "metadata" in pod.value:
            record.empty["metadata"] = metadata
        metadata = {}
        _put(pod.value, "metadata", metadata, before="spec")
    metadata = cast("Manifest", metadata)
    if not metadata.get("annotations"):
        if "annotations" in metadata:
            record.empty["metadata.annotations"] = metadata["annotations"]
        metadata["annotations"] = {}
    cast("Manifest", metadata["annotations"]).update(annotations | record.as_annotations())


def _put(mapping: Manifest, key: str, value: object, *, before: str) -> None:
    """Set ``key``; where it is new, in front of the key ``before``."""
    if key in mapping or before not in mapping:
        mapping[key] = value
        return
    items = list(mapping.items())
    mapping.clear()
    for name, entry in items:
        if name == before:
            mapping[key] = value
        mapping[name] = entry
