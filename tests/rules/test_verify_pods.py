"""verify on pods as an API server shows them: what keeps them from starting, and whose they are."""

import copy
from typing import Any

import pytest

from osm_healthcheck.errors import InvalidInputError
from osm_healthcheck.injection.auto_mesh import MeshFinder
from osm_healthcheck.injection.inject import inject
from osm_healthcheck.verification.events import events_in
from osm_healthcheck.verification.findings import Finding, Mark
from tests.manifests.strategies import injection
from tests.rules.test_verify import BEFORE, MESHES_AROUND, found, live, marks

_POD = {"kind": "Pod", "name": "web-0", "namespace": "shop"}
_STAMP = "2030-03-17T17:46:10Z"  # half a minute ago
_KILLED = "OOMKilled (exit code 137)"
_ISTIO = {"name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.30.0"}


def _statuses(pod: Any) -> list[Any]:
    status = pod["status"]
    return [*status["initContainerStatuses"], *status["containerStatuses"]]


def _set(pod: Any, name: str, **status: Any) -> Any:
    next(one for one in _statuses(pod) if one["name"] == name).update(status)
    return pod


def _waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {"ready": False, "state": {"waiting": {"reason": reason, "message": message}}, **more}


def _ended(reason: str, code: int) -> dict[str, Any]:
    return {"terminated": {"reason": reason, "exitCode": code}}


def _wrong(findings: list[Finding]) -> list[tuple[str, str, str]]:
    return [(one.subject, one.text, one.advice) for one in findings if one.mark is Mark.WRONG]


def _unscheduled() -> Any:
    """A pod that no node has room for: the scheduler has written a condition, nobody a status."""
    pod = live()
    message = "0/3 nodes are available: 3 Insufficient memory."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    pod["status"] = {"phase": "Pending", "conditions": [condition | {"message": message}]}
    return pod


def _event(reason: str, message: str, container: str = "") -> dict[str, Any]:
    about = _POD | ({"fieldPath": f"spec.containers{{{container}}}"} if container else {})
    event = {"kind": "Event", "reason": reason, "message": message, "involvedObject": about}
    return event | {"lastTimestamp": _STAMP}


def test_a_pod_that_no_node_takes_is_told_so_first_and_nothing_has_a_log() -> None:
    pod = _unscheduled()
    event = _event("FailedScheduling", "0/3 nodes are available: 3 Insufficient memory.")
    findings = found(pod, events=[event])
    assert findings[0].text == "Unschedulable: 0/3 nodes are available: 3 Insufficient memory."
    assert len(_wrong(findings)) == 1
    assert not any("kubectl logs" in one.advice for one in findings)
    del pod["status"]["conditions"]
    first = found(pod, events=[event])[0]
    assert (first.mark, first.subject) == (Mark.WRONG, "scheduling")
    pod["spec"]["nodeName"] = "node-1"  # it has found one since
    assert _wrong(found(pod, events=[event])) == []


@pytest.mark.parametrize(
    ("container", "reason", "message", "advice"),
    [
        ("web", "ImagePullBackOff", 'Back-off pulling image "web:1"', "correct the image's name"),
        ("web", "ErrImagePull", "not found", "correct the image's name"),
        ("osm-healthcheck", "ErrImagePull", "not found", "push our image to a registry"),
        ("web", "CreateContainerConfigError", 'secret "s" not found', "create what it names"),
        ("web", "CreateContainerError", "x", "kubectl describe pod -n shop web-0"),
    ],
)
def test_what_keeps_a_container_from_starting_is_named_first(
    container: str, reason: str, message: str, advice: str
) -> None:
    pod = _set(live(), container, **_waiting(reason, message))
    findings = found(pod, events=[_event("Failed", f"Error: {reason}", container)])
    [(subject, text, what_to_do)] = _wrong(findings)
    assert findings[0].subject == subject == container
    assert text == f"has not been started: {reason}: {message}"
    assert what_to_do.startswith(advice)


def test_events_of_starting_count_until_it_has_started() -> None:
    events = [
        _event("FailedMount", 'MountVolume.SetUp failed for volume "v" : secret "s" not found'),
        _event("Failed", 'Failed to pull image "web:1": not found', "web"),
    ]
    assert _wrong(found(live(), events=events)) == []  # it runs
    pod = live()
    for one in _statuses(pod):
        one |= _waiting("ContainerCreating")
    assert [one[:1] for one in _wrong(found(pod, events=events))] == [("start",), ("web",)]
    assert not any("kubectl logs" in one.advice for one in found(pod))


def test_what_is_no_event_is_passed_over() -> None:
    event = _event("BackOff", "x")
    untyped = {key: value for key, value in event.items() if key != "kind"}
    assert events_in({"kind": "EventList", "items": ["x", None, [], untyped]}) == [untyped]
    assert events_in({"kind": "List", "items": [{"kind": "Pod"}, 1, event, untyped]}) == [event]
    assert events_in(event) == [event]
    for nothing in ({"items": "x"}, {"kind": "EventList"}, [event], "x"):
        assert events_in(nothing) == []


def test_a_failure_that_is_over_is_no_mistake() -> None:
    readiness = _event("Unhealthy", "Readiness probe failed: x", "web")
    liveness = _event("Unhealthy", "Liveness probe failed: x", "web")
    since = {"state": {"running": {"startedAt": "2030-03-17T17:46:20Z"}}}
    pod = _set(live(), "web", **since)
    findings = found(pod, events=[readiness, liveness])
    assert [one.text for one in findings if one.mark is Mark.UNSURE] == [
        "Readiness probe failed: x, and it is ready now",
        "Liveness probe failed: x, before it was started again",
    ]
    assert _wrong(findings) == []
    earlier = {"running": {"startedAt": "2030-03-17T17:40:00Z"}}
    pod = _set(live(), "web", ready=False, state=earlier)
    probe = pod["spec"]["containers"][0]["livenessProbe"]
    for period, wrong in ((30, 2), (None, 2), (9, 1)):  # without one it is 10 s
        probe["periodSeconds"] = period
        findings = found(pod, events=[readiness, liveness])
        assert len([one for one in _wrong(findings) if one[0] == "event web"]) == wrong
    assert "Liveness probe failed: x, and no more for 30 s" in [one.text for one in findings]
    many = liveness | {"count": 25}  # the kubelet holds the next ones back
    assert "event web" in [one[0] for one in _wrong(found(pod, events=[many]))]


@pytest.mark.parametrize(
    ("name", "status", "mark", "text", "advice"),
    [
        (
            "web",
            _waiting("CrashLoopBackOff", restartCount=3, lastState=_ended("Error", 1)),
            Mark.WRONG,
            "is waiting: CrashLoopBackOff, it ended with Error (exit code 1)",
            "kubectl logs -n shop web-0 -c web --previous",
        ),
        (
            "web",
            {"restartCount": 2, "lastState": _ended("OOMKilled", 137)},
            Mark.UNSURE,
            "runs and is ready, but was restarted 2 times, the last time after " + _KILLED,
            "raise its memory limit; kubectl logs -n shop web-0 -c web --previous",
        ),
        (
            "osm-healthcheck",
            {"ready": False},
            Mark.WRONG,
            "runs, but is not ready",
            "kubectl logs -n shop web-0 -c osm-healthcheck",
        ),
        (
            "web",
            {"ready": False, "state": _ended("Error", 2)},
            Mark.WRONG,
            "has ended: Error (exit code 2)",
            "kubectl logs -n shop web-0 -c web",
        ),
    ],
)
def test_the_very_command_that_prints_the_log(
    name: str, status: dict[str, Any], mark: Mark, text: str, advice: str
) -> None:
    assert Finding(mark, name, text, advice) in found(_set(live(), name, **status))


@pytest.mark.parametrize(
    ("policy", "code", "wrong"),
    [("Always", 0, 1), (None, 0, 1), ("OnFailure", 0, 0), ("Never", 0, 0), ("Never", 1, 1)],
)
def test_a_container_may_end_well_where_its_pod_is_not_to_run_for_ever(
    policy: str | None, code: int, wrong: int
) -> None:
    pod = _set(
        live(), "web", ready=False, state=_ended("Completed" if code == 0 else "Error", code)
    )
    pod["spec"]["restartPolicy"] = policy
    findings = _wrong(found(pod))
    assert (
        len([text for name, text, _ in findings if (name, text[:9]) == ("web", "has ended")])
        == wrong
    )


def test_a_pod_that_has_completed_is_right_and_one_that_is_starting_is_not_wrong() -> None:
    pod = live()
    for one in _statuses(pod):
        one |= {"ready": False, "state": _ended("Completed", 0)}
    pod["status"]["phase"] = "Succeeded"
    assert marks(found(pod), Mark.GOOD) == ["pod: has completed"]
    pod = live("none")
    for one in _statuses(pod):
        one |= _waiting("PodInitializing")
    assert _wrong(found(pod)) == []


def test_a_pod_that_is_being_deleted_is_told_so_and_nothing_else() -> None:
    pod = _set(live(), "web", ready=False, state=_ended("Error", 143))
    assert _wrong(found(pod))
    pod["metadata"]["deletionTimestamp"] = _STAMP
    [finding] = found(pod)
    assert (finding.mark, finding.subject) == (Mark.UNSURE, "pod")


def test_a_sidecar_in_its_first_second_is_not_wrong() -> None:
    pod = _set(live(), "osm-healthcheck", ready=False, started=True)
    assert [subject for subject, *_ in _wrong(found(pod))] == ["osm-healthcheck"]
    assert _wrong(found(_set(pod, "osm-healthcheck", started=False))) == []


def test_the_sidecars_own_probes_have_to_bypass_the_mesh() -> None:
    pod = live()
    pod["metadata"]["annotations"]["traffic.sidecar.istio.io/excludeInboundPorts"] = "15901"
    named = "traffic.sidecar.istio.io/excludeInboundPorts does not name"
    only = {"name": "web", "image": "web:1", "livenessProbe": _probe("/osm-liveness-probe", 15901)}
    own = next(one for one in pod["spec"]["initContainers"] if one["name"] == "osm-healthcheck")
    pod["spec"] |= {"containers": [only], "initContainers": [own]}
    assert ("bypass", f"{named} 15904") in [(one, text) for one, text, _ in _wrong(found(pod))]


def _plain(**spec: Any) -> Any:
    pod = copy.deepcopy(BEFORE)
    pod["metadata"]["uid"] = "1"
    pod["spec"] |= spec
    return pod


def test_a_pod_in_no_mesh_is_right() -> None:
    [finding] = found(_plain())
    assert (finding.mark, finding.text.partition(":")[0]) == (Mark.GOOD, "is in no mesh")
    # in one, it is not
    pod = _plain()
    pod["spec"]["containers"].append(_ISTIO)
    assert len(_wrong(found(pod))) == 4


def _probe(path: str, port: int, **more: Any) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": port, "scheme": "HTTP", **more}}


@pytest.mark.parametrize(("port", "wrong"), [(20300, 0), (20301, 0), (20299, 1), (20302, 1)])
def test_consul_takes_a_port_for_each_container(port: int, wrong: int) -> None:
    web = {"name": "web", "image": "web:1", "livenessProbe": _probe("/live", port)}
    findings = found(_plain(containers=[web, {"name": "consul-dataplane"}]))
    assert len([one for one in _wrong(findings) if one[0] == "web.livenessProbe"]) == wrong


@pytest.mark.parametrize(
    ("whose", "path", "port", "containers"),
    [
        ("Istio", "/app-health/web/livez", 15020, [_ISTIO]),
        ("Kuma", "/8080/live", 9000, [{"name": "kuma-sidecar"}]),
        ("Consul", "/live", 20300, [{"name": "consul-dataplane"}]),
    ],
)
def test_what_a_mesh_has_rewritten_itself_is_right(
    whose: str, path: str, port: int, containers: list[Any]
) -> None:
    web = {"name": "web", "image": "web:1", "livenessProbe": _probe(path, port)}
    findings = found(_plain(containers=[web, *containers]))
    assert marks(findings, Mark.GOOD)[0] == f"pod: its probes are rewritten by {whose}"
    assert _wrong(findings) == []


@pytest.mark.parametrize(
    ("annotations", "proxy", "wrong"),
    [
        ({"traffic.sidecar.istio.io/excludeInboundPorts": "15901"}, "istio-proxy", False),
        ({"traffic.sidecar.istio.io/excludeInboundPorts": "15901"}, "linkerd-proxy", True),
        ({"traffic.sidecar.istio.io/excludeInboundPorts": "15901"}, "envoy", True),
        ({"config.linkerd.io/skip-inbound-ports": "15901"}, "linkerd-proxy", False),
    ],
)
def test_only_the_annotation_of_the_mesh_around_it_counts(
    annotations: dict[str, str], proxy: str, wrong: bool
) -> None:
    web = {"name": "web", "livenessProbe": _probe("/osm-liveness-probe", 15901)}
    pod = _plain(containers=[web, {"name": "osm-healthcheck"}, {"name": proxy}])
    pod["metadata"]["annotations"] = annotations
    assert ("bypass" in [one[0] for one in _wrong(found(pod))]) is wrong


def test_consul_is_told_of_our_user() -> None:
    pod = live("consul")
    pod["spec"]["containers"].append({"name": "consul-dataplane"})
    assert _wrong(found(pod)) == []
    pod["metadata"]["annotations"]["consul.hashicorp.com/transparent-proxy-exclude-uids"] = "7"
    [(subject, text, _)] = _wrong(found(pod))
    assert (subject, "does not name 15904" in text) == ("bypass", True)


def test_linkerd_lets_http_probes_pass_and_makes_tcp_ones_pass_always() -> None:
    web = BEFORE["spec"]["containers"][0] | {"startupProbe": {"grpc": {"port": 9000}}}
    findings = found(_plain(containers=[web, {"name": "linkerd-proxy"}]))
    assert {"web.readinessProbe", "web.startupProbe"} <= {one[0] for one in _wrong(findings)}
    assert any("lets httpGet probes pass" in one.text for one in findings if one.mark == "!")
    assert "web.livenessProbe" not in [one[0] for one in _wrong(findings)]


def test_fsms_injection_is_known() -> None:
    headers = [{"name": "Original-TCP-Port", "value": "8080"}]
    web = {
        "name": "web",
        "livenessProbe": _probe("/fsm-liveness-probe", 15901),
        "readinessProbe": _probe("/fsm-healthcheck", 15904, httpHeaders=headers),
    }
    pod = _plain(
        containers=[web, {"name": "fsm-healthcheck"}, {"name": "sidecar"}],
        initContainers=[{"name": "fsm-init"}],
    )
    findings = found(pod)
    assert marks(findings, Mark.WRONG) + marks(findings, Mark.UNSURE) == []
    assert "pod: injected by FSM" in marks(findings, Mark.GOOD)
    del pod["spec"]["containers"][1]
    assert [one[0] for one in _wrong(found(pod))] == ["port 15904"]


_OURS = {"app.kubernetes.io/name": "osm-healthcheck", "app.kubernetes.io/component": "injector"}


@pytest.mark.parametrize(
    ("name", "labels"),
    [("osm-controller", {}), ("osm-injector", {}), ("fsm-controller", {}), ("injector", _OURS)],
)
@pytest.mark.parametrize(
    "proxy",
    [
        {"name": "sidecar", "image": "flomesh/pipy:1.2"},
        {"name": "x", "image": "mirror/envoyproxy/envoy@sha256:1"},
        _ISTIO,
    ],
)
def test_a_control_plane_has_no_proxy(name: str, labels: Any, proxy: Any) -> None:
    pod = _plain(containers=[{"name": name, "image": "openservicemesh/osm-controller:1"}])
    pod["metadata"]["labels"] = labels
    assert [one.mark for one in found(pod)] == [Mark.GOOD]
    pod["spec"]["containers"].append(proxy)
    [(subject, text, advice)] = _wrong(found(pod))
    assert subject == proxy["name"]
    assert str(proxy["image"]) in text
    assert "take namespace shop out of the injection of every mesh" in advice


def test_a_control_plane_that_is_not_ready_is_told_where_its_log_is() -> None:
    pod = _plain(containers=[{"name": "osm-controller", "image": "o"}])
    running = {"name": "osm-controller", "ready": False, "state": {"running": {}}}
    pod["status"] = {"phase": "Running", "containerStatuses": [running]}
    [(_, text, advice)] = _wrong(found(pod))
    assert text == "runs, but is not ready"
    assert advice == "kubectl logs -n shop web-0 -c osm-controller"


@pytest.mark.parametrize(
    ("label", "annotation", "by"),
    [
        ({"istio-injection": "enabled"}, {}, "istio"),
        ({"kuma.io/sidecar-injection": "enabled"}, {}, "kuma"),
        ({}, {"openservicemesh.io/sidecar-injection": "enabled"}, "osm"),
        ({}, {"linkerd.io/inject": "enabled"}, "linkerd"),
        ({"istio-injection": "disabled"}, {}, ""),
    ],
)
def test_the_namespace_of_a_control_plane_is_in_no_mesh(
    label: Any, annotation: Any, by: str
) -> None:
    finder = MeshFinder(MESHES_AROUND)
    metadata = {"name": "shop", "labels": label, "annotations": annotation}
    finder.remember_namespaces({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    pod = _plain(containers=[{"name": "osm-injector", "image": "o"}])
    wrong = _wrong(found(pod, finder=finder))
    assert [one[1].partition(" (")[0] for one in wrong] == (
        [f"shop is listed for {by}'s injection"] if by else []
    )
    web = _plain()
    assert _wrong(found(web, finder=finder)) == []  # of an app it may be


def test_inject_refuses_a_control_plane() -> None:
    controller = {
        "name": "osm-controller",
        "image": "o",
        "livenessProbe": {"tcpSocket": {"port": 9}},
    }
    pod = _plain(containers=[controller])
    with pytest.raises(InvalidInputError, match="of the control plane of Open Service Mesh"):
        inject(pod, injection("istio"))
    pod["metadata"]["annotations"] = {"healthcheck.openservicemesh.io/inject": "disabled"}
    assert inject(pod, injection("istio")).manifest == pod
