"""What verify finds about the lifecycle hooks of a pod."""

from collections.abc import Iterator, Mapping

from osm_healthcheck.injection.hooks import OriginalHook, asks_over_http, hooks_of
from osm_healthcheck.injection.manifest_probe import (
    asks_the_pod,
    described,
    own_port_of,
    request_of,
)
from osm_healthcheck.injection.mesh_rewrites import mesh_of_hook
from osm_healthcheck.injection.pods import Container, Manifest, Pod
from osm_healthcheck.injection.record import Record
from osm_healthcheck.probes.hooks import LifecycleHook
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.verification.findings import Finding, good, unsure, wrong

_AGAIN = "inject the manifest again"


def hook_findings(
    pod: Pod,
    container: Container,
    record: Record | None,
    originals: Mapping[tuple[str, LifecycleHook], OriginalHook],
) -> Iterator[Finding]:
    """Whether the ``httpGet`` hooks of a container ask what they should.

    ``originals`` are those of ``record`` that can be read.
    """
    recorded = record.hooks.get(container.name, {}) if record else {}
    for hook, value in hooks_of(container):
        if asks_over_http(value) and asks_the_pod(value):
            original = originals.get((container.name, hook))
            subject = f"{container.name}.{hook.field}"
            mesh = mesh_of_hook(value, pod, container, hook)
            if mesh and hook.value in recorded:
                yield wrong(
                    subject,
                    f"{mesh} has rewritten it once more: it asks {described(value)}",
                    f"turn {mesh}'s probe rewriting off, as inject --mesh {mesh.lower()} does",
                )
            else:
                yield _finding(subject, value, original, mesh)


def _finding(subject: str, value: Manifest, original: OriginalHook | None, mesh: str) -> Finding:
    asks = f"asks {described(value)}"
    if original is not None:
        if request_of(value) == request_of(original.rewritten):
            return good(subject, f"{asks} for {described(original.value)}")
        return wrong(subject, f"{asks}, but should ask {described(original.rewritten)}", _AGAIN)
    if mesh:
        return good(subject, f"{asks}: rewritten by {mesh}")
    if own_port_of(value, OwnPorts()) is not None:
        return wrong(
            subject, f"{asks}, and no annotation says for what", "start from the original manifest"
        )
    return unsure(
        subject,
        f"is not rewritten: it {asks} itself, which the mesh answers or refuses",
        "see inject --lifecycle-hooks",
    )
