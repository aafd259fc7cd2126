"""What keeps a pod or a container of it from starting: named before anything else.

Nothing else that is found out about such a pod says as much: its containers have no log, and
nobody answers its probes.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from osm_healthcheck.injection.pods import INIT_CONTAINER, SIDECAR, Manifest, Pod
from osm_healthcheck.verification.events import (
    container_of,
    is_about,
    is_recent,
    message_of,
    times_of,
)
from osm_healthcheck.verification.findings import Finding, wrong
from osm_healthcheck.verification.status import (
    cannot_start,
    describe_command,
    is_starting,
    mapping,
    statuses,
    waiting_reason,
)

# pkg/kubelet/images/types.go; ErrImageNeverPull, InvalidImageName and the others of that file
_PULLING = (
    "ErrImagePull ImagePullBackOff ErrImageNeverPull InvalidImageName ImageInspectError "
    "RegistryUnavailable SignatureValidationFailed"
).split()
# pkg/kubelet/kuberuntime/kuberuntime_container.go: ErrCreateContainerConfig
_CONFIGURATION = "CreateContainerConfigError"
# pkg/kubelet/events/event.go and pkg/scheduler/schedule_one.go
_EVENTS = (
    "FailedScheduling FailedMount FailedAttachVolume FailedCreatePodSandBox "
    "FailedCreatePodContainer Failed InspectFailed ErrImageNeverPull"
).split()


def start_findings(pod: Pod, events: Iterable[Manifest], now: float) -> list[Finding]:
    """What keeps ``pod`` from starting, by its status and by its events of the last ten minutes."""
    findings = [*_scheduling(pod), *_containers(pod)]
    if not findings:
        findings += _by_events(pod, events, now)
    return findings


def _scheduling(pod: Pod) -> Iterator[Finding]:
    conditions = mapping(pod.value, "status").get("conditions")
    for one in conditions if isinstance(conditions, list) else []:
        kind = one.get("type") if isinstance(one, dict) else None
        if kind == "PodScheduled" and one.get("status") == "False":
            yield _unscheduled(one.get("reason") or "FailedScheduling", one.get("message") or "")


def _unscheduled(reason: object, message: object) -> Finding:
    text = f"{reason}: {' '.join(str(message).split())}".removesuffix(": ")
    return wrong("scheduling", text, "make room, or correct what the pod asks of a node")


def _containers(pod: Pod) -> Iterator[Finding]:
    for status in statuses(pod):
        if cannot_start(status):
            waiting = mapping(mapping(status, "state"), "waiting")
            message = " ".join(str(waiting.get("message") or "").split())
            reason = waiting_reason(status)
            text = f"has not been started: {reason}: {message}".removesuffix(": ")
            name = str(status.get("name"))
            yield wrong(name, text, _advice(pod, name, str(reason)))


def _advice(pod: Pod, container: str, reason: str) -> str:
    if reason in _PULLING:
        if container in (SIDECAR, INIT_CONTAINER):
            return (
                "push our image to a registry that the node can pull from, and inject with --image"
            )
        return "correct the image's name, or let the node pull from its registry"
    if reason == _CONFIGURATION:
        return "create what it names, or correct the reference"
    return describe_command(pod)


def _by_events(pod: Pod, events: Iterable[Manifest], now: float) -> Iterator[Finding]:
    """The events that still hold: those of a pod or container that runs by now do not."""
    for event in events:
        reason = event.get("reason")
        if reason not in _EVENTS or not is_about(event, pod) or not is_recent(event, now):
            continue
        container = container_of(event)
        if not _holds(pod, str(reason), container):
            continue
        message = message_of(event)
        if reason == "FailedScheduling":
            yield _unscheduled(reason, f"{message}{times_of(event)}")
            continue
        advice = _advice(pod, container, "ErrImagePull" if "image" in message else str(reason))
        yield wrong(container or "start", f"{reason}: {message}{times_of(event)}", advice)


def _holds(pod: Pod, reason: str, container: str) -> bool:
    if reason == "FailedScheduling":
        return not pod.spec.get("nodeName")
    found = [one for one in statuses(pod) if container in ("", one.get("name"))]
    return not any(_has_run(one) for one in found)


def _has_run(status: dict[str, Any]) -> bool:
    return not (is_starting(status) or cannot_start(status)) or bool(status.get("restartCount"))
