"""What an admission of a pod comes to: a patch, warnings, or a denial.

The pod is rewritten by the same `inject` as the command's. Whatever goes wrong in here admits the
pod as it came: a mistake of ours must not keep anybody's pod from starting.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, cast

from osm_healthcheck.errors import FieldError, InvalidInputError, Validation
from osm_healthcheck.injection.control_plane import control_plane_of
from osm_healthcheck.injection.inject import Injection, inject
from osm_healthcheck.injection.pods import INIT_CONTAINER, SIDECAR, Manifest, Pod, pods_in
from osm_healthcheck.injection.record import MESH, PROBES, VERSION, WARNINGS, is_newer
from osm_healthcheck.injector.admission import AdmissionRequest, AdmissionResponse
from osm_healthcheck.injector.json_patch import Operation, PatchError, apply, difference
from osm_healthcheck.probes.constants import DECLARED_PROBES
from osm_healthcheck.probes.quote import quoted

OnInvalid = Literal["warn", "deny"]
_NAME = "osm-healthcheck"
_OUR_CONTAINERS = (SIDECAR, INIT_CONTAINER)
# Istio's documentation: a container of this image holds settings for a proxy that is to be added
_NOT_YET_A_PROXY = "auto"


class Outcome(StrEnum):
    """How an admission came out; the values are those of the metric."""

    INJECTED = "injected"
    UNCHANGED = "unchanged"
    INVALID = "invalid"
    DENIED = "denied"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Admission:
    """An answer and what it came to.

    ``notices`` hold for every pod of the mesh, and so are for the log and not for each pod's
    author; ``error`` is a mistake of ours, for the log as well. ``mesh`` is that which the pod was
    admitted for, where it came to that.
    """

    response: AdmissionResponse
    outcome: Outcome
    notices: Sequence[str] = ()
    error: str = ""
    mesh: str = ""


@dataclass(frozen=True, slots=True)
class PodAdmission:
    """Admits pods: ``injections`` by the name of the mesh, and what to do with invalid pods."""

    injections: Mapping[str, Injection]
    default_mesh: str
    on_invalid: OnInvalid = "warn"

    def admit(self, request: AdmissionRequest, mesh: str = "") -> Admission:
        """Answer ``request``; a pod's own label names its mesh, or else ``mesh`` does."""
        if request.resource != "pods" or request.subresource or request.operation != "CREATE":
            what = f"{request.resource}/{request.subresource}".rstrip("/")
            return _unchanged(
                request,
                f"pods are changed when they are created, not on {request.operation} of {what}: "
                "correct the rules of the webhook",
            )
        try:
            return self._admit(request, mesh or self.default_mesh)
        except InvalidInputError as error:
            return self._invalid(request, error.errors)

    def _admit(self, request: AdmissionRequest, mesh: str) -> Admission:
        pod = _read_pod(request.object)
        injection = self._injection(pod, mesh)
        before = pod.value
        if control_plane_of(pod):
            return _unchanged(request)
        if _is_answered(pod) and is_newer(pod, injection.version):
            return _unchanged(
                request,
                f"left as it is: osm-healthcheck {pod.annotations[VERSION]} has injected it, and "
                f"this injector is {injection.version}",
            )
        is_ours = _is_answered(pod) and pod.annotations.get(VERSION) == injection.version
        if not is_ours and (proxy := _standing_proxy(pod, injection)):
            return _unchanged(
                request,
                f"left alone: the proxy of {injection.mesh.name}, {proxy}, is in the pod already: "
                "this webhook has to run before the mesh's (they run in the order of their "
                "configurations' names)",
            )
        changed = inject(before, injection)
        warnings = [_warning(one.where, one.text) for one in changed.warnings if not one.is_general]
        notices = [_warning(one.where, one.text) for one in changed.warnings if one.is_general]
        after = cast("Manifest", changed.manifest)
        if is_ours:
            if _records_the_same(before, after):
                return _unchanged(request)
            _keep_what_others_set(before, after)
        outcome = Outcome.UNCHANGED if after == before else Outcome.INJECTED
        if _is_owned(before):
            _keep_warnings(after, warnings)
        patch = difference(before, after)
        # the API server answers 500 where a patch does not apply, whatever the failure policy
        try:
            applied = apply(before, patch) == after
        except PatchError:
            applied = False
        if not applied:
            return _failed(request, "the patch does not lead to the injected pod")
        response = AdmissionResponse(request.uid, patch=patch, warnings=warnings)
        return Admission(response, outcome, notices, mesh=injection.mesh.name)

    def _injection(self, pod: Pod, mesh: str) -> Injection:
        labels = cast("Manifest", pod.value.get("metadata") or {}).get("labels")
        named = labels.get(MESH) if isinstance(labels, dict) else None
        if named is None:
            return self.injections[mesh]
        if (found := self.injections.get(str(named))) is None:
            known = ", ".join(quoted(name) for name in self.injections)
            raise InvalidInputError(
                [
                    FieldError(
                        f"{pod.where}: metadata.labels: {MESH}",
                        f"Unsupported value: {quoted(named)}: supported values: {known}",
                    )
                ]
            )
        return found

    def _invalid(self, request: AdmissionRequest, errors: Sequence[FieldError]) -> Admission:
        if self.on_invalid == "deny":
            message = _denial(request.object, errors)
            response = AdmissionResponse(request.uid, allowed=False, message=message)
            return Admission(response, Outcome.DENIED)
        warnings = [_warning(one.where, one.problem) for one in errors]
        warnings.append(f"{_NAME}: the pod is left as it was: in a mesh its probes fail")
        patch = _warnings_patch(request.object, warnings)
        return Admission(
            AdmissionResponse(request.uid, patch=patch, warnings=warnings), Outcome.INVALID
        )


def failed(uid: str, error: BaseException) -> Admission:
    """The answer where ``error`` was raised by a mistake of ours: the pod as it came."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = "" if frame is None else f" ({frame.tb_frame.f_code.co_filename}:{frame.tb_lineno})"
    return _failure(uid, f"{type(error).__name__}: {error}{where}")


def _failed(request: AdmissionRequest, error: str) -> Admission:
    return _failure(request.uid, error)


def _failure(uid: str, error: str) -> Admission:
    warning = (
        f"{_NAME}: the pod is not injected, by a mistake in osm-healthcheck (the injector's log "
        "has it): its probes are as they were"
    )
    return Admission(AdmissionResponse(uid, warnings=[warning]), Outcome.FAILED, error=error)


def _unchanged(request: AdmissionRequest, *warnings: str) -> Admission:
    named = [f"{_NAME}: {one}" for one in warnings]
    patch = _warnings_patch(request.object, named) if named else []
    return Admission(AdmissionResponse(request.uid, patch=patch, warnings=named), Outcome.UNCHANGED)


def _read_pod(manifest: object) -> Pod:
    validation = Validation()
    pods = pods_in(manifest, validation)
    if not validation.errors and len(pods) != 1:
        validation.error("request.object", "is not a pod")
    validation.raise_errors()
    return pods[0]


def _is_answered(pod: Pod) -> bool:
    """Whether there is somebody who answers rewritten probes: a sidecar, or node mode."""
    return pod.container(SIDECAR) is not None or DECLARED_PROBES in pod.annotations


def _standing_proxy(pod: Pod, injection: Injection) -> str:
    """The container by which a mesh's injector shows that it has been here; empty if it has not.

    What it reads, our annotations for its list of ports, would come too late.
    """
    if VERSION in pod.annotations:
        return ""
    container = pod.container(injection.mesh.proxy) if injection.mesh.proxy else None
    if container is None or container.value.get("image") == _NOT_YET_A_PROXY:
        return ""
    return container.name


def _records_the_same(before: Manifest, after: Manifest) -> bool:
    """Whether a second injection found no other probes than the first did."""
    return _annotations(before).get(PROBES) == _annotations(after).get(PROBES)


def _keep_what_others_set(before: Manifest, after: Manifest) -> None:
    """Keep what other admission plugins have put into our containers since the first injection.

    Without the limits that LimitRanger has set, say, the API server would refuse the pod.
    """
    for field in ("initContainers", "containers"):
        was = {one["name"]: one for one in _containers(before, field)}
        spec = cast("Manifest", after["spec"])
        if field in spec:
            spec[field] = [
                _merged(was[one["name"]], one)
                if one["name"] in _OUR_CONTAINERS and one["name"] in was
                else one
                for one in _containers(after, field)
            ]


def _containers(manifest: Manifest, field: str) -> list[dict[str, Any]]:
    return cast("Any", manifest["spec"]).get(field) or []


def _merged(theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """``ours``, with what only ``theirs`` has, at every depth of mappings."""
    merged = {**theirs, **ours}
    for key in theirs.keys() & ours.keys():
        if isinstance(theirs[key], dict) and isinstance(ours[key], dict):
            merged[key] = _merged(theirs[key], ours[key])
    return merged


def _is_owned(manifest: object) -> bool:
    """Whether a controller creates the pod: then nobody sees the warnings."""
    metadata = manifest.get("metadata") if isinstance(manifest, dict) else None
    return isinstance(metadata, dict) and bool(metadata.get("ownerReferences"))


def _keep_warnings(manifest: Manifest, warnings: Sequence[str]) -> None:
    """Write ``warnings`` into the annotation that ``verify`` reads, or remove it."""
    metadata = cast("Manifest", manifest["metadata"])
    annotations = {**_annotations(manifest)}
    annotations.pop(WARNINGS, None)
    if warnings:
        annotations[WARNINGS] = "\n".join(" ".join(one.split()) for one in warnings)
    if annotations or "annotations" in metadata:
        metadata["annotations"] = annotations


def _warnings_patch(manifest: object, warnings: Sequence[str]) -> list[Operation]:
    """The operations that keep ``warnings`` in a pod that is left as it is otherwise."""
    if not _is_owned(manifest):
        return []
    before = cast("dict[str, Any]", manifest)
    if not isinstance(before["metadata"].get("annotations") or {}, dict):
        return []
    after = {**before, "metadata": {**before["metadata"]}}
    _keep_warnings(after, warnings)
    return difference(before, after)


def _annotations(manifest: Manifest) -> dict[str, Any]:
    return cast("Any", manifest.get("metadata") or {}).get("annotations") or {}


def _warning(where: str, text: str) -> str:
    """A warning or error without the name of the pod, which the reader has just typed."""
    parts = (_NAME, _path(where), text.removeprefix("warning: "))
    return ": ".join(part for part in parts if part)


def _path(where: str) -> str:
    """The part of ``where`` behind the pod that it names, as in ``Pod shop/web: app.…``."""
    return where.partition(": ")[2] if where.startswith("Pod ") else where


def _denial(manifest: object, errors: Sequence[FieldError]) -> str:
    """A message in the words of the API server's own validation (``NewInvalid``)."""
    fields = _container_fields(manifest)
    texts = [f"{_field(fields, _path(one.where))}: {one.problem}" for one in errors]
    found = cast("Any", manifest).get("metadata") if isinstance(manifest, dict) else None
    metadata = found if isinstance(found, dict) else {}
    name = metadata.get("name") or metadata.get("generateName") or ""
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return f"Pod {quoted(name)} is invalid: {listed}"


def _field(fields: Mapping[str, str], path: str) -> str:
    """``app.livenessProbe…`` as the API server writes it: ``spec.containers[0].livenessProbe…``."""
    name, _, rest = path.partition(".")
    return f"{fields[name]}.{rest}" if rest and name in fields else path


def _container_fields(manifest: object) -> dict[str, str]:
    """Where the containers stand, by their names; the first of each name."""
    spec = manifest.get("spec") if isinstance(manifest, dict) else None
    fields: dict[str, str] = {}
    for field in ("initContainers", "containers"):
        containers = spec.get(field) if isinstance(spec, dict) else None
        for index, one in enumerate(containers if isinstance(containers, list) else []):
            if isinstance(one, dict):
                fields.setdefault(str(one.get("name")), f"spec.{field}[{index}]")
    return fields
