"""Checks on a running pod's object: container states, the bypass, events."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, cast

from osm_healthcheck.injection.manifest_probe import own_port_of
from osm_healthcheck.injection.mesh import covers
from osm_healthcheck.injection.pods import INIT_CONTAINER, Manifest, Pod
from osm_healthcheck.probes.constants import HEALTHCHECK_PORT
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.verification.findings import Finding, good, unsure, wrong

_RECENT = 600.0  # seconds
_OSM_INIT = "osm-init"
# What a status code means, by who gave it: one code can mean one thing on the port of checks, and
# another on those of httpGet probes, where an answer may be the app's own as well.
_CHECK_CODES = {
    "400": "its header is wrong: inject the manifest again",
    "403": "it asks what was not declared: inject the manifest again",
    "404": "the app refuses connections on that port",
    "503": "the app says itself that it is unhealthy, or has no gRPC health service",
}
_HTTP_CODES = {
    "400": "the app answers that, or the probe's headers are wrong",
    "403": "the app answers that, or --allow-from leaves the kubelet's address out",
    "404": "no declared probe has that path (inject the manifest again), or the app has no such "
    "path",
    "502": "the app's answer is not HTTP: is the scheme right?",
    "503": "the app refuses connections, or says itself that it is unhealthy",
}
# What the kubelet says of a failed probe otherwise, and what that means where we answer it.
_MEANINGS = (
    (
        r":1590[1-4]: (connect: )?connection refused",
        "nothing listens there: see osm-healthcheck's state and log",
    ),
    (
        r"statuscode: 504|deadline exceeded|Client\.Timeout|i/o timeout",
        "the app answers too slowly: look at it, or raise timeoutSeconds",
    ),
    (
        r"\bEOF\b|connection reset|malformed HTTP|tls:",
        "the mesh's proxy took the connection: see the bypass",
    ),
)


def sidecar_state(pod: Pod, name: str) -> Finding:
    """Whether the container ``name`` runs and is ready, where the object has a status."""
    status = _status_of(pod, name)
    if status is None:
        if pod.value.get("status"):
            return wrong(
                name, "is in the pod, but has not been started", "see kubectl describe pod"
            )
        return good(name, "is in the pod")
    state = status.get("state") or {}
    log = f"see kubectl logs -c {name}"
    for other in ("waiting", "terminated"):
        if isinstance(found := state.get(other), dict):
            reason = found.get("reason") or f"exit code {found.get('exitCode')}"
            return wrong(name, f"is {other}: {reason}", log)
    if not status.get("ready"):
        return wrong(name, "runs, but is not ready", log)
    if restarts := status.get("restartCount"):
        return unsure(name, f"runs and is ready, but was restarted {restarts} times", log)
    return good(name, "runs and is ready")


def bypass_findings(
    pod: Pod, ports: Sequence[int], annotations: Iterable[str], *, elsewhere: bool
) -> list[Finding]:
    """Whether something keeps the mesh's redirect off ``ports``."""
    subject = "bypass"
    lacking = ""
    for name in annotations:
        if (value := pod.annotations.get(name)) is None:
            continue
        missing = [str(port) for port in ports if not covers(value, port)]
        if not missing:
            return [good(subject, f"{name} names {', '.join(map(str, ports))}")]
        lacking = lacking or f"{name} does not name {', '.join(missing)}"
    for name in (INIT_CONTAINER, _OSM_INIT):
        if pod.container(name) is not None:
            return [_init_state(pod, name)]
    if lacking and not elsewhere:
        return [wrong(subject, lacking, "inject the manifest again")]
    if elsewhere:
        return [unsure(subject, "neither an annotation nor an init container: left to others")]
    return [
        wrong(
            subject,
            f"nothing keeps the mesh's redirect off {', '.join(map(str, ports))}",
            "inject with --mesh, or verify --no-init where something else does it",
        )
    ]


def event_findings(pod: Pod, events: Iterable[Manifest], now: float) -> list[Finding]:
    """The ``Unhealthy`` events of the pod; those of the last ten minutes count as wrong.

    But for a startup probe of a container that has started: it fails until then, by its nature.
    """
    findings = []
    for event in events:
        if event.get("reason") != "Unhealthy" or not _is_about(event, pod):
            continue
        message = " ".join(str(event.get("message") or event.get("note") or "").split())
        count = event.get("count") or _mapping(event, "series").get("count") or 1
        times = f" (x{count})" if count != 1 else ""
        age = now - when if (when := _time_of(event)) else 0.0
        meaning = _meaning_of(message, _port_asked(event, message, pod))
        subject = f"event{_container_in(event)}"
        if message.startswith("Startup probe ") and _has_started(pod, _container_in(event).strip()):
            findings.append(good(subject, f"{message}{times}, before it started"))
        elif age <= _RECENT:
            findings.append(wrong(subject, f"{message}{times}", meaning or "look at the app"))
        else:
            findings.append(unsure(subject, f"{message}{times}, {_ago(age)}", meaning))
    return findings


def _has_started(pod: Pod, container: str) -> bool:
    status = _status_of(pod, container)
    return status is not None and status.get("started") is True


def _meaning_of(message: str, port: int | None) -> str:
    """What the failure of a probe on ``port`` (15901-15904) means; empty where that is not known.

    ``port`` is ``None`` where the probe is gone, or asks another port.
    """
    found = re.search(r"statuscode: (\d+)", message)
    code = found[1] if found else ""
    check, other = _CHECK_CODES.get(code, ""), _HTTP_CODES.get(code, "")
    if port is None and check and other:
        return f"where it asks {HEALTHCHECK_PORT}: {check}; else: {other}"
    if meaning := check if port == HEALTHCHECK_PORT else other:
        return meaning
    return next((text for pattern, text in _MEANINGS if re.search(pattern, message)), "")


def _port_asked(event: Manifest, message: str, pod: Pod) -> int | None:
    """Which of 15901-15904 the probe asks whose failure ``event`` reports."""
    container = pod.container(_container_in(event).strip())
    for kind, probe in container.probes() if container else ():
        if message.lower().startswith(f"{kind.value} probe "):
            return own_port_of(probe, OwnPorts())
    return None


def _init_state(pod: Pod, name: str) -> Finding:
    status = _status_of(pod, name)
    if status is None:
        return good("bypass", f"the init container {name} installs it")
    ended = _mapping(_mapping(status, "state"), "terminated")
    log = f"see kubectl logs -c {name}"
    if not ended:
        return wrong("bypass", f"the init container {name} has not finished", log)
    if ended.get("exitCode") != 0:
        return wrong("bypass", f"the init container {name} failed: {ended.get('exitCode')}", log)
    return good("bypass", f"the init container {name} has installed it")


def _status_of(pod: Pod, name: str) -> dict[str, Any] | None:
    status = _mapping(pod.value, "status")
    for field in ("initContainerStatuses", "containerStatuses"):
        entries = status.get(field)
        for one in entries if isinstance(entries, list) else []:
            if isinstance(one, dict) and one.get("name") == name:
                return one
    return None


def _is_about(event: Manifest, pod: Pod) -> bool:
    about = _mapping(event, "involvedObject") or _mapping(event, "regarding")
    metadata = _mapping(pod.value, "metadata")
    if pod.kind != "Pod" or about.get("kind") != "Pod" or about.get("name") != metadata.get("name"):
        return False
    spaces = about.get("namespace"), metadata.get("namespace")
    return None in spaces or spaces[0] == spaces[1]


def _container_in(event: Manifest) -> str:
    about = _mapping(event, "involvedObject") or _mapping(event, "regarding")
    found = re.search(r"\{(.+)\}", str(about.get("fieldPath") or ""))
    return f" {found[1]}" if found else ""


def _time_of(event: Manifest) -> float | None:
    """When it was seen last (Unix time); ``None`` where it does not say."""
    series = _mapping(event, "series")
    metadata = _mapping(event, "metadata")
    for value in (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event.get("deprecatedLastTimestamp"),
        metadata.get("creationTimestamp"),
    ):
        if isinstance(value, str):
            try:
                return datetime.fromisoformat(value).timestamp()
            except ValueError:
                continue
    return None


def _ago(seconds: float) -> str:
    hours = int(seconds // 3600)
    return f"{hours} hours ago" if hours else f"{int(seconds // 60)} minutes ago"


def _mapping(parent: object, key: str) -> dict[str, Any]:
    value = parent.get(key) if isinstance(parent, dict) else None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
