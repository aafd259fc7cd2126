"""Lifecycle hooks of a manifest: an ``httpGet`` becomes a request to the sidecar, which makes it.

In a mesh the kubelet's request meets mTLS, as a probe's does. The kubelet runs ``exec`` and
``sleep`` itself, and ``tcpSocket`` not at all.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.manifest_probe import own_port_of
from osm_healthcheck.injection.mesh_rewrites import mesh_of_hook
from osm_healthcheck.injection.original import eligible_containers, known_part, resolved_port
from osm_healthcheck.injection.pods import Container, Manifest, Pod
from osm_healthcheck.probes.constants import HEALTHCHECK_PORT
from osm_healthcheck.probes.hooks import DeclaredHook, LifecycleHook
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.probes.probe import HANDLERS, FieldReader, read_http_get
from osm_healthcheck.probes.quote import quoted


@dataclass(frozen=True, slots=True)
class OriginalHook:
    """A hook that is ours to rewrite: as it stands there, as the sidecar is told, and read."""

    value: Manifest
    declaration: Manifest
    declared: DeclaredHook

    @property
    def rewritten(self) -> Manifest:
        """What it becomes: only ``httpGet`` changes."""
        action = cast("Manifest", self.value["httpGet"])
        changes = {"path": self.declared.path, "port": HEALTHCHECK_PORT, "scheme": "HTTP"}
        return {**self.value, "httpGet": {**action, **changes}}


def hooks_of(container: Container) -> Iterator[tuple[LifecycleHook, Manifest]]:
    """The hooks of a container, as they stand in the manifest."""
    lifecycle = container.value.get("lifecycle")
    if isinstance(lifecycle, dict):
        for hook in LifecycleHook:
            if isinstance(value := lifecycle.get(hook.value), dict):
                yield hook, value


def original_hooks(pod: Pod, validation: Validation, *, native: bool = True) -> list[OriginalHook]:
    """The hooks of ``pod`` that are ours to rewrite, in the order of its containers."""
    return [
        original
        for container in eligible_containers(pod, Validation(), native=native)
        for hook, value in hooks_of(container)
        if asks_over_http(value)
        and (original := read_hook(pod, container, hook, validation)) is not None
    ]


def asks_over_http(hook: Manifest) -> bool:
    """Whether a hook is an ``httpGet`` and nothing else."""
    given = [name for name in (*HANDLERS, "sleep") if hook.get(name) is not None]
    return given == ["httpGet"] and isinstance(hook["httpGet"], dict)


def read_hook(
    pod: Pod, container: Container, hook: LifecycleHook, validation: Validation
) -> OriginalHook | None:
    """Read one ``httpGet`` hook; ``None`` where it is not ours to rewrite, or wrong."""
    where = f"{pod.where}: {container.name}.{hook.field}"
    value = dict(hooks_of(container))[hook]
    if mesh := mesh_of_hook(value, pod, container, hook):
        validation.warn(where, f"left alone: {mesh} has rewritten it, and its proxy answers")
        return None
    known, _ = known_part({"httpGet": value["httpGet"]})
    found = Validation()
    action = read_http_get(
        FieldReader(cast("Manifest", known["httpGet"]), f"{where}.httpGet", found)
    )
    if not found.errors and action.host:
        validation.warn(
            where, f"left alone: its host {quoted(action.host)} is another machine, not the pod"
        )
        return None
    port = 0
    if not found.errors:
        port = resolved_port(action.port, container, f"{where}.httpGet.port", found)
    validation.include(found)
    if found.errors:
        return None
    declared = {**cast("Manifest", known["httpGet"]), "port": port}
    return OriginalHook(
        value,
        {"httpGet": declared},
        DeclaredHook(container.name, hook, replace(action, port=port)),
    )


def is_rewritten_hook(value: Manifest, container: Container, hook: LifecycleHook) -> bool:
    """Whether ``value`` has the form that ``inject`` gives a hook."""
    if own_port_of(value, OwnPorts()) != HEALTHCHECK_PORT:
        return False
    action = value.get("httpGet")
    return isinstance(action, dict) and action.get("path") == f"{hook.path}/{container.name}"


def set_hook(container: Container, hook: LifecycleHook, value: Manifest) -> None:
    """Put ``value`` in the place of a hook of ``container``."""
    cast("Manifest", container.value["lifecycle"])[hook.value] = value


def check_hooks(pod: Pod, hooks: list[OriginalHook], mode: str, validation: Validation) -> None:
    """What the author should know of rewritten hooks; refuse what an ordinary sidecar cannot do."""
    for one in hooks:
        if one.declared.hook is LifecycleHook.POST_START and mode == "container":
            validation.error(
                f"{pod.where}: {one.declared.container}.{one.declared.hook.field}",
                "Forbidden: with --sidecar container, osm-healthcheck may not be up when it runs: "
                "use native, or --lifecycle-hooks leave",
            )
    if hooks:
        named = ", ".join(f"{one.declared.container}.{one.declared.hook.field}" for one in hooks)
        validation.warn(
            pod.where,
            f"warning: whoever reaches port {HEALTHCHECK_PORT} can call {named}, which may change "
            "what the app does; --lifecycle-hooks leave does not rewrite them",
        )


def warn_of_left_hooks(pod: Pod, validation: Validation) -> None:
    """Warn of hooks that a mesh will answer or refuse."""
    for container in eligible_containers(pod, Validation(), native=True):
        for hook, value in hooks_of(container):
            if asks_over_http(value) and not mesh_of_hook(value, pod, container, hook):
                validation.warn(
                    f"{pod.where}: {container.name}.{hook.field}",
                    "left alone: in a mesh the kubelet's request for it meets mTLS; with "
                    "--lifecycle-hooks rewrite the sidecar makes it",
                )
