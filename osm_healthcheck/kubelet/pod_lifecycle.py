"""A pod over time, as the kubelet sees it: statuses, kills and restarts, without IO.

The workers (`Worker`) say what a probe means; this is what the kubelet does about it
(``prober_manager.go`` UpdatePodStatus, ``kuberuntime_manager.go`` computePodActions). Nothing is
restarted here: restarts are simulated. A container that is killed takes its whole grace period, as
an app that ignores SIGTERM does, and runs again when the kubelet's back-off allows.

Times are seconds of the caller's clock.
"""

from dataclasses import dataclass

from osm_healthcheck.kubelet.events import Event
from osm_healthcheck.kubelet.pod_spec import ContainerSpec, PodSpec
from osm_healthcheck.kubelet.prober import Outcome
from osm_healthcheck.kubelet.verdict import Result
from osm_healthcheck.kubelet.worker import (
    ContainerState,
    ContainerStatus,
    PodStatus,
    Step,
    Worker,
)
from osm_healthcheck.probes.constants import ProbeKind

MIN_GRACE_SECONDS = 2
# kubelet.go: a container that fails again and again is restarted later and later
_FIRST_BACK_OFF = 10.0
_MAX_BACK_OFF = 300.0
_BACK_OFF_FORGOTTEN = 600.0


@dataclass(slots=True)
class _Restart:
    """What happens next to a container, and its back-off."""

    exits_at: float | None = None
    starts_at: float | None = None
    back_off: float = 0.0
    backed_off_at: float = 0.0


class PodLifecycle:
    """A pod whose containers are all started at ``now``."""

    def __init__(self, spec: PodSpec, now: float) -> None:
        self.spec = spec
        self.status = PodStatus()
        self.workers = [
            Worker(kind, container.name, container.probes[kind], spec.restart_policy)
            for container in spec.containers
            for kind in (ProbeKind.STARTUP, ProbeKind.READINESS, ProbeKind.LIVENESS)
            if kind in container.probes
        ]
        self._containers = {container.name: container for container in spec.containers}
        self._restarts = {container.name: _Restart() for container in spec.containers}
        self._seen: dict[Worker, tuple[str, Result | None]] = {}
        self._triggered: set[Worker] = set()
        for container in spec.containers:
            self.status.containers[container.name] = ContainerStatus(
                f"{container.name}-0", started_at=now
            )

    def start(self, now: float) -> list[Event]:
        """The events of the containers' start."""
        events = [_started(name) for name in self._containers]
        return events + self.sync(now)

    def container(self, worker: Worker) -> ContainerSpec:
        """The container that ``worker`` probes."""
        return self._containers[worker.container]

    def begin(self, worker: Worker, now: float) -> Step:
        """Whether ``worker`` probes now; `finish` is called next in any case."""
        self._triggered.discard(worker)
        return worker.begin(self.status, now)

    def finish(self, worker: Worker, outcome: Outcome | None, now: float) -> list[Event]:
        """Take what ``worker`` found out, ``None`` where it did not probe."""
        events = []
        if outcome is not None:
            worker.finish(outcome.result)
            if outcome.event is not None:
                events.append(outcome.event)
        seen = (worker.container_id, worker.cached)
        if self._seen.get(worker) != seen:
            self._seen[worker] = seen
            # the kubelet hears of liveness only where it fails
            if worker.kind is not ProbeKind.LIVENESS or worker.cached is Result.FAILURE:
                events += self.sync(now)
        return events

    def is_triggered(self, worker: Worker) -> bool:
        """Whether ``worker`` is to run before its tick: readiness after a change of status."""
        return worker in self._triggered

    def sync(self, now: float) -> list[Event]:
        """Bring the containers' status up to date and kill those that failed."""
        for name, status in self.status.containers.items():
            status.started = self._is_started(name, status)
            status.ready = status.started and self._is_ready(name, status)
        return [
            event
            for name, status in self.status.containers.items()
            for event in self._kill(name, status, now)
        ]

    @property
    def next_change(self) -> float | None:
        """When `advance` has something to do, ``None`` where nothing is planned."""
        times = [
            at
            for restart in self._restarts.values()
            for at in (restart.exits_at, restart.starts_at)
            if at is not None
        ]
        return min(times, default=None)

    def advance(self, now: float) -> list[Event]:
        """Let containers exit and start whose time has come."""
        events = []
        for name, restart in self._restarts.items():
            if restart.exits_at is not None and restart.exits_at <= now:
                events += self._exit(name, restart, restart.exits_at)
            if restart.starts_at is not None and restart.starts_at <= now:
                restart.starts_at = None
                status = self.status.containers[name]
                restarts = status.restarts + 1
                self.status.containers[name] = ContainerStatus(
                    f"{name}-{restarts}", started_at=now, restarts=restarts
                )
                events.append(_started(name))
        return events + self.sync(now) if events else []

    def _worker(self, name: str, kind: ProbeKind) -> Worker | None:
        for worker in self.workers:
            if worker.container == name and worker.kind is kind:
                return worker
        return None

    def _is_started(self, name: str, status: ContainerStatus) -> bool:
        if status.state is not ContainerState.RUNNING:
            return False
        startup = self._worker(name, ProbeKind.STARTUP)
        return startup is None or startup.result_for(status.id) is Result.SUCCESS

    def _is_ready(self, name: str, status: ContainerStatus) -> bool:
        readiness = self._worker(name, ProbeKind.READINESS)
        if readiness is None or readiness.result_for(status.id) is Result.SUCCESS:
            return True
        self._triggered.add(readiness)
        return False

    def _kill(self, name: str, status: ContainerStatus, now: float) -> list[Event]:
        restart = self._restarts[name]
        if status.state is not ContainerState.RUNNING or restart.exits_at is not None:
            return []
        for kind in (ProbeKind.LIVENESS, ProbeKind.STARTUP):
            worker = self._worker(name, kind)
            if worker is None or worker.result_for(status.id) is not Result.FAILURE:
                continue
            grace = worker.probe.termination_grace_period_seconds
            grace = self.spec.grace if grace is None else grace
            restart.exits_at = now + max(grace, MIN_GRACE_SECONDS)
            message = kill_message(self._containers[name], kind, self.spec.restart_policy)
            return [Event("Normal", "Killing", message, name)]
        return []

    def _exit(self, name: str, restart: _Restart, now: float) -> list[Event]:
        status = self.status.containers[name]
        restart.exits_at = None
        status.state = ContainerState.TERMINATED
        status.started = status.ready = False
        if self.spec.restart_policy == "Never" and not self._containers[name].is_sidecar:
            others = self.status.containers.values()
            if all(other.state is ContainerState.TERMINATED for other in others):
                self.status.phase = "Failed"
            return []
        if now - restart.backed_off_at > _BACK_OFF_FORGOTTEN:
            restart.back_off = 0.0
        restart.starts_at = now + restart.back_off
        events = []
        if restart.back_off:
            status.state = ContainerState.WAITING
            owner = self._containers[name].owner.rpartition(":")[0]
            text = f"Back-off restarting failed container {name} in pod {owner}"
            events.append(Event("Warning", "BackOff", text, name))
        restart.back_off = min(max(restart.back_off * 2, _FIRST_BACK_OFF), _MAX_BACK_OFF)
        restart.backed_off_at = restart.starts_at
        return events


def kill_message(container: ContainerSpec, kind: ProbeKind, restart_policy: str) -> str:
    """What the kubelet says when it kills ``container`` over its probe of ``kind``."""
    if container.is_sidecar:
        return f"Init container {container.name} failed {kind.value} probe"
    message = f"Container {container.name} failed {kind.value} probe"
    return message if restart_policy == "Never" else f"{message}, will be restarted"


def _started(name: str) -> Event:
    return Event("Normal", "Started", "Container started", name)
