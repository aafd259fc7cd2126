"""What injection is to do to one pod, found out and checked before anything is changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.containers import DEFAULT_USER, Images, environment_value
from osm_healthcheck.injection.control_plane import control_plane_of
from osm_healthcheck.injection.hooks import (
    OriginalHook,
    check_hooks,
    original_hooks,
    warn_of_left_hooks,
)
from osm_healthcheck.injection.limits import check_request, check_requests, check_variable
from osm_healthcheck.injection.manifest_probe import asks_the_pod
from osm_healthcheck.injection.mesh import Mesh
from osm_healthcheck.injection.mesh_annotations import mesh_annotations
from osm_healthcheck.injection.opt_out import reason_to_skip, sandboxed_runtime
from osm_healthcheck.injection.original import OriginalProbe, original_probes
from osm_healthcheck.injection.pod_checks import (
    check_completion,
    check_containers,
    check_pod,
    warn_of_passthrough,
    warn_of_update,
)
from osm_healthcheck.injection.pods import INIT_CONTAINER, SIDECAR, Manifest, Pod
from osm_healthcheck.injection.record import INJECT
from osm_healthcheck.injection.resources import DEFAULT_RESOURCES, Resources
from osm_healthcheck.injection.rewrite import (
    HTTPSMode,
    declaration_of,
    is_check,
    rewritten,
    why_no_probe_is_ours,
)
from osm_healthcheck.injection.uninject import LOST_RECORD, has_lost_record, is_rewritten
from osm_healthcheck.probes.constants import (
    HEALTHCHECK_PORT,
    MAX_NODE_DECLARATION_BYTES,
    MAX_NODE_DECLARED,
    METRICS_PATH,
)
from osm_healthcheck.probes.quote import quoted

_PROMETHEUS = "prometheus.io/"


@dataclass(frozen=True, slots=True)
class Injection:
    """How to inject.

    ``proxy`` says what answers on 15901-15903: our ``sidecar``, the proxy of the ``mesh``, or the
    agent of the ``node``, which answers on 15904 as well and leaves nothing in the pod; pods that
    it cannot serve are left alone or get a sidecar, as ``node_fallback`` says.
    ``user`` is the sidecar's user ID, ``None`` leaves it to the cluster; ``init`` allows the init
    container where the mesh has no annotation that excludes ports. ``hooks`` says what becomes of
    ``httpGet`` lifecycle hooks; ``allow_from`` is whom the sidecar answers, empty for everyone.
    ``scrape_annotations`` adds those by which many a Prometheus finds what to scrape.
    ``resources`` are what our containers request.
    ``refusal``, where it is not empty, says why a pod with something to rewrite is an error.
    """

    mesh: Mesh
    images: Images
    version: str
    sidecar: Literal["native", "container"] = "native"
    https: HTTPSMode = "passthrough"
    proxy: Literal["sidecar", "mesh", "node"] = "sidecar"
    node_fallback: Literal["leave", "sidecar"] = "leave"
    resources: Resources = DEFAULT_RESOURCES
    user: int | None = DEFAULT_USER
    init: bool = True
    hooks: Literal["rewrite", "leave"] = "rewrite"
    allow_from: str = ""
    scrape_annotations: bool = False
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done to one pod.

    ``probes`` are the original probes with what they become, ``declared`` is what the sidecar is
    told (JSON), ``ports`` are those of ours that are used; ``annotations`` are the mesh's, with
    what stands there and what is to stand there, and those for Prometheus.
    """

    probes: Sequence[tuple[OriginalProbe, Manifest]]
    hooks: Sequence[OriginalHook]
    declared: str
    ports: Sequence[int]
    annotations: Mapping[str, tuple[str | None, str]]
    with_sidecar: bool
    with_init: bool
    with_node: bool = False


def plan_injection(pod: Pod, injection: Injection, validation: Validation) -> Plan | None:
    """Plan the injection of ``pod``; ``None`` where it is left alone, or has errors."""
    if reason := reason_to_skip(pod, validation):
        validation.skip(pod.where, f"left alone: {reason}")
        return None
    if has_lost_record(pod):
        _leave_alone(pod, validation)
        return None
    by_node = injection.proxy == "node" and not injection.refusal
    if by_node and (reason := _why_not_by_node(pod, injection, validation)):
        if injection.node_fallback == "leave":
            validation.skip(pod.where, f"left alone: {reason}")
            return None
        injection = replace(injection, proxy="sidecar")
    with_node = injection.proxy == "node"
    native = with_node or injection.sidecar == "native"
    originals = original_probes(pod, validation, native=native)
    hooks = _hooks(pod, injection, validation)
    if validation.errors:
        return None
    if not originals and not hooks:
        validation.skip(pod.where, f"nothing to rewrite: {why_no_probe_is_ours(pod)}")
        return None
    if title := control_plane_of(pod):
        validation.error(
            pod.where,
            f"is of the control plane of {title}: no mesh's proxy belongs in front of it, and so "
            f"nothing is to be injected; leave it out, or annotate it {INJECT}: disabled",
        )
        return None
    if injection.refusal:
        validation.error(pod.where, injection.refusal)
        return None
    probes = list(zip(originals, rewritten(originals, injection.https), strict=True))
    answered = [
        pair for pair in probes if injection.proxy != "mesh" or is_check(pair[0].declared.probe)
    ]
    with_sidecar = bool(answered or hooks) and not with_node
    ports = ports_for(originals, sidecar=bool(answered or hooks))
    annotations = mesh_annotations(
        pod, injection.mesh, ports, injection.user if with_sidecar else None, validation
    )
    if injection.scrape_annotations and with_sidecar:
        annotations |= _scrape_annotations(pod, validation)
    plan = Plan(
        probes=probes,
        hooks=hooks,
        declared=environment_value(declaration_of([one for one, _ in answered], hooks)),
        ports=ports,
        annotations=annotations,
        with_sidecar=with_sidecar,
        with_init=injection.init and not injection.mesh.ports and not with_node,
        with_node=with_node,
    )
    check_requests(pod, answered, validation)
    _check(pod, plan, injection, validation)
    return None if validation.errors else plan


def ports_for(originals: Sequence[OriginalProbe], *, sidecar: bool) -> list[int]:
    """Those of 15901-15904 that a pod with these probes uses, sorted."""
    ports = {one.kind.port for one in originals if not is_check(one.declared.probe)}
    return sorted(ports | ({HEALTHCHECK_PORT} if sidecar else set()))


def _scrape_annotations(pod: Pod, validation: Validation) -> dict[str, tuple[str | None, str]]:
    """Those of Prometheus' example configuration. A pod has them once: the app's come first."""
    if taken := next((name for name in pod.annotations if name.startswith(_PROMETHEUS)), None):
        where = f"{pod.where}: metadata.annotations: {taken}"
        validation.warn(where, "is there already: no annotations for Prometheus are added")
        return {}
    values = {"scrape": "true", "port": str(HEALTHCHECK_PORT), "path": METRICS_PATH}
    return {f"{_PROMETHEUS}{name}": (None, value) for name, value in values.items()}


def _why_not_by_node(pod: Pod, injection: Injection, validation: Validation) -> str:
    """Why node mode cannot serve ``pod``; empty where it can. That a sidecar does is said here."""
    by_sidecar = injection.node_fallback == "sidecar"
    if reason := injection.mesh.why_not_by_node(init=injection.init):
        if by_sidecar:
            where = f"--proxy node, --mesh {injection.mesh.name}"
            validation.warn(where, f"warning: a sidecar answers: {reason}", is_general=True)
        return reason
    if name := sandboxed_runtime(pod):
        reason = f"its runtimeClassName {quoted(name)} keeps its network from the node"
    else:
        reason = _too_much_for_node(pod, injection)
    if reason and by_sidecar:
        validation.warn(pod.where, f"warning: a sidecar answers: {reason}")
    return reason


def _too_much_for_node(pod: Pod, injection: Injection) -> str:
    """What of ``pod`` is more than the agent takes; empty where it takes all of it."""
    found = Validation()  # what is wrong with them is said where they are planned
    probes = original_probes(pod, found, native=True)
    hooks = [] if injection.hooks == "leave" else original_hooks(pod, found, native=True)
    if (count := len(probes) + len(hooks)) > MAX_NODE_DECLARED:
        return f"it has {count} probes and lifecycle hooks, and node mode takes {MAX_NODE_DECLARED}"
    declared = environment_value(declaration_of(probes, hooks))
    if len(declared.encode("utf-8", "surrogatepass")) > MAX_NODE_DECLARATION_BYTES:
        return f"its probes are longer than the {MAX_NODE_DECLARATION_BYTES} bytes of node mode"
    return ""


def _hooks(pod: Pod, injection: Injection, validation: Validation) -> list[OriginalHook]:
    if injection.hooks == "leave":
        warn_of_left_hooks(pod, validation)
        return []
    hooks = original_hooks(pod, validation, native=injection.sidecar == "native")
    check_hooks(pod, hooks, injection.sidecar, validation)
    return hooks


def _check(pod: Pod, plan: Plan, injection: Injection, validation: Validation) -> None:
    """Whether the plan goes together with the rest of the pod, and what its author should know."""
    added = [SIDECAR] * plan.with_sidecar + [INIT_CONTAINER] * plan.with_init
    check_containers(pod, plan.ports, added, validation)
    check_pod(pod, injection.mesh, validation)
    warn_of_update(pod, validation)
    warn_of_passthrough(pod, plan.probes, validation)
    for hook in plan.hooks:
        where = f"{pod.where}: {hook.declared.container}.{hook.declared.hook.field}"
        check_request(hook.rewritten, f"{where}.httpGet.httpHeaders", validation)
    if not plan.with_sidecar:
        return
    check_variable(pod, plan.declared, validation)
    if injection.sidecar == "container":
        check_completion(pod, validation)
    if injection.mesh.users and injection.user is None:
        validation.warn(
            pod.where,
            f"warning: {injection.mesh.name} takes the sidecar's questions to the app: name "
            f"its user in {injection.mesh.users}, or give --run-as-user a number",
        )


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
        validation.skip(pod.where, f"left alone: {LOST_RECORD}")
