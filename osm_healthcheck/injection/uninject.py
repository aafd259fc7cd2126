"""Undoing an injection: what it added is removed, what it changed is restored.

Edits made since are kept: a probe that no longer asks the sidecar is left as it is, and of a list
of ports only our own entries are removed. Only an edit to what a rewritten probe asks is lost.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.containers import (
    ALLOW_FROM_VARIABLE,
    PROBES_VARIABLE,
    environment_of,
)
from osm_healthcheck.injection.hooks import hooks_of, is_rewritten_hook, read_hook, set_hook
from osm_healthcheck.injection.lost_settings import warn_of_lost_settings
from osm_healthcheck.injection.manifest_probe import described, own_port_of, request_of
from osm_healthcheck.injection.mesh import without
from osm_healthcheck.injection.original import read_original
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
from osm_healthcheck.injection.record import Record, read_record, remove_record
from osm_healthcheck.injection.resources import lower_pod_resources
from osm_healthcheck.injection.rewrite import HTTPS_MODES, restored, rewritten
from osm_healthcheck.probes.constants import HEALTHCHECK_PATH, ProbeKind
from osm_healthcheck.probes.ports import OwnPorts

_OWN = OwnPorts()
LOST_RECORD = (
    "its probes have been rewritten already, and no annotation says what they were (OSM's "
    "injector writes none, kubectl debug drops ours)"
)


def uninject(manifest: object, version: str) -> ManifestChange:
    """Give back the document that was injected; ``version`` is that of this program.

    Raises:
        InvalidInputError: where it is no Kubernetes object, or its annotations are broken.
    """

    def change(pod: Pod, validation: Validation) -> None:
        before = {
            (container.name, str(field)): value
            for container in pod.containers
            for field, value in (*container.probes(), *hooks_of(container))
        }
        undone = undo(pod, version, validation)
        if undone is pod and has_lost_record(pod):
            validation.warn(pod.where, f"left alone: {LOST_RECORD}")
        if undone is not pod and (sidecar := pod.container(SIDECAR)):
            options = (ALLOW_FROM_VARIABLE,)
            warn_of_lost_settings(pod.where, sidecar, (), validation, options=options)
        _warn_of_lost_edits(undone, before, validation)

    return each_pod(manifest, change)


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
            if isinstance(current, dict) and own_port_of(current, _OWN):
                container.value[name] = restored(current, saved)
        for hook, value in hooks_of(container):
            original = record.hooks.get(container.name, {}).get(hook.value)
            if original is not None and own_port_of(value, _OWN):
                set_hook(container, hook, restored(value, original))
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


def _warn_of_lost_edits(
    pod: Pod, before: Mapping[tuple[str, str], object], validation: Validation
) -> None:
    """Warn of restored probes and hooks whose handler was edited after injection.

    ``before`` holds them as they stood until ``pod`` was restored, by container and kind.
    """
    for container in pod.containers:
        for hook, value in hooks_of(container):
            was = before[container.name, str(hook)]
            if was is value:
                continue
            original = read_hook(pod, container, hook, Validation())
            if original and request_of(was) != request_of(original.rewritten):
                _warn_of_lost_edit(f"{pod.where}: {container.name}.{hook.field}", was, validation)
        for kind, probe in container.probes():
            was = before[container.name, str(kind)]
            if was is probe:
                continue
            one = read_original(pod, container, kind, Validation())
            if one is None:
                continue
            # the path depends on how many probes of a kind and scheme the pod had
            forms = [
                request_of(form)
                for https in HTTPS_MODES
                for form in rewritten([one], https) + rewritten([one, one], https)
            ]
            if request_of(was) not in forms:
                _warn_of_lost_edit(f"{pod.where}: {container.name}.{kind.field}", was, validation)


def _warn_of_lost_edit(where: str, was: object, validation: Validation) -> None:
    validation.warn(
        where,
        "restored as it was before injection; the edit made to it since is lost: it asked "
        f"{described(was)}",
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
