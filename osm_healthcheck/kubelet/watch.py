"""A pod watched in real time: each worker probes when it is due and reports, as the kubelet's do.

What a result means is decided in `PodLifecycle` and `Worker`; here are the clock and the probes.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from osm_healthcheck.kubelet.address import PodAddress
from osm_healthcheck.kubelet.events import Event, Recorded, Recorder
from osm_healthcheck.kubelet.pod_lifecycle import PodLifecycle
from osm_healthcheck.kubelet.pod_spec import PodSpec
from osm_healthcheck.kubelet.prober import Outcome, probe
from osm_healthcheck.kubelet.worker import Step, Ticker, Worker
from osm_healthcheck.probes.probe import ExecAction

# The kubelet's workers begin whenever their pods come along. So that many probes of one file do
# not all tick together, each begins a little later than the one before.
_STAGGER_SECONDS = 0.005


class Observer(Protocol):
    """Who wants to know. Times are seconds of the event loop's clock."""

    def probed(self, watch: "Watch", scheduled_probe: "ScheduledProbe", outcome: Outcome) -> None:
        """A probe has come to an end."""

    def happened(self, watch: "Watch", recorded: Recorded) -> None:
        """There is an event."""

    def changed(self, watch: "Watch", container: str) -> None:
        """A container has started, become ready or not, or been restarted."""


@dataclass(slots=True, eq=False)
class ScheduledProbe:
    """A worker and when it probes: ``next`` is when it is due, ``outcome`` what it found last."""

    worker: Worker
    next: float
    outcome: Outcome | None = None
    waiter: "asyncio.Future[None] | None" = None


class Watch:
    """One pod under watch, from the start of its containers."""

    def __init__(self, spec: PodSpec, address: PodAddress, observer: Observer) -> None:
        self.spec = spec
        self._address = address
        self._observer = observer
        self._loop = asyncio.get_running_loop()
        self.started_at = self._loop.time()
        self.recorder = Recorder()
        self.pod = PodLifecycle(without_exec(spec), self.started_at)
        self.scheduled = [ScheduledProbe(worker, self.started_at) for worker in self.pod.workers]
        self._statuses: dict[str, tuple[bool | None, bool, int]] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_healthy(self) -> bool:
        """Whether every container has started, is ready and was never killed."""
        return all(
            status.started and status.ready and not status.restarts
            for status in self.pod.status.containers.values()
        ) and not any(event.reason == "Killing" for event in self.events)

    @property
    def events(self) -> Iterable[Event]:
        """What has happened so far, each once."""
        return (recorded.event for recorded in self.recorder.list)

    async def run(self, first: int = 0) -> None:
        """Watch until the pod has come to its end, which most never do.

        ``first`` is how many probes others have begun before.
        """
        self._report(self.pod.start(self._loop.time()))
        try:
            async with asyncio.TaskGroup() as group:
                for number, scheduled_probe in enumerate(self.scheduled):
                    group.create_task(
                        self._work(scheduled_probe, (first + number) * _STAGGER_SECONDS)
                    )
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def _work(self, scheduled_probe: ScheduledProbe, delay: float) -> None:
        await asyncio.sleep(delay)
        now = self._loop.time()
        ticker = Ticker(scheduled_probe.worker.probe.period_seconds, now)
        while True:
            step = self.pod.begin(scheduled_probe.worker, self._loop.time())
            outcome = None
            if step is Step.PROBE:
                container = self.pod.container(scheduled_probe.worker)
                outcome = await probe(scheduled_probe.worker.kind, container, self._address)
                scheduled_probe.outcome = outcome
            events = self.pod.finish(scheduled_probe.worker, outcome, self._loop.time())
            scheduled_probe.next = ticker.next
            if outcome is not None:
                self._observer.probed(self, scheduled_probe, outcome)
            self._report(events)
            if step is Step.STOP:
                return
            await self._wait(scheduled_probe, ticker)

    async def _wait(self, scheduled_probe: ScheduledProbe, ticker: Ticker) -> None:
        """Wait for the next tick, or until the worker is wanted before it."""
        if not self.pod.is_triggered(scheduled_probe.worker):
            scheduled_probe.waiter = self._loop.create_future()
            timer = self._loop.call_at(ticker.next, _wake, scheduled_probe.waiter)
            try:
                await scheduled_probe.waiter
            finally:
                timer.cancel()
                scheduled_probe.waiter = None
        now = self._loop.time()
        if self.pod.is_triggered(scheduled_probe.worker):
            ticker.reset(now)
        else:
            ticker.take(max(now, ticker.next))

    def _report(self, events: Iterable[Event]) -> None:
        now = self._loop.time()
        for event in events:
            self._observer.happened(self, self.recorder.record(event, now))
        for name, status in self.pod.status.containers.items():
            seen = (status.started, status.ready, status.restarts)
            if self._statuses.get(name) != seen:
                self._statuses[name] = seen
                self._observer.changed(self, name)
        for scheduled_probe in self.scheduled:
            if scheduled_probe.waiter is not None and self.pod.is_triggered(scheduled_probe.worker):
                _wake(scheduled_probe.waiter)
        if self._timer is not None:
            self._timer.cancel()
        change = self.pod.next_change
        self._timer = None if change is None else self._loop.call_at(change, self._advance)

    def _advance(self) -> None:
        self._report(self.pod.advance(self._loop.time()))


def without_exec(spec: PodSpec) -> PodSpec:
    """``spec`` without its exec probes: they cannot be run here and must not hold up others."""
    containers = tuple(
        replace(
            container,
            probes={
                kind: one
                for kind, one in container.probes.items()
                if not isinstance(one.handler, ExecAction)
            },
        )
        for container in spec.containers
    )
    return replace(spec, containers=containers)


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
