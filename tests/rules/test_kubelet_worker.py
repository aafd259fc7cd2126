"""What must hold for every history of a pod, and how time passes in one."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from osm_healthcheck.kubelet.events import Event
from osm_healthcheck.kubelet.pod_lifecycle import PodLifecycle
from osm_healthcheck.kubelet.pod_spec import ContainerSpec, PodSpec
from osm_healthcheck.kubelet.prober import Outcome, conclude
from osm_healthcheck.kubelet.verdict import Result, Verdict
from osm_healthcheck.kubelet.worker import ContainerState, Step, Ticker, Worker
from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.probes.probe import HTTPGetAction, Probe

LIVENESS, READINESS, STARTUP = ProbeKind.LIVENESS, ProbeKind.READINESS, ProbeKind.STARTUP

VERDICTS = st.sampled_from(
    [
        Verdict(Result.SUCCESS),
        Verdict(Result.WARNING, "moved"),
        Verdict(Result.FAILURE, "sick"),
        Verdict(Result.FAILURE, error="unexpected EOF"),
    ]
)


@st.composite
def probes(draw: st.DrawFn, kind: ProbeKind) -> Probe:
    return Probe(
        HTTPGetAction(80),
        initial_delay_seconds=draw(st.integers(0, 5)),
        period_seconds=draw(st.integers(1, 4)),
        success_threshold=draw(st.integers(1, 3)) if kind is READINESS else 1,
        failure_threshold=draw(st.integers(1, 4)),
        termination_grace_period_seconds=draw(st.none() | st.integers(1, 6)),
    )


@st.composite
def specs(draw: st.DrawFn) -> PodSpec:
    kinds = draw(st.sets(st.sampled_from(list(ProbeKind)), min_size=1))
    container = ContainerSpec("app", {kind: draw(probes(kind)) for kind in sorted(kinds)})
    policy = draw(st.sampled_from(["Always", "OnFailure", "Never"]))
    return PodSpec("Pod", "pod", (container,), policy, draw(st.integers(0, 6)))


@dataclass
class History:
    """A pod driven by a clock of ours, and all that has happened to it."""

    pod: PodLifecycle
    now: float = 0.0
    events: list[tuple[float, Event]] = field(default_factory=list)
    counted: dict[ProbeKind, list[Result]] = field(default_factory=dict)

    def note(self, events: list[Event]) -> None:
        self.events += [(self.now, event) for event in events]

    def advance(self, seconds: float) -> None:
        self.now += seconds
        restarts = self.status.restarts
        self.note(self.pod.advance(self.now))
        if self.status.restarts != restarts:
            self.counted.clear()

    @property
    def status(self):  # type: ignore[no-untyped-def]
        return self.pod.status.containers["app"]

    def tick(self, worker: Worker, verdict: Verdict) -> Step:
        step = self.pod.begin(worker, self.now)
        outcome = None
        if step is Step.PROBE:
            result, event = conclude(worker.kind, "app", verdict)
            outcome = Outcome(verdict, result, event)
            if result is not None:
                self.counted.setdefault(worker.kind, []).append(result)
        self.note(self.pod.finish(worker, outcome, self.now))
        return step

    def in_a_row(self, kind: ProbeKind, result: Result) -> int:
        count = 0
        for one in reversed(self.counted.get(kind, [])):
            if one is not result:
                break
            count += 1
        return count


@given(st.data(), specs())
def test_rules_of_the_kubelet(data: st.DataObject, spec: PodSpec) -> None:
    history = History(PodLifecycle(spec, 0.0))
    history.note(history.pod.start(0.0))
    by_kind = spec.containers[0].probes
    for _ in range(data.draw(st.integers(1, 40))):
        if data.draw(st.booleans()):
            history.advance(data.draw(st.integers(1, 4)))
        worker = data.draw(st.sampled_from(history.pod.workers))
        known = len(history.events)
        was_started = history.status.started
        age = int(history.now - history.status.started_at)
        step = history.tick(worker, data.draw(VERDICTS))
        # no other probe before startup has passed, and no startup probe afterwards
        if step is Step.PROBE:
            assert bool(was_started) is (worker.kind is not STARTUP)
            assert age >= worker.probe.initial_delay_seconds
            assert history.status.state is ContainerState.RUNNING
        # never a kill before failureThreshold failures in a row
        for _, event in history.events[known:]:
            if event.reason == "Killing":
                assert worker.kind is not READINESS
                failures = history.in_a_row(worker.kind, Result.FAILURE)
                assert failures == worker.probe.failure_threshold
                assert event.message.endswith("will be restarted") is (
                    spec.restart_policy != "Never"
                )
        # never ready without a success, nor started without one where there is a startup probe
        if history.status.ready and READINESS in by_kind:
            assert Result.SUCCESS in history.counted[READINESS]
        if history.status.started and STARTUP in by_kind:
            assert Result.SUCCESS in history.counted[STARTUP]
    kills = sum(event.reason == "Killing" for _, event in history.events)
    assert history.status.restarts <= kills <= history.status.restarts + 1


def watched(**probes_of: Probe) -> History:
    named = {ProbeKind(name): one for name, one in probes_of.items()}
    pod = PodLifecycle(
        PodSpec("Pod", "pod", (ContainerSpec("app", named, owner="pod_default:app"),)), 0.0
    )
    history = History(pod)
    history.note(pod.start(0.0))
    return history


FAILED = Verdict(Result.FAILURE, "sick")
PASSED = Verdict(Result.SUCCESS)


def kill(history: History, worker: Worker) -> None:
    while not (history.events and history.events[-1][1].reason == "Killing"):
        history.tick(worker, FAILED)


def test_hold_lasts_for_the_grace_period_and_the_back_off_grows() -> None:
    history = watched(
        liveness=Probe(HTTPGetAction(80), failure_threshold=1, termination_grace_period_seconds=7)
    )
    (worker,) = history.pod.workers
    waits = []
    for _ in range(7):
        kill(history, worker)
        killed_at = history.now
        assert history.tick(worker, PASSED) is Step.WAIT, "on hold"
        assert history.pod.next_change == killed_at + 7
        history.advance(6.9)
        assert history.status.state is ContainerState.RUNNING
        restarts = history.status.restarts
        history.advance(0.1)
        exited_at = history.now
        while history.status.restarts == restarts:
            assert history.pod.next_change is not None
            history.advance(history.pod.next_change - history.now)
        waits.append(round(history.now - exited_at))
    assert waits == [0, 10, 20, 40, 80, 160, 300]
    back_offs = [event.message for _, event in history.events if event.reason == "BackOff"]
    assert set(back_offs) == {"Back-off restarting failed container app in pod pod_default"}


def test_a_container_has_two_seconds_at_least() -> None:
    history = watched(
        liveness=Probe(HTTPGetAction(80), failure_threshold=1, termination_grace_period_seconds=1)
    )
    kill(history, history.pod.workers[0])
    assert history.pod.next_change == 2


def test_back_off_is_forgotten_after_ten_quiet_minutes() -> None:
    history = watched(
        liveness=Probe(HTTPGetAction(80), failure_threshold=1, termination_grace_period_seconds=2)
    )
    (worker,) = history.pod.workers
    kill(history, worker)
    history.advance(2)
    assert history.status.restarts == 1
    history.advance(601)
    history.tick(worker, PASSED)
    kill(history, worker)
    history.advance(2)
    assert history.status.restarts == 2, "restarted at once"


def test_a_pod_that_is_not_restarted_has_failed() -> None:
    spec = PodSpec(
        "Pod",
        "pod",
        (ContainerSpec("app", {LIVENESS: Probe(HTTPGetAction(80), failure_threshold=1)}),),
        "Never",
        2,
    )
    history = History(PodLifecycle(spec, 0.0))
    history.pod.start(0.0)
    (worker,) = history.pod.workers
    kill(history, worker)
    history.advance(2)
    assert history.pod.status.phase == "Failed"
    assert history.tick(worker, PASSED) is Step.STOP


def test_readiness_is_tried_at_once_when_the_container_has_started() -> None:
    history = watched(startup=Probe(HTTPGetAction(80)), readiness=Probe(HTTPGetAction(80)))
    startup, readiness = history.pod.workers
    assert history.tick(readiness, PASSED) is Step.WAIT
    assert not history.pod.is_triggered(readiness)
    history.tick(startup, PASSED)
    assert history.pod.is_triggered(readiness)
    assert history.tick(readiness, PASSED) is Step.PROBE
    assert history.status.ready
    assert not history.pod.is_triggered(readiness)


def test_readiness_is_tried_again_at_once_when_it_is_lost() -> None:
    history = watched(readiness=Probe(HTTPGetAction(80), failure_threshold=2))
    (readiness,) = history.pod.workers
    for verdict in (PASSED, FAILED):
        history.tick(readiness, verdict)
        assert history.status.ready
        assert not history.pod.is_triggered(readiness)
    history.tick(readiness, FAILED)
    assert not history.status.ready
    assert history.pod.is_triggered(readiness)


@given(
    st.integers(1, 10),
    st.lists(st.floats(0, 35, allow_nan=False), min_size=1, max_size=20),
)
def test_ticker_keeps_its_period(period: int, lasted: list[float]) -> None:
    ticker = Ticker(period, 0.0)
    now = 0.0
    for seconds in lasted:
        # what a worker does: wait for the tick, then probe for so long
        due = ticker.next
        now = max(now, due)
        ticker.take(now)
        assert ticker.next > now - 1e-6
        assert ticker.next - due >= period
        assert abs(ticker.next / period - round(ticker.next / period)) < 1e-6
        now += seconds
