"""What a pod's object says of its containers, and the commands that say more."""

import shlex
from collections.abc import Iterator
from typing import Any, cast

from osm_healthcheck.injection.pods import Pod

# What a container waits for that has not run yet, and for which nobody is to blame.
# pkg/kubelet/kubelet_pods.go: ContainerCreating, PodInitializing
_STARTING = ("", "ContainerCreating", "PodInitializing")
_CRASHED = "CrashLoopBackOff"


def mapping(parent: object, key: str) -> dict[str, Any]:
    """The mapping at ``key`` of ``parent``; an empty one where there is none."""
    value = parent.get(key) if isinstance(parent, dict) else None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def statuses(pod: Pod) -> Iterator[dict[str, Any]]:
    """The status of each container, those of the init containers first."""
    status = mapping(pod.value, "status")
    for field in ("initContainerStatuses", "containerStatuses"):
        entries = status.get(field)
        for one in entries if isinstance(entries, list) else []:
            if isinstance(one, dict):
                yield one


def status_of(pod: Pod, name: str) -> dict[str, Any] | None:
    """The status of the container ``name``; ``None`` where there is none."""
    return next((one for one in statuses(pod) if one.get("name") == name), None)


def is_running_pod(pod: Pod) -> bool:
    """Whether it was read from a cluster: what is in it is all that is in it."""
    return pod.kind == "Pod" and (pod.is_live or bool(mapping(pod.value, "status")))


def phase(pod: Pod) -> str:
    """``Pending``, ``Running``, ``Succeeded``, ``Failed``; empty where that is not known."""
    return str(mapping(pod.value, "status").get("phase") or "")


def waiting_reason(status: dict[str, Any]) -> str | None:
    """Why the container waits; ``None`` where it does not."""
    state = mapping(status, "state")
    if "waiting" not in state:
        return None
    return str(mapping(state, "waiting").get("reason") or "")


def is_starting(status: dict[str, Any]) -> bool:
    """Whether it is on its way, and nothing is known to be in its way."""
    return waiting_reason(status) in _STARTING


def cannot_start(status: dict[str, Any]) -> bool:
    """Whether its image, or what it was told to use, keeps it from being started at all."""
    reason = waiting_reason(status)
    return reason is not None and reason not in (*_STARTING, _CRASHED)


def last_end(status: dict[str, Any]) -> str:
    """How it ended the last time, as ``OOMKilled (exit code 137)``; empty where it never did."""
    for field in ("state", "lastState"):
        ended = mapping(mapping(status, field), "terminated")
        if ended:
            reason, code = ended.get("reason"), f"exit code {ended.get('exitCode')}"
            return f"{reason} ({code})" if reason else code
    return ""


def log_command(pod: Pod, container: str) -> str:
    """The command that prints the log in which the reason stands, of the run that ended."""
    status = status_of(pod, container) or {}
    ended = "terminated" in mapping(status, "state")
    crashed = bool(mapping(mapping(status, "lastState"), "terminated"))
    previous = ["--previous"] if crashed and not ended else []
    return _command("logs", pod, ["-c", container, *previous])


def describe_command(pod: Pod) -> str:
    """The command that prints the pod's events."""
    return _command("describe pod", pod, [])


def _command(verb: str, pod: Pod, arguments: list[str]) -> str:
    metadata = mapping(pod.value, "metadata")
    name = metadata.get("name") if pod.kind == "Pod" else None
    namespace = metadata.get("namespace") if pod.kind == "Pod" else None
    words = ["-n", str(namespace)] if namespace else []
    words += [str(name)] if name else []
    placeholder = "" if name else " POD"
    return " ".join([f"kubectl {verb}{placeholder}", *map(shlex.quote, [*words, *arguments])])
