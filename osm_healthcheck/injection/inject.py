"""Injection: rewrites the probes of a pod and adds the containers that answer them.

An earlier injection is undone first. So injecting twice with the same options changes nothing, and
a newer version replaces what an older one did.
"""

from collections.abc import Callable
from typing import cast

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.containers import (
    ALLOW_FROM_VARIABLE,
    PROBES_VARIABLE,
    container_ports,
    init_container,
    sidecar_container,
)
from osm_healthcheck.injection.hooks import set_hook
from osm_healthcheck.injection.limits import check_annotations
from osm_healthcheck.injection.lost_edits import asked_by, warn_of_lost_edits
from osm_healthcheck.injection.lost_settings import warn_of_lost_settings
from osm_healthcheck.injection.plan import Injection as Injection
from osm_healthcheck.injection.plan import Plan, plan_injection
from osm_healthcheck.injection.pod_checks import warn_of_apply
from osm_healthcheck.injection.pods import (
    SIDECAR,
    Container,
    InjectedPod,
    Manifest,
    ManifestChange,
    Pod,
    each_pod,
)
from osm_healthcheck.injection.record import Record, has_record
from osm_healthcheck.injection.resources import (
    init_resources,
    raise_pod_resources,
    sidecar_resources,
)
from osm_healthcheck.injection.uninject import undo
from osm_healthcheck.injection.unknown_kinds import warn_of_unknown_kinds
from osm_healthcheck.probes.constants import DECLARED_PROBES, HEALTHCHECK_PORT

_INJECTED_AGAIN = "its original is injected again (uninject gives it back to edit)"


def inject(manifest: object, injection: Injection) -> ManifestChange:
    """Inject the pods of one document; other kinds pass through.

    Raises:
        InvalidInputError: with every error in the document.
    """
    return inject_each(manifest, injection.version, lambda _: injection)


def inject_each(
    manifest: object, version: str, injection_of: Callable[[Pod], Injection | str]
) -> ManifestChange:
    """Inject the pods of one document, each as ``injection_of`` says of it, or why not at all.

    That is asked before an earlier injection, by this program of ``version``, is undone.

    Raises:
        InvalidInputError: with every error in the document.
    """

    def change(pod: Pod, validation: Validation) -> None:
        injection = injection_of(pod)
        before = asked_by(pod) if has_record(pod) else {}
        undone = undo(pod, version, validation)
        if validation.errors:
            return
        if undone is not pod:
            warn_of_lost_edits(undone, before, _INJECTED_AGAIN, validation)
        if isinstance(injection, str):
            validation.skip(pod.where, f"left alone: {injection}")
            return
        if injection.mesh.injector:
            validation.skip(pod.where, "left alone: OSM's own injector rewrites its probes")
            plan = None
        else:
            plan = plan_injection(undone, injection, validation)
        added = _added_containers(plan, undone, injection) if plan else []
        if undone is not pod and (sidecar := pod.container(SIDECAR)):
            warn_of_lost_settings(pod.where, sidecar, added, validation)
        if plan:
            if undone is pod:
                warn_of_apply(pod, [one for one, _ in plan.probes], validation)
            _apply(plan, undone, added, injection, validation)
            injected.append(InjectedPod(pod.where, len(plan.probes), len(plan.hooks)))

    injected: list[InjectedPod] = []
    outcome = each_pod(manifest, change)
    validation = Validation()
    warn_of_unknown_kinds(manifest, validation)
    warnings = (*outcome.warnings, *validation.warnings)
    return ManifestChange(outcome.manifest, warnings, tuple(injected))


def _apply(
    plan: Plan, pod: Pod, added: list[Manifest], injection: Injection, validation: Validation
) -> None:
    record = Record(injection.version, annotations=dict(plan.annotations))
    if plan.with_sidecar:
        raise_pod_resources(pod, injection.resources, record, validation)
    _rewrite(plan, pod, record)
    if plan.with_sidecar and injection.sidecar == "container":
        containers = cast("list[Manifest]", pod.spec["containers"])
        pod.spec["containers"] = [*containers, added.pop()]
    if added:
        listed = cast("list[Manifest] | None", pod.spec.get("initContainers"))
        if not listed and "initContainers" in pod.spec:
            record.empty["spec.initContainers"] = listed
        _put(pod.spec, "initContainers", [*added, *(listed or [])], before="containers")
    _annotate(plan, pod, record)
    check_annotations(pod, validation)


def _added_containers(plan: Plan, pod: Pod, injection: Injection) -> list[Manifest]:
    """The init container, then the sidecar: those of them that are needed."""
    added = []
    if plan.with_init:
        added.append(
            init_container(plan.ports, injection.images, init_resources(pod, injection.resources))
        )
    if plan.with_sidecar:
        variables = {PROBES_VARIABLE: plan.declared}
        if injection.allow_from:
            # the kubelet would take $(NAME), which the zone of an address may hold, for a reference
            variables[ALLOW_FROM_VARIABLE] = injection.allow_from.replace("$", "$$")
        # with --proxy mesh the proxy serves the others
        served = [HEALTHCHECK_PORT] if injection.proxy == "mesh" else plan.ports
        added.append(
            sidecar_container(
                variables,
                injection.images,
                injection.sidecar,
                injection.user,
                sidecar_resources(pod, injection.resources),
                container_ports(served, pod),
            )
        )
    return added


def _rewrite(plan: Plan, pod: Pod, record: Record) -> None:
    """Put the rewritten probes and hooks in the places of the originals, which go to ``record``."""
    for one, value in plan.probes:
        record.probes.setdefault(one.container, {})[one.kind.field] = one.value
        cast("Container", pod.container(one.container)).value[one.kind.field] = value
    for hook in plan.hooks:
        name, kind = hook.declared.container, hook.declared.hook
        record.hooks.setdefault(name, {})[kind.value] = hook.value
        set_hook(cast("Container", pod.container(name)), kind, hook.rewritten)


def _annotate(plan: Plan, pod: Pod, record: Record) -> None:
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
    if plan.with_node:
        annotations[DECLARED_PROBES] = plan.declared
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
