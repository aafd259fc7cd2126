"""Injection: rewrites the probes of a pod and adds the containers that answer them.

An earlier injection is undone first. So injecting twice changes nothing, and a newer version
replaces what an older one did.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.containers import (
    DEFAULT_USER,
    Images,
    environment_value,
    init_container,
    sidecar_container,
)
from osm_healthcheck.injection.hooks import (
    OriginalHook,
    check_hooks,
    original_hooks,
    set_hook,
    warn_of_left_hooks,
)
from osm_healthcheck.injection.limits import (
    check_annotations,
    check_request,
    check_requests,
    check_variable,
)
from osm_healthcheck.injection.manifest_probe import asks_the_pod
from osm_healthcheck.injection.mesh import Mesh
from osm_healthcheck.injection.mesh_annotations import mesh_annotations
from osm_healthcheck.injection.opt_out import reason_to_skip
from osm_healthcheck.injection.original import OriginalProbe, original_probes
from osm_healthcheck.injection.pod_checks import (
    check_completion,
    check_containers,
    check_pod,
    warn_of_passthrough,
    warn_of_update,
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
from osm_healthcheck.injection.resources import (
    init_resources,
    raise_pod_resources,
    sidecar_resources,
)
from osm_healthcheck.injection.rewrite import (
    HTTPSMode,
    declaration_of,
    is_check,
    rewritten,
    why_no_probe_is_ours,
)
from osm_healthcheck.injection.uninject import (
    LOST_RECORD,
    has_lost_record,
    is_rewritten,
    undo,
)
from osm_healthcheck.injection.unknown_kinds import warn_of_unknown_kinds
from osm_healthcheck.probes.constants import HEALTHCHECK_PORT


@dataclass(frozen=True, slots=True)
class Injection:
    """How to inject.

    ``proxy`` says what answers on 15901-15903: our ``sidecar`` or the proxy of the ``mesh``.
    ``user`` is the sidecar's user ID, ``None`` leaves it to the cluster; ``init`` allows the init
    container where the mesh has no annotation that excludes ports. ``hooks`` says what becomes of
    ``httpGet`` lifecycle hooks.
    """

    mesh: Mesh
    images: Images
    version: str
    sidecar: Literal["native", "container"] = "native"
    https: HTTPSMode = "passthrough"
    proxy: Literal["sidecar", "mesh"] = "sidecar"
    user: int | None = DEFAULT_USER
    init: bool = True
    hooks: Literal["rewrite", "leave"] = "rewrite"


def inject(manifest: object, injection: Injection) -> ManifestChange:
    """Inject the pods of one document; other kinds pass through.

    Raises:
        InvalidInputError: with every error in the document.
    """

    def change(pod: Pod, validation: Validation) -> None:
        undone = undo(pod, injection.version, validation)
        if not validation.errors and not injection.mesh.injector:
            _inject(undone, injection, validation)

    outcome = each_pod(manifest, change)
    validation = Validation()
    warn_of_unknown_kinds(manifest, validation)
    return replace(outcome, warnings=(*outcome.warnings, *validation.warnings))


def ports_for(originals: Sequence[OriginalProbe], *, sidecar: bool) -> list[int]:
    """Those of 15901-15904 that a pod with these probes uses, sorted."""
    ports = {one.kind.port for one in originals if not is_check(one.declared.probe)}
    return sorted(ports | ({HEALTHCHECK_PORT} if sidecar else set()))


def _inject(pod: Pod, injection: Injection, validation: Validation) -> None:
    if reason := reason_to_skip(pod, validation):
        validation.warn(pod.where, f"left alone: {reason}")
        return
    if has_lost_record(pod):
        _leave_alone(pod, validation)
        return
    native = injection.sidecar == "native"
    originals = original_probes(pod, validation, native=native)
    hooks: list[OriginalHook] = []
    if injection.hooks == "rewrite":
        hooks = original_hooks(pod, validation, native=native)
        check_hooks(pod, hooks, injection.sidecar, validation)
    else:
        warn_of_left_hooks(pod, validation)
    if validation.errors:
        return
    if not originals and not hooks:
        validation.warn(pod.where, f"nothing to rewrite: {why_no_probe_is_ours(pod)}")
        return
    answered = [
        one for one in originals if injection.proxy == "sidecar" or is_check(one.declared.probe)
    ]
    with_sidecar = bool(answered or hooks)
    ports = ports_for(originals, sidecar=with_sidecar)
    with_init = injection.init and not injection.mesh.ports
    added = [SIDECAR] * with_sidecar + [INIT_CONTAINER] * with_init
    check_containers(pod, ports, added, validation)
    check_pod(pod, injection.mesh, validation)
    warn_of_update(pod, validation)
    if with_sidecar and not native:
        check_completion(pod, validation)
    user = injection.user if with_sidecar else None
    annotations = mesh_annotations(pod, injection.mesh, ports, user, validation)
    if injection.mesh.users and with_sidecar and injection.user is None:
        validation.warn(
            pod.where,
            f"warning: {injection.mesh.name} takes the sidecar's questions to the app: name "
            f"its user in {injection.mesh.users}, or give --run-as-user a number",
        )
    if validation.errors:
        return
    changed = list(zip(originals, rewritten(originals, injection.https), strict=True))
    declared = environment_value(declaration_of(answered, hooks))
    warn_of_passthrough(pod, changed, validation)
    check_requests(pod, [one for one in changed if one[0] in answered], validation)
    for hook in hooks:
        where = f"{pod.where}: {hook.declared.container}.{hook.declared.hook.field}"
        check_request(hook.rewritten, f"{where}.httpGet.httpHeaders", validation)
    check_variable(pod, declared, validation)
    record = Record(injection.version, annotations=annotations)
    of_sidecar, of_init = sidecar_resources(pod), init_resources(pod)
    if with_sidecar:
        raise_pod_resources(pod, record, validation)
    if validation.errors:
        return
    for one, value in changed:
        record.probes.setdefault(one.container, {})[one.kind.field] = one.value
        cast("Container", pod.container(one.container)).value[one.kind.field] = value
    for hook in hooks:
        name, kind = hook.declared.container, hook.declared.hook
        record.hooks.setdefault(name, {})[kind.value] = hook.value
        set_hook(cast("Container", pod.container(name)), kind, hook.rewritten)
    first = []
    if with_init:
        first.append(init_container(ports, injection.images, of_init))
    if with_sidecar:
        sidecar = sidecar_container(
            declared, injection.images, injection.sidecar, injection.user, of_sidecar
        )
        if native:
            first.append(sidecar)
        else:
            pod.spec["containers"] = [*cast("list[Manifest]", pod.spec["containers"]), sidecar]
    if first:
        listed = cast("list[Manifest] | None", pod.spec.get("initContainers"))
        if not listed and "initContainers" in pod.spec:
            record.empty["spec.initContainers"] = listed
        _put(pod.spec, "initContainers", [*first, *(listed or [])], before="containers")
    _annotate(pod, record)
    check_annotations(pod, validation)


def _leave_alone(pod: Pod, validation: Validation) -> None:
    """A pod whose record is lost: each probe that is not rewritten is an error."""
    direct = [
        f"{pod.where}: {container.name}.{kind.field}"
        for container in pod.containers
        if container.name != SIDECAR and not pod.is_mesh_container(container)
        for kind, probe in container.probes()
        if asks_the_pod(probe) and not is_rewritten(probe, pod, container, kind)
    ]
    for where in direct:
        validation.error(
            where,
            f"this probe is not rewritten; of others, {LOST_RECORD}: inject the original manifest",
        )
    if not direct:
        validation.warn(pod.where, f"left alone: {LOST_RECORD}")


def _annotate(pod: Pod, record: Record) -> None:
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
    annotations = cast("Manifest", metadata["annotations"])
    annotations.update({name: written for name, (_, written) in record.annotations.items()})
    annotations.update(record.as_annotations())


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
