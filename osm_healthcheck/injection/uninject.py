"""Undoing an injection: what it added is removed, what it changed is restored.

Edits made since are kept: a probe that no longer asks the sidecar is left as it is, and of a list
of ports only our own entries are removed. Only an edit to what a rewritten probe asks is lost, and
`lost_edits` names it.
"""

from dataclasses import replace
from typing import cast

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.containers import (
    ALLOW_FROM_VARIABLE,
    PROBES_VARIABLE,
    environment_of,
)
from osm_healthcheck.injection.hooks import hooks_of, is_rewritten_hook, set_hook
from osm_healthcheck.injection.lost_edits import asked_by, warn_of_lost_edits
from osm_healthcheck.injection.lost_settings import warn_of_lost_settings
from osm_healthcheck.injection.manifest_probe import asks_the_pod, described, own_port_of, path_of
from osm_healthcheck.injection.mesh import without
from osm_healthcheck.injection.mesh_rewrites import rewriting_mesh
from osm_healthcheck.injection.opt_out import containers_to_skip
from osm_healthcheck.injection.pods import (
    INIT_CONTAINER,
    SIDECAR,
    Container,
    Manifest,
    ManifestChange,
    Pod,
    copy_for_change,
    each_pod,
    pods_in,
)
from osm_healthcheck.injection.record import FIELDS, PROBES, Record, read_record, remove_record
from osm_healthcheck.injection.resources import lower_pod_resources
from osm_healthcheck.injection.rewrite import restored
from osm_healthcheck.probes.constants import HEALTHCHECK_PATH, ProbeKind
from osm_healthcheck.probes.hooks import is_hook_path
from osm_healthcheck.probes.ports import OwnPorts

_OWN = OwnPorts()
_OWN_PATHS = (HEALTHCHECK_PATH, *(kind.path for kind in ProbeKind))
LOST_RECORD = (
    "its probes have been rewritten already, and no annotation says what they were (OSM's "
    "injector writes none, kubectl debug drops ours)"
)


def uninject(manifest: object, version: str) -> ManifestChange:
    """Give back the document that was injected; ``version`` is that of this program.

    Raises:
        InvalidInputError: where it is no Kubernetes object, or its annotations are broken.
    """
    given_back: list[str] = []

    def change(pod: Pod, validation: Validation) -> None:
        before = asked_by(pod)
        undone = undo(pod, version, validation)
        if undone is pod and has_lost_record(pod):
            validation.warn(pod.where, f"left alone: {LOST_RECORD}")
        if undone is not pod:
            given_back.append(pod.where)
        if undone is not pod and (sidecar := pod.container(SIDECAR)):
            options = (ALLOW_FROM_VARIABLE,)
            warn_of_lost_settings(pod.where, sidecar, (), validation, options=options)
        warn_of_lost_edits(undone, before, "restored as it was before injection", validation)

    return replace(each_pod(manifest, change), given_back=tuple(given_back))


def uninjected_pods(manifest: object, version: str, validation: Validation) -> list[Pod]:
    """The pods of a document as they were before injection; the document is unchanged."""
    return [
        undo(pod, version, validation) for pod in pods_in(copy_for_change(manifest), validation)
    ]


def undo(pod: Pod, version: str, validation: Validation) -> Pod:
    """Undo what an earlier injection did to ``pod``, in place; the view on what is left."""
    record = read_record(pod, version, validation)
    if record is None:
        return pod
    for container in pod.containers:
        for name, saved in record.probes.get(container.name, {}).items():
            current = container.value.get(name)
            if isinstance(current, dict) and _is_written_by_inject(current, saved):
                container.value[name] = restored(current, saved)
        for hook, value in hooks_of(container):
            original = record.hooks.get(container.name, {}).get(hook.value)
            if original is not None and _is_written_by_inject(value, original):
                set_hook(container, hook, restored(value, original))
    _check_originals(pod, record, validation)
    lower_pod_resources(pod, record)
    _restore_annotations(pod, record)
    ours = [one for one in pod.containers if _is_added(one)]
    for field in {one.field for one in ours}:
        listed = cast("list[Manifest]", pod.spec[field])
        names = {one.name for one in ours}
        pod.spec[field] = [one for one in listed if one["name"] not in names]
        _restore_empty(pod.spec, field, f"spec.{field}", record)
    return replace(pod, containers=tuple(one for one in pod.containers if one not in ours))


def has_lost_record(pod: Pod) -> bool:
    """Whether this pod's probes have been rewritten, and no annotation says what they were."""
    sidecar = pod.container(SIDECAR)
    if sidecar is not None and PROBES_VARIABLE in environment_of(sidecar):
        return True
    return any(
        any(is_rewritten(probe, pod, container, kind) for kind, probe in container.probes())
        or any(is_rewritten_hook(value, container, hook) for hook, value in hooks_of(container))
        for container in pod.containers
        if container.name != SIDECAR
    )


def is_rewritten(probe: object, pod: Pod, container: Container, kind: ProbeKind) -> bool:
    """Whether ``probe`` has a form that ``inject``, OSM's injector or osm-edge's gives it.

    Passed-through HTTPS keeps its own path: it shows by the port alone, which says something
    only where a proxy or sidecar that answers there is in the pod.
    """
    if own_port_of(probe, _OWN) is None:
        return False
    action = cast("dict[str, Manifest]", probe).get("httpGet")
    if not isinstance(action, dict):
        return False
    if action.get("scheme") == "HTTPS":
        return pod.container(SIDECAR) is not None or any(map(pod.is_mesh_container, pod.containers))
    return action.get("path") in (kind.path, f"{kind.path}/{container.name}", HEALTHCHECK_PATH)


def _is_written_by_inject(current: Manifest, original: Manifest) -> bool:
    """Whether ``current`` has our port, or our path where somebody has changed the port alone."""
    if own_port_of(current, _OWN):
        return True
    path = path_of(current)
    first = f"/{path[1:].partition('/')[0]}"
    return (first in _OWN_PATHS or is_hook_path(path)) and path != path_of(original)


def _check_originals(pod: Pod, record: Record, validation: Validation) -> None:
    """Refuse what inject has written, or somebody has copied, into a container without a record."""
    skipped = containers_to_skip(pod, Validation())
    for container in pod.containers:
        if _is_added(container) or container.name in skipped or pod.is_mesh_container(container):
            continue
        probes = record.probes.get(container.name, {})
        asking = [
            (kind.field, probe, PROBES)
            for kind, probe in container.probes()
            if kind.field not in probes and asks_the_pod(probe) and own_port_of(probe, _OWN)
            if not rewriting_mesh(probe, pod, container, kind)
        ]
        hooks = record.hooks.get(container.name, {})
        asking += [
            (hook.field, value, FIELDS)
            for hook, value in hooks_of(container)
            if hook.value not in hooks and is_rewritten_hook(value, container, hook)
        ]
        for field, probe, annotation in asking:
            known = ", ".join({**record.probes, **record.hooks}) or "no container"
            validation.error(
                f"{pod.where}: {container.name}.{field}",
                f"asks {described(probe)}, as inject writes it, and no annotation says for what "
                f"(there are originals of {known}): rename the container in {annotation}, too, or "
                "write what is to be asked of the app",
            )


def _is_added(container: Container) -> bool:
    return container.name == SIDECAR or (
        container.name == INIT_CONTAINER and container.starts_before_containers
    )


def _restore_annotations(pod: Pod, record: Record) -> None:
    annotations = pod.annotations
    for name, (was, written) in record.annotations.items():
        current = annotations.get(name)
        if not isinstance(current, str):
            continue
        value = was if current == written else without(current, written, was)
        if value or (value is not None and was is not None):
            annotations[name] = value
        else:
            del annotations[name]
    remove_record(annotations)
    metadata = cast("Manifest", pod.value["metadata"])
    _restore_empty(metadata, "annotations", "metadata.annotations", record)
    _restore_empty(pod.value, "metadata", "metadata", record)


def _restore_empty(parent: Manifest, key: str, path: str, record: Record) -> None:
    """Take away a mapping or list that holds nothing any more, or put back what was there."""
    if parent[key]:
        return
    if path in record.empty:
        parent[key] = record.empty[path]
    elif parent[key] is not None:
        del parent[key]
