"""What a watch prints: lines as ``kubectl describe pod`` has them, or JSON objects."""

import asyncio
import json
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from osm_healthcheck.kubelet.address import PodAddress
from osm_healthcheck.kubelet.describe import age, describe
from osm_healthcheck.kubelet.events import Recorded
from osm_healthcheck.kubelet.pod_spec import ContainerSpec, PodSpec
from osm_healthcheck.kubelet.prober import Outcome
from osm_healthcheck.kubelet.verdict import Result
from osm_healthcheck.kubelet.watch import Observer, ScheduledProbe, Watch
from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.probes.probe import ExecAction

Outcomes = Mapping[tuple[str, str, ProbeKind], Outcome]

NOT_RUN = "not run: an exec probe belongs inside the container"
_NOT_SENT = (
    "Note: from here on a cluster would show fewer of these: the kubelet sends 25 events about a "
    "pod, then one in 5 minutes."
)
_KINDS = (ProbeKind.LIVENESS, ProbeKind.READINESS, ProbeKind.STARTUP)


class Report(Observer, Protocol):
    """A way to show what happens. ``failure`` is why it could not go on, if so."""

    failure: OSError | None

    def begin(self, watches: Sequence[Watch], address: PodAddress) -> None:
        """The watch begins."""

    def end(self) -> None:
        """The watch is over."""

    def once(self, pods: Sequence[PodSpec], outcomes: Outcomes) -> None:
        """Each probe has been run once."""


class Output:
    """Standard output, a line at a time. A reader that leaves ends the watch."""

    def __init__(self, over: asyncio.Event | None = None) -> None:
        self.failure: OSError | None = None
        self._over = over

    def write(self, text: str) -> None:
        """Write ``text`` at once."""
        if self.failure is not None:
            return
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError as error:
            self.failure = error
            if self._over is None:
                raise
            self._over.set()


class TextReport(Output):
    """Lines for a person who reads a log."""

    def __init__(self, over: asyncio.Event | None = None) -> None:
        super().__init__(over)
        self._watches: Sequence[Watch] = ()
        self._summaries: dict[Watch, str] = {}
        self._noted = False

    def begin(self, watches: Sequence[Watch], address: PodAddress) -> None:
        """See `Report`."""
        self._watches = watches
        for line in describe_pods([watch.spec for watch in watches]):
            self.write(line + "\n")
        for line in event_header("Elapsed"):
            self.write(line + "\n")

    def probed(self, watch: Watch, scheduled_probe: ScheduledProbe, outcome: Outcome) -> None:
        """See `Observer`: what succeeds is no news."""

    def happened(self, watch: Watch, recorded: Recorded) -> None:
        """See `Observer`."""
        if not recorded.sent and not self._noted:
            self._noted = True
            self.write(_NOT_SENT + "\n")
        since = age(recorded.last - watch.started_at)
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        for line in event_lines(watch.spec, recorded, since, recorded.last, width):
            self.write(line + "\n")

    def changed(self, watch: Watch, container: str) -> None:
        """See `Observer`."""
        line = summary(watch)
        if self._summaries.get(watch) != line:
            self._summaries[watch] = line
            since = age(asyncio.get_running_loop().time() - watch.started_at)
            self.write(f"  {'-':<7}  {'-':<12}  {since:<18}  {line}\n")

    def end(self) -> None:
        """See `Report`."""
        for watch in self._watches:
            self.write(summary(watch) + "\n")

    def once(self, pods: Sequence[PodSpec], outcomes: Outcomes) -> None:
        """See `Report`."""
        rows = []
        for pod, container, kind, line in probe_lines(pods):
            outcome = outcomes.get((pod.name, container, kind))
            name = f"{container} {kind}" if len(pods) == 1 else f"{pod.name} {container} {kind}"
            if outcome is None:
                rows.append((name, "-", "", NOT_RUN))
                continue
            verdict = outcome.verdict
            text = "" if verdict.result is Result.SUCCESS else printable(verdict.output)
            if verdict.error is not None:
                error = pod.container(container).port_problem(kind) or verdict.error
                text = f"errored after {outcome.attempts} attempts: {printable(error)}"
            rows.append((name, str(verdict.result), latency(outcome), text or line))
        if not rows:
            self.write("no probes\n")
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            self.write("  ".join([*cells, row[3]]).rstrip() + "\n")


class JSONReport(Output):
    """One object a line, for programs. ``kind`` is ``Event``, ``Probe`` or ``Status``."""

    def __init__(self, over: asyncio.Event | None = None) -> None:
        super().__init__(over)
        self._epoch = 0.0

    def begin(self, watches: Sequence[Watch], address: PodAddress) -> None:
        """See `Report`."""
        self._epoch = time.time() - asyncio.get_running_loop().time()
        for watch in watches:
            self._not_run(watch.spec)

    def probed(self, watch: Watch, scheduled_probe: ScheduledProbe, outcome: Outcome) -> None:
        """See `Observer`."""
        worker = scheduled_probe.worker
        self._probe(
            watch.spec.name,
            worker.container,
            worker.kind,
            outcome,
            streak=worker.result_run,
            threshold=worker.threshold,
            onHold=worker.on_hold,
        )

    def happened(self, watch: Watch, recorded: Recorded) -> None:
        """See `Observer`."""
        self._object(
            "Event",
            pod=watch.spec.name,
            container=recorded.event.container,
            type=recorded.event.kind,
            reason=recorded.event.reason,
            message=recorded.event.message,
            count=recorded.count,
            firstTimestamp=self._time(recorded.first),
            lastTimestamp=self._time(recorded.last),
            sent=recorded.sent,
        )

    def changed(self, watch: Watch, container: str) -> None:
        """See `Observer`."""
        status = watch.pod.status.containers[container]
        self._object(
            "Status",
            pod=watch.spec.name,
            container=container,
            started=bool(status.started),
            ready=status.ready,
            restartCount=status.restarts,
        )

    def end(self) -> None:
        """See `Report`."""

    def once(self, pods: Sequence[PodSpec], outcomes: Outcomes) -> None:
        """See `Report`."""
        for (pod, container, kind), outcome in outcomes.items():
            self._probe(pod, container, kind, outcome)
        for spec in pods:
            self._not_run(spec)

    def _not_run(self, pod: PodSpec) -> None:
        for _, container, kind, line in probe_lines([pod]):
            if line.startswith("exec "):
                self._object(
                    "Probe",
                    pod=pod.name,
                    container=container,
                    probe=kind.value,
                    result=None,
                    output=NOT_RUN,
                )

    def _probe(
        self, pod: str, container: str, kind: ProbeKind, outcome: Outcome, **more: object
    ) -> None:
        self._object(
            "Probe",
            pod=pod,
            container=container,
            probe=kind.value,
            result=outcome.verdict.result.value,
            output=outcome.verdict.output,
            error=outcome.verdict.error,
            attempts=outcome.attempts,
            seconds=round(outcome.seconds, 6),
            **more,
        )

    def _object(self, kind: str, **fields: object) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.write(json.dumps({"time": now, "kind": kind, **fields}) + "\n")

    def _time(self, at: float) -> str:
        return datetime.fromtimestamp(self._epoch + at, UTC).isoformat(timespec="milliseconds")


def probe_lines(pods: Sequence[PodSpec]) -> Iterator[tuple[PodSpec, str, ProbeKind, str]]:
    """Pod, container, kind and description of every probe, in ``kubectl``'s order."""
    for pod in pods:
        for container in pod.containers:
            for kind in _KINDS:
                if kind in container.probes:
                    yield pod, container.name, kind, describe(container.probes[kind])


def describe_pods(pods: Sequence[PodSpec]) -> Iterator[str]:
    """The part of ``kubectl describe pod`` that is about probes."""
    for pod in pods:
        yield f"Name:  {pod.name}"
        yield "Containers:"
        for container in pod.containers:
            yield f"  {container.name}:"
            for kind in _KINDS:
                if kind not in container.probes:
                    continue
                probe = container.probes[kind]
                remark = f"  ({NOT_RUN})" if isinstance(probe.handler, ExecAction) else ""
                yield f"    {kind.value.capitalize() + ':':<16}{describe(probe)}{remark}"
            if not container.probes:
                yield "    (no probes)"


def event_header(time_column: str) -> Sequence[str]:
    """The head of the list of events, whose time is an ``Age``, or ``Elapsed`` since the start."""
    return (
        "Events:",
        f"  {'Type':<7}  {'Reason':<12}  {time_column:<18}  Message",
        f"  {'----':<7}  {'------':<12}  {'----':<18}  -------",
    )


def event_lines(
    spec: PodSpec, recorded: Recorded, time_text: str, now: float, width: int | None = None
) -> list[str]:
    """One event of a pod's list as it stands at ``now``.

    Where it is wider than ``width``, its message stands in lines of its own under it.
    """
    event = recorded.event
    when = f"{time_text} {recorded.repetition(now)}".rstrip()
    message = printable(event_message(spec.container(event.container), event.message))
    head = f"  {event.kind:<7}  {event.reason:<12}  {when:<18}  "
    if width is None or len(head) + len(message) <= width:
        return [head + message]
    indent = "    "
    return [
        head.rstrip(),
        *textwrap.wrap(message, width, initial_indent=indent, subsequent_indent=indent),
    ]


def event_message(container: ContainerSpec, message: str) -> str:
    """An event's message with what it is about before it.

    ``kubectl describe`` of Kubernetes 1.35 and newer writes it so (``pkg/describe/describe.go``,
    DescribeEvents); older ones print the message alone. The event itself, and with it
    ``kubectl get events``, has the message alone in all versions.
    """
    return f"{container.field_path}: {message.strip()}"


def summary(watch: Watch) -> str:
    """A pod in one line, as ``kubectl get pod`` has it."""
    statuses = watch.pod.status.containers.values()
    ready = sum(status.ready for status in statuses)
    restarts = sum(status.restarts for status in statuses)
    return f"{watch.spec.name}  READY {ready}/{len(statuses)}  RESTARTS {restarts}"


def latency(outcome: Outcome) -> str:
    """How long a probe took, for a table."""
    milliseconds = outcome.seconds * 1000
    return f"{milliseconds:.1f}ms" if milliseconds < 1000 else f"{outcome.seconds:.2f}s"


def printable(text: str) -> str:
    """``text`` on one line, without anything that a terminal would obey: apps can write it."""
    text = text.strip()
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in text
    )
