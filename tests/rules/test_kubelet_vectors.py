"""The vectors that need no app: URLs, ports, events, the worker by a clock of ours, the API."""

import asyncio
import re
from collections.abc import Iterable
from typing import Any

import pytest

from osm_healthcheck.errors import InvalidInputError
from osm_healthcheck.kubelet.address import PodAddress
from osm_healthcheck.kubelet.describe import describe
from osm_healthcheck.kubelet.events import Event
from osm_healthcheck.kubelet.handlers import resolve_container_port, run_handler
from osm_healthcheck.kubelet.pod_lifecycle import PodLifecycle, kill_message
from osm_healthcheck.kubelet.pod_spec import ContainerSpec, PodSpec, read_pods
from osm_healthcheck.kubelet.prober import MAX_ATTEMPTS, Outcome, conclude, probe, with_retries
from osm_healthcheck.kubelet.verdict import Result, Verdict
from osm_healthcheck.kubelet.worker import (
    ContainerState,
    ContainerStatus,
    PodStatus,
    Step,
    Worker,
)
from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.probes.probe import FieldReader, HTTPGetAction, Probe, read_probe
from osm_healthcheck.probes.url import probe_url
from tests.kubelet_vectors import group, vector_id

GROUPS = ("url", "port", "prober", "worker", "status", "kill", "api", "describe")
LIVENESS, READINESS, STARTUP = ProbeKind.LIVENESS, ProbeKind.READINESS, ProbeKind.STARTUP
SUCCESS, FAILURE = Result.SUCCESS, Result.FAILURE
NOW = 1000.0


@pytest.mark.parametrize("vector", group("url"), ids=vector_id)
def test_url(vector: dict[str, Any]) -> None:
    given = vector["given"]
    url = probe_url(given["scheme"], given["host"], given["port"], given["path"])
    # printed and parsed again, "?foo" on a bare host is a query without a path
    assert str(url) == vector["expect"]["url"]


@pytest.mark.parametrize("vector", group("port"), ids=vector_id)
def test_port(vector: dict[str, Any]) -> None:
    given, expect = vector["given"], vector["expect"]
    named: dict[str, int] = {}
    for port in given["container"].get("ports", ()):
        named.setdefault(port["name"], port["containerPort"])
    if "port" in expect:
        assert resolve_container_port(given["port"], named) == expect["port"]
        return
    handler = HTTPGetAction(given["port"])
    verdict = asyncio.run(run_handler(handler, 1, PodAddress(), named))
    assert verdict.result == expect["probeResult"]
    assert verdict.error
    if isinstance(expect["error"], str):
        assert verdict.error == expect["error"]


def outcomes(vector: dict[str, Any]) -> Iterable[tuple[str, Outcome]]:
    """What the prober makes of the handler's result in a vector, for each kind of probe."""
    text = vector["given"]["handlerResult"]
    for kind in ProbeKind:
        name = kind.value.capitalize()
        if text == "(no probe defined)":
            yield name, asyncio.run(probe(kind, ContainerSpec("app"), PodAddress()))
            continue
        calls: list[int] = []

        async def attempt(calls: list[int] = calls) -> Verdict:
            calls.append(1)
            if text == "(probe without handler)":
                return await run_handler(
                    None, 1, PodAddress(), {}, owner="<pod>_<ns>(<uid>):<container>"
                )
            result, _, error = text.partition(" + error ")
            return Verdict(Result(result), "<output>", error.strip('"') or None)

        outcome = asyncio.run(with_retries(kind, "app", attempt))
        assert len(calls) == outcome.attempts == (MAX_ATTEMPTS if outcome.verdict.error else 1)
        yield name, outcome


@pytest.mark.parametrize("vector", group("prober"), ids=vector_id)
def test_prober(vector: dict[str, Any]) -> None:
    expect = vector["expect"]
    if vector["given"]["handlerResult"] == "(unsupported probe type)":
        with pytest.raises(ValueError, match="unsupported"):
            ProbeKind("unsupported")  # an error and no event, as there can be no such worker
        return
    for name, outcome in outcomes(vector):
        # an error counts as nothing: in Go it is a failure that the worker throws away
        assert outcome.result == (None if expect["error"] else expect["workerResult"])
        assert (outcome.verdict.error is not None) is expect["error"]
        event = outcome.event
        if expect["event"] is None:
            assert event is None
        else:
            assert event is not None
            wanted = expect["event"].replace("<Type>", name).replace("Liveness", name)
            assert f"{event.kind} {event.reason} {event.message}" == wanted


class Environment:
    """A worker with a pod whose clock and results belong to the test."""

    def __init__(
        self, kind: ProbeKind, started: bool | None = None, policy: str = "Always", **fields: Any
    ) -> None:
        self.worker = Worker(kind, "app", Probe(HTTPGetAction(80), **fields), policy)
        if started is None:
            started = kind is not STARTUP
        self.container = ContainerStatus("app-0", started_at=NOW - 100, started=started)
        self.pod: PodStatus | None = PodStatus(containers={"app": self.container})
        self.probed = 0

    def tick(self, result: Result | None = SUCCESS) -> bool:
        """``doProbe``: whether the worker keeps going."""
        step = self.worker.begin(self.pod, NOW)
        if step is Step.PROBE:
            self.probed += 1
            self.worker.finish(result)
        return step is not Step.STOP


def environment_for(text: str, kind: ProbeKind) -> Environment:
    """The state of affairs that a vector tells in words."""
    environment = Environment(kind)
    pod = environment.pod
    assert pod is not None
    match text:
        case "no pod status yet":
            environment.pod = None
        case "pod phase Failed":
            pod.phase = "Failed"
        case "pod has deletionTimestamp, container running":
            pod.deleting = True
        case "no status for this container":
            pod.containers = {}
        case "container waiting":
            environment.container.state = ContainerState.WAITING
        case "container terminated, restartPolicy Never":
            environment = Environment(kind, policy="Never")
            environment.container.state = ContainerState.TERMINATED
        case "container running, probe succeeds":
            pass
        case "initialDelaySeconds -100":
            environment = Environment(kind, initial_delay_seconds=-100)
        case "initialDelaySeconds 10, container just started":
            environment = Environment(kind, initial_delay_seconds=10)
            environment.container.started_at = NOW
        case "same, started 100 s ago, probe succeeds":
            environment = Environment(kind, initial_delay_seconds=10)
        case _:
            raise AssertionError(text)
    return environment


TOLD = [v for v in group("worker") if "cachedResult" in v["expect"]]
COUNTED = [v for v in group("worker") if "sequence" in v["given"]]


@pytest.mark.parametrize("vector", TOLD, ids=vector_id)
def test_worker_goes_on_or_not(vector: dict[str, Any]) -> None:
    expect = vector["expect"]
    for kind in ProbeKind:
        environment = environment_for(vector["given"], kind)
        keeps_going = environment.tick()
        if "keepGoing" in expect:
            assert keeps_going is expect["keepGoing"][kind.value]
        if "probed" in expect:
            assert bool(environment.probed) is expect["probed"]
        cached = expect["cachedResult"]
        if isinstance(cached, dict):
            cached = cached[kind.value]
        assert environment.worker.cached == cached


@pytest.mark.parametrize("vector", COUNTED, ids=vector_id)
def test_worker_counts(vector: dict[str, Any]) -> None:
    given, expect = vector["given"], vector["expect"]
    fields = {"success_threshold": given.get("successThreshold", 1)}
    fields["failure_threshold"] = given.get("failureThreshold", 3)
    for name in given.get("types", [given.get("type")]):
        environment = Environment(ProbeKind(name), **fields)
        cached, on_hold, runs = [], [], []
        # such as "F S(on hold) S(new container id)"
        for letter, remark in re.findall(r"([SF])(?:\(([^)]*)\))?", given["sequence"]):
            if remark == "new container id":
                environment.container.id = "app-1"
            environment.tick(SUCCESS if letter == "S" else FAILURE)
            cached.append(str(environment.worker.cached))
            on_hold.append(environment.worker.on_hold)
            runs.append(environment.worker.result_run)
        assert cached == expect["cached"].split()
        if "onHold" in expect:
            assert on_hold == expect["onHold"][name]
        if "onHoldAfter" in expect:
            assert on_hold[-1] is expect["onHoldAfter"]
        if "resultRunAfter" in expect:
            assert runs[-1] == expect["resultRunAfter"]
        if "resultRun" in expect:
            assert runs == expect["resultRun"]


def vector_of(name: str) -> dict[str, Any]:
    return next(v for v in group("worker") if v["id"] == name)


def test_worker_liveness_waits_for_startup() -> None:
    """work-18"""
    environment = Environment(LIVENESS, started=False, failure_threshold=1)
    cached = []
    for started in (False, True):
        environment.container.started = started
        environment.tick(FAILURE)
        cached.append(str(environment.worker.cached))
    assert cached == vector_of("work-18")["expect"]["cached"].split()


def test_worker_startup_ends_with_the_start() -> None:
    """work-19"""
    environment = Environment(STARTUP, failure_threshold=2)
    cached = []
    for result, started in ((FAILURE, False), (SUCCESS, False), (FAILURE, True)):
        environment.container.started = started
        environment.tick(result)
        cached.append(str(environment.worker.cached))
    assert cached == vector_of("work-19")["expect"]["cached"].split()


def test_worker_never_restarts_over_errors() -> None:
    """work-23"""
    expect = vector_of("work-23")["expect"]
    spec = Probe(HTTPGetAction("missing"), failure_threshold=1)
    container = ContainerSpec("app", {LIVENESS: spec})
    pod = PodLifecycle(PodSpec("Pod", "pod", (container,)), NOW)
    (worker,) = pod.workers
    pod.start(NOW)
    events: list[Event] = []
    for tick in range(20):
        now = NOW + tick * spec.period_seconds
        assert pod.begin(worker, now) is Step.PROBE
        outcome = asyncio.run(probe(LIVENESS, container, PodAddress()))
        events += pod.finish(worker, outcome, now)
        assert worker.cached is SUCCESS
        assert pod.next_change is None
    assert expect["restarts"] == pod.status.containers["app"].restarts == 0
    assert len(events) == 20
    assert {(event.reason, " errored " in event.message) for event in events} == {
        ("Unhealthy", True)
    }


SEPARATE = {"work-18", "work-19", "work-23"}


def test_worker_vectors_are_all_here() -> None:
    ids = [v["id"] for v in group("worker")]
    assert sorted(ids) == sorted([*SEPARATE, *(v["id"] for v in [*TOLD, *COUNTED])])


STATUSES: dict[str, tuple[dict[ProbeKind, Result | None], bool]] = {
    "running, only a liveness probe": ({LIVENESS: None}, False),
    "running, readiness worker, cached success": ({READINESS: SUCCESS}, False),
    "running, readiness worker, nothing cached": ({READINESS: None}, False),
    "running, readiness worker, cached failure": ({READINESS: FAILURE}, False),
    "running, startup worker, nothing cached, no readiness probe": ({STARTUP: None}, False),
    "sidecar running, startup success, no readiness probe": ({STARTUP: SUCCESS}, True),
}


@pytest.mark.parametrize("vector", group("status"), ids=vector_id)
def test_status(vector: dict[str, Any]) -> None:
    expect = vector["expect"]
    if vector["given"] == "plain init container running, startup success":
        # it has no worker here either: the API server refuses its probes
        init = {"name": "init", "startupProbe": {"tcpSocket": {"port": 80}}}
        with pytest.raises(InvalidInputError, match="may not be set for init containers"):
            read_pods(
                [pod_manifest({"containers": [{"name": "app"}], "initContainers": [init]})], "FILE"
            )
        return
    probes, is_sidecar = STATUSES[vector["given"]]
    spec = {kind: Probe(HTTPGetAction(80)) for kind in probes}
    container = ContainerSpec("app", spec, is_sidecar=is_sidecar)
    pod = PodLifecycle(PodSpec("Pod", "pod", (container,)), NOW)
    for worker in pod.workers:
        if (cached := probes[worker.kind]) is not None:
            worker.container_id, worker.cached = "app-0", cached
    pod.sync(NOW)
    status = pod.status.containers["app"]
    assert (status.started, status.ready) == (expect["started"], expect["ready"])


@pytest.mark.parametrize("vector", group("kill"), ids=vector_id)
def test_kill(vector: dict[str, Any]) -> None:
    given = vector["given"]
    kind = STARTUP if "startup" in given else LIVENESS
    policies = re.findall("Always|OnFailure|Never", given) or ["Always"]
    for policy in policies:
        container = ContainerSpec("<name>", is_sidecar="sidecar" in given)
        message = kill_message(container, kind, policy)
        assert f"Normal Killing {message}" == vector["expect"]["event"]


def pod_manifest(spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}


@pytest.mark.parametrize("vector", group("api"), ids=vector_id)
def test_api(vector: dict[str, Any]) -> None:
    given, expect = vector["given"], vector["expect"]
    if "defaulted" in expect:
        ((field, value),) = given.items()
        value.setdefault("httpGet", {"port": 80})
        reader = FieldReader(value, field)
        found = read_probe(reader, ProbeKind(field.removesuffix("Probe")))
        assert found is not None
        assert not reader.validation.errors
        assert_defaults(found, expect["defaulted"])
        return
    if "ephemeralContainer" in given:
        probe_field = {"livenessProbe": {"tcpSocket": {"port": 80}}}
        spec = {
            "containers": [{"name": "app"}],
            "ephemeralContainers": [{"name": "debug", **probe_field}],
        }
    else:
        ((field, value),) = given.items()
        if value and not {"httpGet", "tcpSocket"} & value.keys():
            value = {"httpGet": {"port": 80}, **value}
        spec = {"containers": [{"name": "app", field: value}]}
    with pytest.raises(InvalidInputError) as refused:
        read_pods([pod_manifest(spec)], "FILE")
    (error,) = refused.value.errors
    wanted = expect["rejectedWith"]
    if wanted.endswith(" ..."):
        assert str(error).startswith(wanted.removesuffix(" ..."))
    else:
        assert str(error) == wanted


def assert_defaults(found: Probe, wanted: dict[str, Any]) -> None:
    for name, value in wanted.items():
        if name == "httpGet":
            action = found.handler
            assert isinstance(action, HTTPGetAction)
            assert {"path": action.path, "scheme": action.scheme, "port": action.port} == value
        else:
            attribute = re.sub(r"([A-Z])", lambda match: "_" + match[1].lower(), name)
            assert getattr(found, attribute) == value


@pytest.mark.parametrize("vector", group("describe"), ids=vector_id)
def test_describe(vector: dict[str, Any]) -> None:
    reader = FieldReader(vector["given"], "livenessProbe")
    found = read_probe(reader, LIVENESS)
    assert found is not None
    assert describe(found) == vector["expect"]["line"]


# pkg/kubelet/prober/prober.go, probe(): what the worker counts, and the event it reports
@pytest.mark.parametrize(
    ("result", "counted", "event"),
    [
        (Result.SUCCESS, Result.SUCCESS, None),
        (Result.WARNING, Result.SUCCESS, ("ProbeWarning", "Liveness probe warning: why")),
        (Result.FAILURE, Result.FAILURE, ("Unhealthy", "Liveness probe failed: why")),
        (Result.UNKNOWN, Result.FAILURE, None),
    ],
)
def test_what_each_result_comes_to(
    result: Result, counted: Result, event: tuple[str, str] | None
) -> None:
    found, reported = conclude(LIVENESS, "app", Verdict(result, "why"))
    assert found is counted
    assert (reported and (reported.reason, reported.message)) == event
    assert reported is None or (reported.kind, reported.container) == ("Warning", "app")


@pytest.mark.parametrize("result", Result)
def test_an_error_is_not_counted_whatever_the_result(result: Result) -> None:
    found, reported = conclude(LIVENESS, "app", Verdict(result, "why", error="broken"))
    assert found is None
    assert reported is not None
    text = f"Liveness probe errored and resulted in {result} state: broken"
    assert (reported.kind, reported.reason, reported.message) == ("Warning", "Unhealthy", text)
