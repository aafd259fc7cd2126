"""One probe of one container over time: the kubelet's worker as a state machine without IO.

It is ``worker.doProbe`` of ``pkg/kubelet/prober/worker.go``, cut in two where the probe runs:
`Worker.begin` says whether it is to run, `Worker.finish` takes its result.
"""

from dataclasses import dataclass, field
from enum import Enum

from osm_healthcheck.kubelet.verdict import Result
from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.probes.probe import Probe

# What counts before the first result: alive, not ready, not known to have started.
_INITIAL = {
    ProbeKind.LIVENESS: Result.SUCCESS,
    ProbeKind.READINESS: Result.FAILURE,
    ProbeKind.STARTUP: Result.UNKNOWN,
}


class ContainerState(Enum):
    """What a container does."""

    WAITING = "Waiting"
    RUNNING = "Running"
    TERMINATED = "Terminated"


@dataclass(slots=True)
class ContainerStatus:
    """What the kubelet knows of a container. A restart gives it another ``id``.

    ``started_at`` is a time of the caller's clock in seconds; ``started`` is the startup probe's
    word, ``None`` before there is one.
    """

    id: str
    state: ContainerState = ContainerState.RUNNING
    started_at: float = 0.0
    started: bool | None = None
    ready: bool = False
    restarts: int = 0


@dataclass(slots=True)
class PodStatus:
    """What the kubelet knows of a pod; containers that were not created yet are not in it."""

    phase: str = "Running"
    containers: dict[str, ContainerStatus] = field(default_factory=dict)
    deleting: bool = False


class Step(Enum):
    """What a worker does on a tick."""

    PROBE = "run the probe, then call finish"
    WAIT = "nothing until the next tick"
    STOP = "nothing, ever again"


class Worker:
    """The probe of one kind of one container.

    ``cached`` is what the rest of the kubelet goes by (``results.Manager``) and belongs to
    ``container_id``; ``result_run`` counts the same ``last_result`` in a row; ``on_hold`` means
    that nothing is probed until there is a new container.
    """

    def __init__(
        self, kind: ProbeKind, container: str, probe: Probe, restart_policy: str = "Always"
    ) -> None:
        self.kind = kind
        self.container = container
        self.probe = probe
        self._restart_policy = restart_policy
        self.container_id = ""
        self.cached: Result | None = None
        self.last_result: Result | None = None
        self.result_run = 0
        self.on_hold = False

    @property
    def threshold(self) -> int:
        """How many of the last result in a row count."""
        if self.last_result is Result.SUCCESS:
            return self.probe.success_threshold
        return self.probe.failure_threshold

    def result_for(self, container_id: str) -> Result | None:
        """What counts for the container of that id; ``None`` before this worker has seen it."""
        return self.cached if self.container_id == container_id else None

    def begin(self, pod: PodStatus | None, now: float) -> Step:
        """Do what comes before the probe; ``pod`` is ``None`` while the kubelet has no status."""
        if pod is None:
            return Step.WAIT
        if pod.phase in ("Failed", "Succeeded"):
            return Step.STOP
        container = pod.containers.get(self.container)
        if container is None or not container.id:
            return Step.WAIT
        if container.id != self.container_id:
            self.container_id = container.id
            self.cached = _INITIAL[self.kind]
            self.on_hold = False
        if self.on_hold:
            return Step.WAIT
        if container.state is not ContainerState.RUNNING:
            self.cached = Result.FAILURE
            gone = container.state is ContainerState.TERMINATED
            return Step.STOP if gone and self._restart_policy == "Never" else Step.WAIT
        if pod.deleting and self.kind is not ProbeKind.READINESS:
            self.cached = Result.SUCCESS
            return Step.STOP
        # whole seconds, since the kubelet compares them as such
        if int(now - container.started_at) < self.probe.initial_delay_seconds:
            return Step.WAIT
        is_startup = self.kind is ProbeKind.STARTUP
        return Step.WAIT if bool(container.started) is is_startup else Step.PROBE

    def finish(self, result: Result | None) -> None:
        """Take the result of a probe; ``None`` is an error, which does not count."""
        if result is None:
            return
        if result is self.last_result:
            self.result_run += 1
        else:
            self.last_result = result
            self.result_run = 1
        if result is not Result.UNKNOWN and self.result_run < self.threshold:
            return
        self.cached = result
        failed = self.kind is ProbeKind.LIVENESS and result is Result.FAILURE
        if failed or self.kind is ProbeKind.STARTUP:
            self.on_hold = True
            self.result_run = 0


class Ticker:
    """When a worker is due: Go's ``time.Ticker``, which keeps its period and drops missed ticks.

    Times are seconds of the caller's clock.
    """

    def __init__(self, period: float, now: float) -> None:
        self._period = period
        self.next = now + period

    def take(self, now: float) -> None:
        """Use up the tick that is due, and every other one that has been missed by ``now``."""
        missed = int((now - self.next) // self._period) if now >= self.next else 0
        self.next += self._period * (missed + 1)

    def reset(self, now: float) -> None:
        """Begin a new period at ``now``."""
        self.next = now + self._period
