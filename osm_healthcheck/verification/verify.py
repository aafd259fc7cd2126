"""The checks of ``verify`` on the manifest of a meshed pod.

It knows the work of three injectors: this program's by its annotations, OSM's and osm-edge's by
their containers and by the form of the rewritten probes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.auto_mesh import MeshFinder, NoMesh
from osm_healthcheck.injection.containers import PROBES_VARIABLE, environment_of
from osm_healthcheck.injection.control_plane import control_plane_of
from osm_healthcheck.injection.hooks import OriginalHook, hooks_of, original_hooks
from osm_healthcheck.injection.manifest_probe import (
    asks_the_pod,
    described,
    described_request,
    handler_name,
    own_port_of,
    request_of,
)
from osm_healthcheck.injection.mesh import Mesh
from osm_healthcheck.injection.mesh_rewrites import rewriting_mesh
from osm_healthcheck.injection.opt_out import containers_to_skip, reason_to_skip
from osm_healthcheck.injection.original import OriginalProbe, original_probes
from osm_healthcheck.injection.pods import PROXIES, SIDECAR, Container, Manifest, Pod
from osm_healthcheck.injection.record import VERSION, WARNINGS, Record, is_newer, read_record
from osm_healthcheck.injection.rewrite import rewritten, why_no_probe_is_ours
from osm_healthcheck.injection.uninject import uninjected_pods
from osm_healthcheck.probes.constants import DECLARED_PROBES, HEALTHCHECK_PORT, ProbeKind
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.probes.quote import quoted
from osm_healthcheck.verification.bypass import bypass_findings, users_findings
from osm_healthcheck.verification.containers import other_containers, sidecar_state
from osm_healthcheck.verification.control_plane import control_plane_findings
from osm_healthcheck.verification.declared import NODE, declaration_findings
from osm_healthcheck.verification.events import event_findings
from osm_healthcheck.verification.findings import Finding, good, unsure, wrong
from osm_healthcheck.verification.hooks import hook_findings
from osm_healthcheck.verification.other_injectors import other_injector, rewritten_probe, served_by
from osm_healthcheck.verification.start import start_findings
from osm_healthcheck.verification.status import describe_command, is_running_pod, mapping, phase

_OWN = OwnPorts()
_AGAIN = "inject the manifest again"
_LINKERD = "linkerd-proxy"


@dataclass(frozen=True, slots=True)
class Context:
    """What the checks have to know and the manifest does not say.

    ``version`` is our own, ``meshes`` are those that may be around the pod, ``bypassed_elsewhere``
    says that something outside the pod keeps their redirect off our ports; ``finder`` knows the
    Namespaces; ``now`` is Unix time.
    """

    version: str
    meshes: Sequence[Mesh]
    bypassed_elsewhere: bool = False
    finder: MeshFinder = field(default_factory=lambda: MeshFinder(()))
    events: Sequence[Manifest] = ()
    now: float = 0.0


def verify(pod: Pod, context: Context) -> list[Finding]:
    """Check one pod; the findings in the order in which they are printed."""
    if mapping(pod.value, "metadata").get("deletionTimestamp"):
        return [unsure("pod", "is being deleted: it is not looked at")]
    started = start_findings(pod, context.events, context.now)
    if title := control_plane_of(pod):
        return [*started, *control_plane_findings(pod, title, context.finder)]
    if reason := _reason_to_leave_alone(pod, context.finder):
        return [*started, reason]
    return [*started, *_kept_warnings(pod), *_checks(pod, context)]


def _kept_warnings(pod: Pod) -> list[Finding]:
    """What the injector warned of when a controller created the pod, which reads no warnings."""
    kept = pod.annotations.get(WARNINGS)
    lines = kept.splitlines() if isinstance(kept, str) else []
    return [unsure("warning", line.removeprefix(f"{SIDECAR}: ")) for line in lines]


def _reason_to_leave_alone(pod: Pod, finder: MeshFinder) -> Finding | None:
    """What a pod is whose probes are not looked at; ``None`` where they are."""
    if phase(pod) == "Succeeded":
        return good("pod", "has completed")
    if phase(pod) == "Failed":
        reason = mapping(pod.value, "status").get("reason")
        why = f" ({reason})" if reason else ""
        return unsure("pod", f"has failed{why}: it is not started again", describe_command(pod))
    if reason := reason_to_skip(pod, Validation()):
        return unsure("pod", f"left alone: {reason}")
    if not _is_untouched(pod):
        return None
    if is_running_pod(pod):
        return good("pod", "is in no mesh: its probes go straight to the app")
    mesh = finder.mesh_of(pod)
    if isinstance(mesh, NoMesh) and mesh.is_wanted:
        return good("pod", f"is in {mesh.reason}")
    if pod.is_live:
        return unsure("pod", "is not injected: whether a mesh is around it shows in its pods")
    return None


def _is_untouched(pod: Pod) -> bool:
    """Whether nothing of a mesh, and nothing of ours, is in the pod."""
    return (
        VERSION not in pod.annotations
        and not any(one.name == SIDECAR or pod.is_mesh_container(one) for one in pod.containers)
        and not any(own_port_of(probe, _OWN) for _, _, probe in _probes_to_verify(pod))
    )


def _checks(pod: Pod, context: Context) -> list[Finding]:
    validation = Validation()
    reason_to_skip(pod, validation)  # an annotation of it can be mistaken
    record, advice = None, "correct it"
    if not validation.errors:
        record = read_record(pod, context.version, validation)
        advice = "inject the original manifest"
        if is_newer(pod, context.version):
            advice = f"verify it with osm-healthcheck {pod.annotations[VERSION]}"
    if validation.errors:
        return [
            wrong(one.where.removeprefix(f"{pod.where}: "), one.problem, advice)
            for one in validation.errors
        ]
    verification = _PodVerification(pod, record, context)
    probes = list(_probes_to_verify(pod))
    if not any(asks_the_pod(probe) for _, _, probe in probes) and pod.container(SIDECAR) is None:
        nothing = unsure("pod", f"nothing to verify: {why_no_probe_is_ours(pod)}")
        return [nothing, *verification.hooks(), *other_containers(pod)]
    findings = [verification.injector()]
    findings += [verification.probe(container, kind, probe) for container, kind, probe in probes]
    findings += verification.hooks()
    findings += verification.ports(probes)
    findings += verification.sidecar()
    findings += verification.node()
    findings += verification.meshes(context.meshes)
    asking = [probe for _, _, probe in probes]
    if sidecar := pod.container(SIDECAR):
        asking += [probe for _, probe in sidecar.probes()]
    asking += [hook for one in pod.containers for _, hook in hooks_of(one)]
    used = sorted({port for one in asking if (port := own_port_of(one, _OWN))})
    if used:
        findings += bypass_findings(pod, used, context.meshes, elsewhere=context.bypassed_elsewhere)
        findings += verification.users(context.meshes)
    findings += other_containers(pod)
    return findings + event_findings(pod, context.events, context.now)


def _probes_to_verify(pod: Pod) -> Iterable[tuple[Container, ProbeKind, object]]:
    skipped = containers_to_skip(pod, Validation())
    for container in pod.containers:
        if container.name == SIDECAR or container.name in skipped:
            continue
        if not pod.is_mesh_container(container):
            for kind, probe in container.probes():
                yield container, kind, probe


class _PodVerification:
    """The checks of one pod."""

    def __init__(self, pod: Pod, record: Record | None, context: Context) -> None:
        self._pod = pod
        self._record = record
        self._sidecar = pod.container(SIDECAR)
        names = [one.name for one in pod.containers if pod.is_mesh_container(one)]
        self._proxy = next((name for name in names if name in PROXIES), "")
        self._validation = Validation()
        self._originals: list[OriginalProbe] = []
        self._hooks: list[OriginalHook] = []
        if record:
            self._read_originals(record, context)
        self._expected = self._read_expected()

    def injector(self) -> Finding:
        """Which program rewrote the probes."""
        if self._record:
            return good("pod", f"injected by osm-healthcheck {self._record.version}")
        if name := other_injector(self._pod):
            return good("pod", f"injected by {name}")
        if self._sidecar is None and (mesh := self._rewriting_mesh()):
            return good("pod", f"its probes are rewritten by {mesh}")
        if self._sidecar is not None:
            return unsure(
                "pod",
                "the annotation that holds the original probes is gone (kubectl debug drops it)",
                "to have it back, start from the original manifest",
            )
        return wrong("pod", "is not injected", "run osm-healthcheck inject on its manifest")

    def probe(self, container: Container, kind: ProbeKind, probe: object) -> Finding:
        """One probe: whether it asks what it should."""
        subject = f"{container.name}.{kind.field}"
        if handler_name(probe) == "exec":
            return good(subject, "exec: runs inside the container, no mesh is in its way")
        if not asks_the_pod(probe):
            if handler_name(probe):
                return unsure(subject, "has a host: it asks another machine, not the pod")
            return wrong(subject, "has no handler, or more than one", "correct it")
        if mesh := rewriting_mesh(probe, self._pod, container, kind):
            if self._record is None and container is not self._sidecar:
                return good(subject, f"asks {described(probe)}: rewritten by {mesh}")
            return wrong(
                subject,
                f"{mesh} has rewritten it once more: it asks {described(probe)}",
                f"turn {mesh}'s probe rewriting off, as inject --mesh {mesh.lower()} does",
            )
        if own_port_of(probe, _OWN) is None:
            sidecar = self._sidecar
            ordinary = sidecar is not None and not sidecar.starts_before_containers
            if ordinary and container.starts_before_containers:
                return unsure(subject, f"left alone: its container starts before {SIDECAR}")
            if self._proxy == _LINKERD and handler_name(probe) == "httpGet":
                # policy-controller/k8s/index/src/inbound/workload.rs: probes are let through
                return unsure(
                    subject,
                    f"is not rewritten: it asks {described(probe)} through Linkerd's proxy, which "
                    "lets httpGet probes pass",
                )
            return wrong(
                subject,
                f"is not rewritten: it asks {described(probe)} itself, which "
                "the mesh answers or refuses",
                "run osm-healthcheck inject",
            )
        if self._starts_too_early(container):
            return wrong(
                subject,
                f"its container starts before {SIDECAR}, which answers it",
                f"put {container.name} behind {SIDECAR} in initContainers",
            )
        for error in self._validation.errors:
            if f": {subject}" in error.where:
                return wrong(subject, error.problem, "correct it, then inject again")
        if self._record is None:
            return rewritten_probe(probe, self._pod, container, kind)
        expected = self._expected.get((container.name, kind))
        if expected is None:
            return wrong(
                subject,
                f"asks {described(probe)}, and no annotation says for what",
                "start from the original manifest",
            )
        original, forms = expected
        if request_of(probe) in [request_of(one) for one in forms]:
            return good(subject, f"asks {described(probe)} for {described(original.value)}")
        return wrong(
            subject,
            f"asks {described_request(probe)}, but should ask {described_request(forms[0])}",
            _AGAIN,
        )

    def hooks(self) -> list[Finding]:
        """The lifecycle hooks: whether they ask what they should."""
        originals = {(one.declared.container, one.declared.hook): one for one in self._hooks}
        skipped = containers_to_skip(self._pod, Validation())
        return [
            finding
            for container in self._pod.containers
            if container is not self._sidecar and container.name not in skipped
            if not self._pod.is_mesh_container(container)
            for finding in hook_findings(self._pod, container, self._record, originals)
        ]

    def ports(self, probes: Iterable[tuple[Container, ProbeKind, object]]) -> list[Finding]:
        """Each of 15901-15904 that a probe asks: whether something in the pod serves it."""
        asked: dict[int, list[str]] = {}
        for container, kind, probe in probes:
            if port := own_port_of(probe, _OWN):
                asked.setdefault(port, []).append(f"{container.name}.{kind.field}")
        # with --proxy mesh, a pod without tcpSocket and grpc does not have our container
        mesh_may_serve = self._sidecar is not None or (
            self._record is not None and HEALTHCHECK_PORT not in asked
        )
        return [self._port(port, asked[port], mesh_may_serve) for port in sorted(asked)]

    def sidecar(self) -> list[Finding]:
        """Our container: whether it is there, declares the right probes, and runs."""
        sidecar = self._sidecar
        if sidecar is None:
            return []
        findings = sidecar_state(self._pod, SIDECAR)
        findings += [
            self.probe(sidecar, kind, probe)
            for kind, probe in sidecar.probes()
            if rewriting_mesh(probe, self._pod, sidecar, kind)
        ]
        text = environment_of(sidecar).get(PROBES_VARIABLE)
        if text is None:
            if self._record:
                findings.append(wrong(SIDECAR, f"{PROBES_VARIABLE} is missing", _AGAIN))
            return findings
        if self._record is None:
            return findings
        return findings + declaration_findings(SIDECAR, str(text), self._originals, self._hooks)

    def node(self) -> list[Finding]:
        """Node mode: whether the pod's annotation declares the right probes."""
        text = self._pod.annotations.get(DECLARED_PROBES)
        if text is None or self._sidecar is not None or self._record is None:
            return []
        return declaration_findings(NODE, str(text), self._originals, self._hooks)

    def users(self, meshes: Sequence[Mesh]) -> list[Finding]:
        """The meshes that take what our container says: whether they leave its user alone."""
        if self._sidecar is None or self._record is None:
            return []
        context = self._sidecar.value.get("securityContext")
        user = context.get("runAsUser") if isinstance(context, dict) else None
        return users_findings(self._pod, meshes, user)

    def meshes(self, meshes: Iterable[Mesh]) -> list[Finding]:
        """The meshes around the pod: whether their own probe rewriting is off."""
        if self._record is None:
            return []
        findings = []
        for mesh in meshes:
            if mesh.ports not in self._record.annotations:
                continue
            for name in mesh.switches:
                value = self._pod.annotations.get(name)
                if mesh.is_off(name, value):
                    continue
                says = f"{name} is {quoted(value)}" if value is not None else f"{name} is missing"
                text = f"{says}: {mesh.title} rewrites the injected probes once more"
                advice = f"set it to {quoted(mesh.switches[name])}"
                if mesh.rewrites_native_sidecars:
                    text += f", and {SIDECAR}'s own: the pod never starts"
                    findings.append(wrong("mesh", text, advice))
                else:
                    findings.append(unsure("mesh", text, advice))
        return findings

    def _rewriting_mesh(self) -> str:
        """The mesh that has rewritten all the probes that go to the pod; empty where none has."""
        meshes = {
            rewriting_mesh(probe, self._pod, container, kind)
            for container, kind, probe in _probes_to_verify(self._pod)
            if asks_the_pod(probe)
        }
        return meshes.pop() if len(meshes) == 1 else ""

    def _read_originals(self, record: Record, context: Context) -> None:
        manifest = {**self._pod.value, "apiVersion": "v1", "kind": "Pod"}
        for pod in uninjected_pods(manifest, context.version, self._validation):
            self._originals += [
                one
                for one in original_probes(pod, self._validation)
                if one.kind.field in record.probes.get(one.container, {})
            ]
            self._hooks += [
                one
                for one in original_hooks(pod, self._validation)
                if one.declared.hook.value in record.hooks.get(one.declared.container, {})
            ]

    def _read_expected(
        self,
    ) -> dict[tuple[str, ProbeKind], tuple[OriginalProbe, list[Manifest]]]:
        passed = rewritten(self._originals, "passthrough")
        requested = rewritten(self._originals, "request")
        return {
            (one.container, one.kind): (one, [first, second])
            for one, first, second in zip(self._originals, passed, requested, strict=True)
        }

    def _starts_too_early(self, container: Container) -> bool:
        sidecar = self._sidecar
        if not container.starts_before_containers or sidecar is None:
            return False
        order = [one.name for one in self._pod.containers]
        return order.index(container.name) < order.index(SIDECAR)

    def _port(self, port: int, askers: Sequence[str], mesh_may_serve: bool) -> Finding:
        subject = f"port {port}"
        if text := served_by(port, self._pod):
            return good(subject, text)
        meshed = self._proxy or "status" not in self._pod.value
        if port != HEALTHCHECK_PORT and mesh_may_serve and meshed:
            return unsure(
                subject,
                f"is not {SIDECAR}'s: the mesh's proxy has to serve it",
                "see osm-healthcheck render",
            )
        return wrong(
            subject,
            f"{', '.join(askers)} ask{'s' * (len(askers) == 1)} it, and nothing "
            "in the pod serves it",
            _AGAIN,
        )
