"""The events of a pod: what the kubelet says of failed probes, and what that means."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from osm_healthcheck.injection.manifest_probe import own_port_of
from osm_healthcheck.injection.pods import SIDECAR, Manifest, Pod
from osm_healthcheck.probes.constants import HEALTHCHECK_PORT
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.verification.declared import served_ports
from osm_healthcheck.verification.findings import Finding, good, unsure, wrong
from osm_healthcheck.verification.status import log_command, mapping, status_of

_RECENT = 600.0  # seconds
_CLOCKS = 10.0  # seconds by which ours and the cluster's may differ, and an event be late
# client-go/tools/record/events_cache.go: defaultSpamBurst is 25 events of a pod
_UNFILTERED = 20
# What a status code means, by who gave it: one code can mean one thing on the port of checks, and
# another on those of httpGet probes, where an answer may be the app's own as well.
_TOO_SLOW = "the app answers too slowly: look at it, or raise timeoutSeconds"
_CHECK_CODES = {
    "400": "its header is wrong: inject the manifest again",
    "403": "it asks what was not declared: inject the manifest again",
    "404": "the app refuses connections on that port",
    "503": "the app says itself that it is unhealthy, or has no gRPC health service",
    "504": _TOO_SLOW,
}
_HTTP_CODES = {
    "400": "the app answers that, or the probe's headers are wrong",
    "403": "the app answers that, or --allow-from leaves the kubelet's address out",
    "404": "no declared probe has that path (inject the manifest again), or the app has no such "
    "path",
    "502": "the app's answer is not HTTP: is the scheme right?",
    "503": "the app refuses connections, or says itself that it is unhealthy",
    "504": _TOO_SLOW,
}
# What the kubelet says of a failed probe otherwise.
_REFUSED = re.compile(r":1590[1-4]: (connect: )?connection refused")
_TIMED_OUT = re.compile(r"deadline exceeded|Client\.Timeout|i/o timeout")
_BROKEN_OFF = re.compile(r"\bEOF\b|connection reset|malformed HTTP|tls:")
_ASKED = re.compile(r":(1590[1-4])\b")


def event_findings(pod: Pod, events: Iterable[Manifest], now: float) -> list[Finding]:
    """The ``Unhealthy`` events of the pod; those of the last ten minutes count as wrong.

    But for a startup probe of a container that has started: it fails until then, by its nature. And
    for what is over: a readiness probe of a container that is ready now, and what a container met
    before it was started again, or what a liveness probe no longer meets.
    """
    findings = []
    for event in events:
        if event.get("reason") != "Unhealthy" or not is_about(event, pod):
            continue
        message, times, container = message_of(event), times_of(event), container_of(event)
        meaning = _meaning_of(message, pod, container)
        subject = f"event {container}".rstrip()
        if message.startswith("Startup probe ") and _has_started(pod, container):
            findings.append(good(subject, f"{message}{times}, before it started"))
        elif over := _why_over(event, message, pod, now):
            findings.append(unsure(subject, f"{message}{times}, {over}", meaning))
        elif is_recent(event, now):
            findings.append(wrong(subject, f"{message}{times}", meaning or "look at the app"))
        else:
            age = _ago(now - (_time_of(event) or now))
            findings.append(unsure(subject, f"{message}{times}, {age}", meaning))
    return findings


def events_in(value: object) -> list[Manifest]:
    """The events in a document: itself, or the items of a list."""
    if not isinstance(value, dict):
        return []
    items = value.get("items")
    found = [value, *(items if isinstance(items, list) else [])]
    listed = value.get("kind") == "EventList"  # the items of a typed list need not name their kind
    return [
        one
        for one in found
        if isinstance(one, dict) and (one.get("kind") == "Event" or (listed and one is not value))
    ]


def by_pod(events: Iterable[Manifest]) -> Mapping[str, Sequence[Manifest]]:
    """The events by the name of what they are about: a cluster has thousands."""
    found: dict[str, list[Manifest]] = {}
    for event in events:
        about = mapping(event, "involvedObject") or mapping(event, "regarding")
        found.setdefault(str(about.get("name")), []).append(event)
    return found


def of_pod(events: Mapping[str, Sequence[Manifest]], pod: Pod) -> Sequence[Manifest]:
    """Those that can be about ``pod``."""
    return events.get(str(mapping(pod.value, "metadata").get("name")), ())


def is_about(event: Manifest, pod: Pod) -> bool:
    """Whether the event is one of ``pod``."""
    about = mapping(event, "involvedObject") or mapping(event, "regarding")
    metadata = mapping(pod.value, "metadata")
    if pod.kind != "Pod" or about.get("kind") != "Pod" or about.get("name") != metadata.get("name"):
        return False
    if about.get("uid") and metadata.get("uid") and about["uid"] != metadata["uid"]:
        return False  # of one of the same name that is gone
    spaces = about.get("namespace"), metadata.get("namespace")
    return None in spaces or spaces[0] == spaces[1]


def is_recent(event: Manifest, now: float) -> bool:
    """Whether it was seen in the last ten minutes, or does not say when."""
    when = _time_of(event)
    return when is None or now - when <= _RECENT


def message_of(event: Manifest) -> str:
    """What the event says, in one line."""
    return " ".join(str(event.get("message") or event.get("note") or "").split())


def times_of(event: Manifest) -> str:
    """How often it was seen, as `` (x3)``; empty for once."""
    count = count_of(event)
    return f" (x{count})" if count != 1 else ""


def count_of(event: Manifest) -> int:
    """How often it was seen."""
    return _number(event.get("count") or mapping(event, "series").get("count"), 1)


def container_of(event: Manifest) -> str:
    """The container that the event is about; empty where it is about the pod."""
    about = mapping(event, "involvedObject") or mapping(event, "regarding")
    found = re.search(r"\{(.+)\}", str(about.get("fieldPath") or ""))
    return found[1] if found else ""


def _why_over(event: Manifest, message: str, pod: Pod, now: float) -> str:
    """Why it no longer holds, by the container's status; empty where it may.

    A liveness probe that goes on failing shows in the event within two periods, as long as the
    kubelet does not hold events back.
    """
    container = container_of(event)
    status = status_of(pod, container) or {}
    if message.startswith("Readiness probe "):
        return "and it is ready now" if status.get("ready") is True else ""
    started = _seconds(mapping(mapping(status, "state"), "running").get("startedAt"))
    seen = _time_of(event)
    if started is None or seen is None:
        return ""
    if seen < started:
        return "before it was started again"
    patience = _patience(message, pod, container)
    if now - seen > patience and count_of(event) < _UNFILTERED:
        return f"and no more for {now - seen:.0f} s"
    return ""


def _patience(message: str, pod: Pod, name: str) -> float:
    """Within how many seconds a probe that goes on failing is reported once more."""
    container = pod.container(name)
    for kind, probe in container.probes() if container else ():
        if message.lower().startswith(f"{kind.value} probe ") and isinstance(probe, dict):
            period, timeout = probe.get("periodSeconds"), probe.get("timeoutSeconds")
            return 2 * _number(period, 10) + _number(timeout, 1) + _CLOCKS
    return _RECENT


def _number(value: object, default: int) -> int:
    return value if isinstance(value, int) else default


def _has_started(pod: Pod, container: str) -> bool:
    status = status_of(pod, container)
    return status is not None and status.get("started") is True


def _meaning_of(message: str, pod: Pod, container: str) -> str:
    """What the failure of a probe of ``container`` means; empty where that is not known."""
    port = _port_asked(message, pod, container)
    if _REFUSED.search(message):
        if pod.container(SIDECAR) is not None:
            return f"nothing listens there: {log_command(pod, SIDECAR)}"
        return "nothing listens there: it is the mesh's proxy, or the node's agent, that should"
    found = re.search(r"statuscode: (\d+)", message)
    code = found[1] if found else ""
    check, other = _CHECK_CODES.get(code, ""), _HTTP_CODES.get(code, "")
    if port is None and check and other and check != other:
        return f"where it asks {HEALTHCHECK_PORT}: {check}; else: {other}"
    if meaning := check if port == HEALTHCHECK_PORT else other:
        return meaning
    return _meaning_without_answer(message, pod)


def _meaning_without_answer(message: str, pod: Pod) -> str:
    """What it means that no answer came; empty where one did, or that is not known.

    Our container answers 50 ms before the kubelet's time is up, however slow the app is, and breaks
    off no connection, but for TLS that it hands through: there the end is the app's, or none.
    """
    taken = "the mesh's proxy took the connection"
    asked = _ASKED.search(message)
    name, ports = served_ports(pod)
    is_handed_through = asked is not None and int(asked[1]) in ports and "https://" in message
    if _TIMED_OUT.search(message):
        if asked is None:
            return f"{taken}, or the app answers too slowly"
        if int(asked[1]) not in ports:
            return _TOO_SLOW
        if is_handed_through:
            return f"TLS is handed through: {_TOO_SLOW}; or see the bypass"
        return f"{name} itself did not answer in time: the node is short of CPU, or see the bypass"
    if not _BROKEN_OFF.search(message):
        return ""
    if is_handed_through:
        return f"TLS is handed through: the app refuses or breaks off, or {taken}"
    return f"{taken}: see the bypass" if asked else taken


def _port_asked(message: str, pod: Pod, name: str) -> int | None:
    """Which of 15901-15904 the probe asks whose failure ``message`` reports.

    ``None`` where the probe is gone, or asks another port.
    """
    container = pod.container(name)
    for kind, probe in container.probes() if container else ():
        if message.lower().startswith(f"{kind.value} probe "):
            return own_port_of(probe, OwnPorts())
    return None


def _time_of(event: Manifest) -> float | None:
    """When it was seen last (Unix time); ``None`` where it does not say."""
    series = mapping(event, "series")
    metadata = mapping(event, "metadata")
    for value in (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event.get("deprecatedLastTimestamp"),
        metadata.get("creationTimestamp"),
    ):
        if (seconds := _seconds(value)) is not None:
            return seconds
    return None


def _seconds(value: object) -> float | None:
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None
    except ValueError:
        return None


def _ago(seconds: float) -> str:
    hours = int(seconds // 3600)
    return f"{hours} hours ago" if hours else f"{int(seconds // 60)} minutes ago"
