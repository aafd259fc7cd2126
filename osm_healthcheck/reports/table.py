"""A watch as a live table: the probes above, the events below."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence

from osm_healthcheck.kubelet.address import PodAddress
from osm_healthcheck.kubelet.describe import age
from osm_healthcheck.kubelet.events import Recorded
from osm_healthcheck.kubelet.pod_spec import PodSpec
from osm_healthcheck.kubelet.prober import Outcome
from osm_healthcheck.kubelet.verdict import Result
from osm_healthcheck.kubelet.watch import ScheduledProbe, Watch
from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.reports.reports import (
    NOT_RUN,
    Outcomes,
    Output,
    TextReport,
    describe_pods,
    event_header,
    event_lines,
    latency,
    probe_lines,
    summary,
)
from osm_healthcheck.reports.screen import Screen

_SLOWEST_REFRESH = 1.0
_FASTEST_REFRESH = 0.25
_COLORS = {"success": "32", "warning": "33", "failure": "31", "unknown": "31", "errored": "31"}
_MIN_EVENTS = 5
_SHORTEST_NAME = 16


class TableReport(Output):
    """The table, as long as the watch lasts; then the same as text, on the user's own screen."""

    def __init__(self, over: asyncio.Event) -> None:
        super().__init__(over)
        self._watches: Sequence[Watch] = ()
        self._address = PodAddress()
        self._screen = Screen()
        self._taken = contextlib.ExitStack()
        self._is_new = asyncio.Event()
        self._drawing: asyncio.Task[None] | None = None
        self._is_colored = "NO_COLOR" not in os.environ

    def begin(self, watches: Sequence[Watch], address: PodAddress) -> None:
        """See `Report`."""
        self._watches = watches
        self._address = address
        self._taken.enter_context(self._screen.taken())
        self._drawing = asyncio.create_task(self._draw())

    def probed(self, watch: Watch, scheduled_probe: ScheduledProbe, outcome: Outcome) -> None:
        """See `Observer`."""
        self._is_new.set()

    def happened(self, watch: Watch, recorded: Recorded) -> None:
        """See `Observer`."""
        self._is_new.set()

    def changed(self, watch: Watch, container: str) -> None:
        """See `Observer`."""
        self._is_new.set()

    def end(self) -> None:
        """See `Report`."""
        if self._drawing is not None:
            self._drawing.cancel()
        self._taken.close()
        now = asyncio.get_running_loop().time()
        for line in describe_pods([watch.spec for watch in self._watches]):
            self.write(line + "\n")
        events = [line for event in self._events(now) for line in event]
        for line in [*event_header("Age"), *events, *map(summary, self._watches)]:
            self.write(line + "\n")

    def once(self, pods: Sequence[PodSpec], outcomes: Outcomes) -> None:
        """See `Report`."""
        TextReport().once(pods, outcomes)

    async def _draw(self) -> None:
        """Draw when there is news, and every second, since time passes too."""
        try:
            while True:
                self._is_new.clear()
                self._screen.draw(self._frame())
                await asyncio.sleep(_FASTEST_REFRESH)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_SLOWEST_REFRESH - _FASTEST_REFRESH):
                        await self._is_new.wait()
        except OSError as error:
            self.failure = error
            if self._over is not None:
                self._over.set()

    def _frame(self) -> list[str]:
        now = asyncio.get_running_loop().time()
        since = age(now - min((watch.started_at for watch in self._watches), default=now))
        head = event_header("Age")
        lines = [f"Probing {self._address.ip} for {since} as the kubelet would; Ctrl-C ends it."]
        events = self._events(now)
        height = shutil.get_terminal_size().lines
        latest = sum(map(len, events[-_MIN_EVENTS:]))
        room = height - len(head) - min(latest, height // 2) - len(lines)
        lines += self._tables(now, room)
        return [*lines, *head, *_latest(events, max(height - len(lines) - len(head), 1))]

    def _tables(self, now: float, room: int) -> list[str]:
        """The probes of all pods; where there is no room, those that are well are left out."""
        tables = [(watch, list(self._table(watch, now))) for watch in self._watches]
        left_out = sum(len(table) for _, table in tables) + len(tables) - max(room, 3)
        left_out += left_out > 0
        hidden = 0
        lines = []
        for watch, table in tables:
            lines.append(summary(watch))
            for state, line in table:
                if state == "success" and hidden < left_out:
                    hidden += 1
                else:
                    lines.append(line)
        if hidden:
            lines.append(f"  … and {hidden} probes that succeed")
        return lines

    def _events(self, now: float) -> list[list[str]]:
        """The lines of all events, the latest last, as ``kubectl describe`` folds them."""
        width = shutil.get_terminal_size().columns
        listed = [(watch.spec, one) for watch in self._watches for one in watch.recorder.list]
        listed.sort(key=lambda of: of[1].last)
        return [event_lines(spec, one, age(now - one.last), now, width) for spec, one in listed]

    def _table(self, watch: Watch, now: float) -> Iterator[tuple[str, str]]:
        """The rows of one pod, each with the verdict in it."""
        rows = [("PROBE", "VERDICT", "STREAK", "NEXT", "LATENCY", "")]
        scheduled = {
            (scheduled_probe.worker.container, scheduled_probe.worker.kind): scheduled_probe
            for scheduled_probe in watch.scheduled
        }
        for _, container, kind, line in probe_lines([watch.spec]):
            scheduled_probe = scheduled.get((container, kind))
            name = f"{container} {kind.value}"
            if scheduled_probe is None:
                rows.append((name, "-", "", "", "", NOT_RUN))
            else:
                rows.append((name, *self._cells(watch, scheduled_probe, now), line))
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        # what a narrow terminal cuts is the description, and of long names the middle
        room = shutil.get_terminal_size().columns - 2 * len(widths) - sum(widths[1:])
        widths[0] = min(widths[0], max(room, _SHORTEST_NAME))
        for found in rows:
            row = (_shortened(found[0], widths[0]), *found[1:])
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            if self._is_colored and (color := _COLORS.get(row[1])):
                cells[1] = f"\x1b[{color}m{cells[1]}\x1b[0m"
            yield row[1], "  " + "  ".join([*cells, row[5]]).rstrip()

    def _cells(
        self, watch: Watch, scheduled_probe: ScheduledProbe, now: float
    ) -> tuple[str, str, str, str]:
        """Verdict, streak, when it is due, latency."""
        worker, outcome = scheduled_probe.worker, scheduled_probe.outcome
        due = f"{max(0, round(scheduled_probe.next - now))}s"
        status = watch.pod.status.containers[worker.container]
        if worker.on_hold:
            is_done = worker.cached is Result.SUCCESS
            due = "done" if is_done else "on hold"
        elif worker.kind is not ProbeKind.STARTUP and not status.started:
            due = "after startup"
        elif int(now - status.started_at) < worker.probe.initial_delay_seconds:
            left = worker.probe.initial_delay_seconds - int(now - status.started_at)
            due = f"delay {left}s"
        if outcome is None:
            return "-", "", due, ""
        verdict = "errored" if outcome.verdict.error is not None else str(outcome.verdict.result)
        streak = f"{worker.result_run} of {worker.threshold}" if worker.result_run else ""
        return verdict, streak, due, latency(outcome)


def _shortened(name: str, width: int) -> str:
    """``name`` in ``width`` columns: its end is kept, which says what kind of probe it is."""
    if len(name) <= width:
        return name
    kept = width - 1
    tail = min(len(name.rpartition(" ")[2]) + 1, kept)
    return f"{name[: kept - tail]}…{name[-tail:]}"


def _latest(events: Sequence[Sequence[str]], room: int) -> list[str]:
    """The lines of as many of the latest events as there is room for."""
    lines: list[str] = []
    for event in reversed(events):
        if lines and len(lines) + len(event) > room:
            break
        lines = [*event, *lines]
    return lines
