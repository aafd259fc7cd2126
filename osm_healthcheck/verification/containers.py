"""The containers of a running pod: whether ours runs, and whether others met an error."""

from typing import Any

from osm_healthcheck.injection.pods import INIT_CONTAINER, SIDECAR, Pod
from osm_healthcheck.verification.findings import Finding, good, unsure, wrong
from osm_healthcheck.verification.status import (
    cannot_start,
    is_running_pod,
    is_starting,
    last_end,
    log_command,
    mapping,
    phase,
    status_of,
    statuses,
    waiting_reason,
)

_OUT_OF_MEMORY = "OOMKilled"
# Looked at by sidecar_state and init_state.
_LOOKED_AT = (SIDECAR, INIT_CONTAINER, "osm-init", "fsm-init")


def sidecar_state(pod: Pod, name: str) -> list[Finding]:
    """Whether the container ``name`` runs and is ready, where the object has a status.

    Empty where it cannot be started: that is said already.
    """
    status = status_of(pod, name)
    if status is None:
        if is_running_pod(pod):
            return [unsure(name, "is in the pod, and has not been started yet")]
        return [good(name, "is in the pod")]
    if cannot_start(status):
        return []
    if is_starting(status):
        return [unsure(name, "is about to be started")]
    if problem := _problem(pod, status):
        return [problem]
    if status.get("started") is False:
        return [unsure(name, "runs, and its startup probe has not succeeded yet")]
    if not status.get("ready"):
        return [wrong(name, "runs, but is not ready", log_command(pod, name))]
    return [_restarts(pod, status) or good(name, "runs and is ready")]


def other_containers(pod: Pod) -> list[Finding]:
    """What the containers that are not ours met: those that crashed, or were restarted."""
    found = []
    for status in statuses(pod):
        if status.get("name") in _LOOKED_AT or cannot_start(status):
            continue
        if finding := _problem(pod, status) or _restarts(pod, status):
            found.append(finding)
    return found


def not_ready(pod: Pod) -> list[Finding]:
    """The containers that run and are not ready."""
    return [
        wrong(name, "runs, but is not ready", log_command(pod, name))
        for status in statuses(pod)
        if "running" in mapping(status, "state") and not status.get("ready")
        for name in [str(status.get("name"))]
        if (container := pod.container(name)) and not container.starts_before_containers
    ]


def init_state(pod: Pod, name: str) -> list[Finding]:
    """Whether the init container ``name``, which installs the bypass, has done so."""
    status = status_of(pod, name)
    if status is None:
        return [good("bypass", f"the init container {name} installs it")]
    ended = mapping(mapping(status, "state"), "terminated")
    if ended.get("exitCode") == 0:
        return [good("bypass", f"the init container {name} has installed it")]
    if cannot_start(status):
        return []
    if is_starting(status):
        return [unsure("bypass", f"the init container {name} has not been started yet")]
    log = log_command(pod, name)
    if how := last_end(status):
        return [wrong("bypass", f"the init container {name} failed: {how}", log)]
    return [wrong("bypass", f"the init container {name} has not finished", log)]


def _problem(pod: Pod, status: dict[str, Any]) -> Finding | None:
    """The container crashed, and waits to be started again, or stays as it is."""
    name, how = str(status.get("name")), last_end(status)
    if reason := waiting_reason(status):
        text = f"is waiting: {reason}" + (f", it ended with {how}" if how else "")
        return None if is_starting(status) else wrong(name, text, _advice(pod, name, how))
    ended = mapping(mapping(status, "state"), "terminated")
    if not ended or (ended.get("exitCode") == 0 and not _has_to_run(pod, name)):
        return None
    return wrong(name, f"has ended: {how}", _advice(pod, name, how))


def _has_to_run(pod: Pod, name: str) -> bool:
    container = pod.container(name)
    if container is None or phase(pod) in ("Succeeded", "Failed"):
        return False
    if container.starts_before_containers:
        return container.is_native_sidecar
    return pod.spec.get("restartPolicy") in (None, "Always")


def _restarts(pod: Pod, status: dict[str, Any]) -> Finding | None:
    restarts = status.get("restartCount")
    if not restarts or "running" not in mapping(status, "state"):
        return None
    name, how = str(status.get("name")), last_end(status)
    ready = " and is ready" if status.get("ready") else ""
    times = "once" if restarts == 1 else f"{restarts} times"
    text = f"runs{ready}, but was restarted {times}" + (f", the last time after {how}" * bool(how))
    return unsure(name, text, _advice(pod, name, how))


def _advice(pod: Pod, name: str, how: str) -> str:
    log = log_command(pod, name)
    if how.startswith(_OUT_OF_MEMORY):
        return f"raise its memory limit; {log}"
    return log
