"""verify: each thing that can be wrong is found, and a pod that is right is called right."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.auto_mesh import MeshFinder
from osm_healthcheck.injection.pods import pods_in
from osm_healthcheck.mesh.annotations import MESHES
from osm_healthcheck.verification.findings import Finding, Mark
from osm_healthcheck.verification.verify import Context, verify
from tests.manifests.strategies import (
    VERSION,
    injected,
    injection,
    injections,
    templates,
)

MESHES_AROUND = tuple(MESHES.values())
NOW = 1_900_000_000.0
BEFORE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web-0", "namespace": "shop"},
    "spec": {
        "containers": [
            {
                "name": "web",
                "ports": [{"name": "http", "containerPort": 8080}],
                "livenessProbe": {"httpGet": {"path": "/live", "port": "http"}},
                "readinessProbe": {"tcpSocket": {"port": 8080}},
            },
            {"name": "tls", "startupProbe": {"httpGet": {"port": 8443, "scheme": "HTTPS"}}},
            {"name": "job", "livenessProbe": {"exec": {"command": ["true"]}}},
        ]
    },
}


def found(manifest: Any, **more: Any) -> list[Finding]:
    [pod] = pods_in(manifest, Validation())
    return verify(pod, Context(VERSION, MESHES_AROUND, now=NOW, **more))


def marks(findings: list[Finding], mark: Mark) -> list[str]:
    return [f"{one.subject}: {one.text}" for one in findings if one.mark is mark]


def live(mesh: str = "istio", **options: Any) -> Any:
    """The pod as ``kubectl get pod -o yaml`` shows it: with defaults and a status."""
    pod = injected(copy.deepcopy(BEFORE), injection(mesh, **options))
    spec = pod["spec"]
    for container in spec["containers"]:
        for field in ("livenessProbe", "readinessProbe", "startupProbe"):
            if "httpGet" in (probe := container.get(field, {})):
                probe["httpGet"].setdefault("scheme", "HTTP")
                probe["httpGet"].setdefault("path", "/")
                probe |= {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1}
                probe["failureThreshold"] = 3
    running = {"ready": True, "restartCount": 0, "state": {"running": {"startedAt": "now"}}}
    ended = {"ready": True, "state": {"terminated": {"exitCode": 0}}}
    init = spec["initContainers"]
    pod["status"] = {
        "containerStatuses": [{"name": one["name"], **running} for one in spec["containers"]],
        "initContainerStatuses": [
            {"name": one["name"], **(running if "restartPolicy" in one else ended)} for one in init
        ],
    }
    return pod


@given(templates(), injections)
def test_what_inject_writes_is_right(template: dict[str, Any], how: Any) -> None:
    pod = injected({"apiVersion": "v1", "kind": "Pod", **template}, how)
    # native sidecars are left alone where an ordinary container answers, and there is none here
    unanswered = how.sidecar == "container" and how.proxy == "mesh"
    if "original-probes" in str(pod) and not unanswered:
        # node mode leaves a mesh without an annotation to others; the command asks for --no-init
        elsewhere = not how.init or (how.proxy == "node" and not how.mesh.ports)
        assert marks(found(pod, bypassed_elsewhere=elsewhere), Mark.WRONG) == []


@pytest.mark.parametrize("mesh", ["istio", "none"])
def test_a_running_pod_is_right(mesh: str) -> None:
    findings = found(live(mesh))
    assert marks(findings, Mark.WRONG) + marks(findings, Mark.UNSURE) == []
    assert (
        "web.livenessProbe: asks http://:15901/osm-liveness-probe for http://:http/live"
        in marks(findings, Mark.GOOD)
    )
    assert "osm-healthcheck: runs and is ready" in marks(findings, Mark.GOOD)


def _probe(pod: Any, container: str, field: str) -> Any:
    return next(one for one in pod["spec"]["containers"] if one["name"] == container)[field]


def _sidecar(pod: Any) -> Any:
    return next(one for one in pod["spec"]["initContainers"] if one["name"] == "osm-healthcheck")


def _status(pod: Any, name: str) -> Any:
    return next(one for one in pod["status"]["initContainerStatuses"] if one["name"] == name)


def _break_port(pod: Any) -> None:
    _probe(pod, "web", "livenessProbe")["httpGet"]["port"] = 15902


def _break_path(pod: Any) -> None:
    _probe(pod, "web", "livenessProbe")["httpGet"]["path"] = "/osm-liveness-probe/other"


def _break_header(pod: Any) -> None:
    _probe(pod, "web", "readinessProbe")["httpGet"]["httpHeaders"][0]["value"] = "8081"


def _break_scheme(pod: Any) -> None:
    _probe(pod, "tls", "startupProbe")["httpGet"]["scheme"] = "HTTP"


def _put_back_one(pod: Any) -> None:
    _probe(pod, "web", "livenessProbe")["httpGet"] |= {"port": 8080, "path": "/live"}


def _late_container(pod: Any) -> None:
    probe = {"tcpSocket": {"port": 9000}}
    pod["spec"]["containers"].append({"name": "late", "livenessProbe": probe})


def _early_sidecar(pod: Any) -> None:
    probe = {"httpGet": {"path": "/osm-startup-probe/early", "port": 15903}}
    early = {"name": "early", "restartPolicy": "Always", "startupProbe": probe}
    pod["spec"]["initContainers"].insert(0, early)


def _remove_sidecar(pod: Any) -> None:
    pod["spec"]["initContainers"].remove(_sidecar(pod))


def _declare_less(pod: Any) -> None:
    _sidecar(pod)["env"][0]["value"] = '{"web":{"livenessProbe":{"tcpSocket":{"port":8080}}}}'


def _declare_nonsense(pod: Any) -> None:
    _sidecar(pod)["env"][0]["value"] = "{"


def _crash(pod: Any) -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    _status(pod, "osm-healthcheck")["state"] = waiting


def _not_ready(pod: Any) -> None:
    _status(pod, "osm-healthcheck")["ready"] = False


def _fail_init(pod: Any) -> None:
    _status(pod, "osm-healthcheck-init")["state"] = {"terminated": {"exitCode": 1}}


def _running_init(pod: Any) -> None:
    _status(pod, "osm-healthcheck-init")["state"] = {"running": {}}


def _remove_init(pod: Any) -> None:
    del pod["spec"]["initContainers"][0]


def _less_excluded(pod: Any) -> None:
    name = "traffic.sidecar.istio.io/excludeInboundPorts"
    pod["metadata"]["annotations"][name] = "15901,15904"


def _no_ports_excluded(pod: Any) -> None:
    name = "traffic.sidecar.istio.io/excludeInboundPorts"
    pod["metadata"]["annotations"][name] = "15901-,http"


def _break_original(pod: Any) -> None:
    name = "healthcheck.openservicemesh.io/original-probes"
    annotations = pod["metadata"]["annotations"]
    annotations[name] = annotations[name].replace('"path":"/live"', '"path":7')


def _newer(pod: Any) -> None:
    pod["metadata"]["annotations"]["healthcheck.openservicemesh.io/version"] = "99.0"


@pytest.mark.parametrize(
    ("mesh", "breaking", "message"),
    [
        (
            "istio",
            _break_port,
            "web.livenessProbe: asks http://:15902/osm-liveness-probe, but should",
        ),
        (
            "istio",
            _break_path,
            "web.livenessProbe: asks http://:15901/osm-liveness-probe/other, but",
        ),
        (
            "istio",
            _break_header,
            "should ask http://:15904/osm-healthcheck with Original-Tcp-Port: ",
        ),
        ("istio", _break_scheme, "tls.startupProbe: asks http://:15903/, but should ask https://"),
        ("istio", _put_back_one, "web.livenessProbe: is not rewritten: it asks http://:8080/live"),
        ("istio", _late_container, "late.livenessProbe: is not rewritten: it asks tcp://:9000"),
        (
            "istio",
            _early_sidecar,
            "early.startupProbe: its container starts before osm-healthcheck",
        ),
        (
            "istio",
            _remove_sidecar,
            "port 15904: web.readinessProbe asks it, and nothing in the pod",
        ),
        ("istio", _declare_less, "osm-healthcheck: its declared probes are not the originals"),
        ("istio", _declare_less, "port 15901: web.livenessProbe asks it, and nothing in the pod"),
        ("istio", _declare_nonsense, "osm-healthcheck: OSM_HEALTHCHECK_PROBES: it is not JSON"),
        ("istio", _crash, "osm-healthcheck: is waiting: CrashLoopBackOff"),
        ("istio", _not_ready, "osm-healthcheck: runs, but is not ready"),
        ("none", _fail_init, "bypass: the init container osm-healthcheck-init failed: exit code 1"),
        ("none", _running_init, "bypass: the init container osm-healthcheck-init has not finished"),
        ("none", _remove_init, "bypass: nothing keeps the mesh's redirect off 15901, 15903, 15904"),
        ("istio", _less_excluded, "bypass: traffic.sidecar.istio.io/excludeInboundPorts does not"),
        ("istio", _no_ports_excluded, "bypass: traffic.sidecar.istio.io/excludeInboundPorts does"),
        ("istio", _break_original, "web.livenessProbe: Invalid value: 7: must be a string"),
        ("istio", _newer, "injected by osm-healthcheck 99.0, this is 2.0.0: use that one"),
    ],
)
def test_what_is_wrong_is_found(mesh: str, breaking: Callable[[Any], None], message: str) -> None:
    pod = live(mesh)
    breaking(pod)
    findings = found(pod)
    assert any(message in text for text in marks(findings, Mark.WRONG)), findings
    assert all(one.advice for one in findings if one.mark is Mark.WRONG)


@pytest.mark.parametrize(("sidecar", "mark"), [("native", Mark.WRONG), ("container", Mark.UNSURE)])
def test_a_probe_from_before_the_sidecar_may_stay_where_the_sidecar_is_an_ordinary_container(
    sidecar: str, mark: Mark
) -> None:
    pod = live("istio")
    pod["spec"] = injected(copy.deepcopy(BEFORE), injection("istio", sidecar=sidecar))["spec"]
    late = {"name": "late", "livenessProbe": {"tcpSocket": {"port": 9000}}}
    pod["spec"]["containers"].append(late)
    pod["spec"].setdefault("initContainers", []).append(
        {**late, "name": "early", "restartPolicy": "Always"}
    )
    found_marks = {one.subject: one.mark for one in found(pod)}
    assert found_marks["early.livenessProbe"] is mark
    assert found_marks["late.livenessProbe"] is Mark.WRONG


def test_a_pod_without_injection() -> None:
    wrong = marks(found(BEFORE), Mark.WRONG)
    assert wrong[0] == "pod: is not injected"
    assert len(wrong) == 4


def test_a_manifest_whose_pod_is_kept_out_of_a_mesh_is_right() -> None:
    finder = MeshFinder(MESHES_AROUND)
    off = {"name": "shop", "labels": {"istio-injection": "disabled"}}
    finder.remember_namespaces({"kind": "Namespace", "metadata": off})
    assert found(BEFORE, finder=finder) == [
        Finding(
            Mark.GOOD,
            "pod",
            'is in no mesh: istio-injection: "disabled" of the Namespace shop keeps it out of one',
        )
    ]
    injected_pod = live("istio")  # that one has something to check
    assert len(found(injected_pod, finder=finder)) > 1


@pytest.mark.parametrize(
    ("annotation", "text", "advice"),
    [
        ("version", "99.0", "verify it with osm-healthcheck 99.0"),
        ("original-probes", "[", "inject the original manifest"),
        ("inject", "maybe", "correct it"),
    ],
)
def test_the_advice_is_not_what_inject_would_refuse(
    annotation: str, text: str, advice: str
) -> None:
    pod = live("istio")
    pod["metadata"]["annotations"][f"healthcheck.openservicemesh.io/{annotation}"] = text
    [mistake] = [one for one in found(pod) if one.mark is Mark.WRONG]
    assert mistake.advice == advice


def test_a_pod_without_probes_needs_nothing() -> None:
    pod = copy.deepcopy(BEFORE)
    pod["spec"]["containers"] = pod["spec"]["containers"][2:]
    assert [one.mark for one in found(pod)] == [Mark.UNSURE]


def test_the_hooks_of_a_pod_without_probes_are_looked_at() -> None:
    pod = copy.deepcopy(BEFORE)
    app = {"name": "app", "image": "app:1"}
    app["lifecycle"] = {"preStop": {"httpGet": {"port": 80}}}  # type: ignore[assignment]
    pod["spec"]["containers"] = [app]
    assert [one.subject for one in found(pod)] == ["pod", "app.lifecycle.preStop"]


@pytest.mark.parametrize(("proxy", "wrong"), [("istio-proxy", []), ("linkerd-proxy", ["bypass"])])
def test_the_bypass_is_that_of_the_mesh_whose_proxy_is_in_the_pod(
    proxy: str, wrong: list[str]
) -> None:
    pod = live("istio")
    pod["spec"]["containers"].append({"name": proxy, "image": "proxy:1"})
    assert [one.subject for one in found(pod) if one.mark is Mark.WRONG] == wrong


def test_an_annotation_of_another_mesh_is_no_obstacle() -> None:
    pod = live()
    pod["metadata"]["annotations"] |= {"traffic.kuma.io/exclude-inbound-ports": "80"}
    assert marks(found(pod), Mark.WRONG) == []


def test_restarts_are_worth_knowing() -> None:
    pod = live()
    _status(pod, "osm-healthcheck")["restartCount"] = 3
    [text] = marks(found(pod), Mark.UNSURE)
    assert "was restarted 3 times" in text


def test_a_copy_by_kubectl_debug_says_that_the_record_is_gone() -> None:
    pod = live()
    del pod["metadata"]["annotations"]
    assert any(
        "the annotation that holds the original probes is gone" in text
        for text in marks(found(pod, bypassed_elsewhere=True), Mark.UNSURE)
    )


OSM: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "bookstore-v1", "namespace": "bookstore"},
    "spec": {
        "initContainers": [{"name": "osm-init"}],
        "containers": [
            {
                "name": "bookstore",
                "livenessProbe": {
                    "httpGet": {"path": "/osm-liveness-probe", "port": 15901, "scheme": "HTTP"}
                },
                "readinessProbe": {
                    "httpGet": {
                        "path": "/osm-healthcheck",
                        "port": 15904,
                        "scheme": "HTTP",
                        "httpHeaders": [{"name": "Original-TCP-Port", "value": "14001"}],
                    }
                },
                "startupProbe": {
                    "httpGet": {"path": "/ready", "port": 15903, "scheme": "HTTPS"},
                },
            },
            {"name": "osm-healthcheck"},
            {"name": "envoy"},
        ],
    },
}


def test_osms_own_injection_is_known() -> None:
    findings = found(OSM)
    assert marks(findings, Mark.WRONG) + marks(findings, Mark.UNSURE) == []
    assert "pod: injected by Open Service Mesh" in marks(findings, Mark.GOOD)
    assert "port 15901: to be served by envoy, the mesh's proxy" in marks(findings, Mark.GOOD)


def test_what_osms_injection_lacks_is_found() -> None:
    pod = copy.deepcopy(OSM)
    del pod["spec"]["containers"][1]  # osm-healthcheck
    assert (
        "port 15904: bookstore.readinessProbe asks it, and nothing in the pod serves it"
        in marks(found(pod), Mark.WRONG)
    )
    pod = copy.deepcopy(OSM)
    action = pod["spec"]["containers"][0]["readinessProbe"]["httpGet"]
    action["httpHeaders"][0]["value"] = "http"
    assert any("a header that is not a port" in text for text in marks(found(pod), Mark.WRONG))
    del action["httpHeaders"]
    assert any("without Original-Tcp-Port" in text for text in marks(found(pod), Mark.WRONG))
    pod = copy.deepcopy(OSM)
    pod["spec"]["containers"][0]["livenessProbe"]["httpGet"]["port"] = 15902
    assert any("liveness probes are for 15901" in text for text in marks(found(pod), Mark.WRONG))


def test_osm_edges_injection_is_known() -> None:
    headers = [
        {"name": "Original-Http-Port", "value": "8080"},
        {"name": "Original-Http-Path", "value": "/live"},
    ]
    pod = copy.deepcopy(OSM)
    pod["spec"]["containers"] = [
        {
            "name": "web",
            "livenessProbe": {
                "httpGet": {"path": "/osm-healthcheck", "port": 15901, "httpHeaders": headers}
            },
        },
        {"name": "sidecar", "image": "pipy"},
    ]
    findings = found(pod)
    assert marks(findings, Mark.WRONG) == []
    assert "pod: injected by osm-edge" in marks(findings, Mark.GOOD)
    assert any("for port 8080" in text for text in marks(findings, Mark.GOOD))


_REFUSED = (
    'Startup probe failed: Get "http://10.244.0.23:15903/osm-startup-probe": dial tcp '
    "10.244.0.23:15903: connect: connection refused"
)
_TOO_SLOW = (
    "Liveness probe failed: Get http://10.11.162.172:3000/health: net/http: request canceled "
    "(Client.Timeout exceeded while awaiting headers)"
)


def _event(message: str, **more: Any) -> dict[str, Any]:
    about = {
        "kind": "Pod",
        "name": "web-0",
        "namespace": "shop",
        "fieldPath": "spec.containers{web}",
    }
    event = {"kind": "Event", "reason": "Unhealthy", "message": message, "involvedObject": about}
    return event | {"lastTimestamp": "2030-03-17T17:46:35Z"} | more


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        (_REFUSED, "nothing listens there"),
        ("Startup probe failed: HTTP probe failed with statuscode: 503", "refuses connections"),
        ("Liveness probe failed: HTTP probe failed with statuscode: 403", "--allow-from"),
        (_TOO_SLOW, "too slowly"),
        ('Liveness probe failed: Get "http://10.1.1.1:15901/x": EOF', "see the bypass"),
        (
            'Liveness probe failed: Get "https://10.1.1.1:15901/x": EOF',
            "TLS is handed through: the app refuses or breaks off, or the mesh's proxy took",
        ),
        (
            'Liveness probe failed: Get "https://10.1.1.1:15901/x": context deadline exceeded',
            "TLS is handed through: the app answers too slowly",
        ),
        (
            'Liveness probe failed: Get "http://10.1.1.1:15901/x": context deadline exceeded',
            "osm-healthcheck itself did not answer in time: the node is short of CPU, or see the",
        ),
        (
            "Liveness probe failed: service 10.1.1.1:9090: context deadline exceeded",
            "the mesh's proxy took the connection, or the app",
        ),
        ('Liveness probe failed: Get "http://10.1.1.1:8080/x": EOF', "proxy took the connection"),
    ],
)
def test_events_are_explained(message: str, advice: str) -> None:
    [finding] = [
        one
        for one in found(live(), events=[_event(message, count=6)])
        if one.subject == "event web"
    ]
    assert finding.mark is Mark.WRONG
    assert finding.text == f"{message} (x6)"
    assert advice in finding.advice


_CODE = "{kind} probe failed: HTTP probe failed with statuscode: {code}"


@pytest.mark.parametrize(
    ("kind", "code", "advice"),
    [
        # web's liveness probe asks 15901, its readiness probe 15904, and it has no startup probe
        ("Liveness", 404, "no declared probe has that path (inject the manifest again), or"),
        ("Liveness", 503, "the app refuses connections, or says itself that it is unhealthy"),
        ("Liveness", 403, "the app answers that, or --allow-from"),
        ("Liveness", 502, "the app's answer is not HTTP"),
        ("Liveness", 504, "the app answers too slowly"),
        ("Readiness", 404, "the app refuses connections on that port"),
        ("Readiness", 503, "the app says itself that it is unhealthy, or has no gRPC"),
        ("Readiness", 403, "it asks what was not declared"),
        ("Readiness", 504, "the app answers too slowly"),
        ("Startup", 404, "where it asks 15904: the app refuses connections on that port; else: no"),
    ],
)
def test_a_status_code_means_what_it_means_on_the_port_of_the_probe(
    kind: str, code: int, advice: str
) -> None:
    event = _event(_CODE.format(kind=kind, code=code))
    [finding] = [one for one in found(live(), events=[event]) if one.subject == "event web"]
    assert finding.advice.startswith(advice)


def test_the_meshs_proxy_gives_an_app_all_the_time_there_is() -> None:
    event = _event('Liveness probe failed: Get "http://10.1.1.1:15901/x": deadline exceeded')
    [finding] = [
        one for one in found(live(proxy="mesh"), events=[event]) if one.subject == "event web"
    ]
    assert finding.advice.startswith("the app answers too slowly")


def test_who_serves_a_port_does_so_where_it_runs() -> None:
    pod = live()
    assert "port 15901: served by osm-healthcheck" in marks(found(pod), Mark.GOOD)
    [status] = [
        one for one in pod["status"]["initContainerStatuses"] if one["name"] == "osm-healthcheck"
    ]
    status["state"] = {"waiting": {"reason": "PodInitializing"}}
    assert "port 15901: to be served by osm-healthcheck" in marks(found(pod), Mark.GOOD)


def test_a_pod_that_is_being_deleted_is_not_held_against_anybody() -> None:
    pod = live()
    pod["metadata"]["deletionTimestamp"] = "2030-03-17T17:46:00Z"
    pod["status"]["containerStatuses"][0] |= {
        "ready": False,
        "state": {"terminated": {"exitCode": 2}},
    }
    [finding] = found(pod)
    assert (finding.mark, finding.subject) == (Mark.UNSURE, "pod")


def test_old_events_and_those_of_others_are_not_held_against_a_pod() -> None:
    old = _event("Liveness probe failed", lastTimestamp="2030-03-17T10:00:00Z")
    other = _event("Liveness probe failed")
    other["involvedObject"] = {**other["involvedObject"], "name": "web-1"}
    started = _event("Container started", reason="Started")
    newer = _event("Liveness probe failed", lastTimestamp="2030-03-17T16:47:10Z")  # of 17:46:40
    findings = found(live(), events=[old, newer, other, started])
    assert marks(findings, Mark.WRONG) == []
    assert marks(findings, Mark.UNSURE) == [
        "event web: Liveness probe failed, 7 hours ago",
        "event web: Liveness probe failed, 59 minutes ago",
    ]


@pytest.mark.parametrize(("uid", "wrong"), [("1", 1), (None, 1), ("2", 0)])
def test_an_event_of_a_pod_of_the_same_name_that_is_gone_is_not_held_against_it(
    uid: str | None, wrong: int
) -> None:
    pod = live()
    pod["metadata"]["uid"] = "1"
    event = _event("Liveness probe failed")
    event["involvedObject"] = {**event["involvedObject"], "uid": uid}
    assert len(marks(found(pod, events=[event]), Mark.WRONG)) == wrong
    del pod["metadata"]["uid"]  # in a manifest
    assert len(marks(found(pod, events=[event]), Mark.WRONG)) == 1


@pytest.mark.parametrize(("started", "mark"), [(True, Mark.GOOD), (False, Mark.WRONG)])
def test_a_startup_probe_fails_until_the_container_has_started(started: bool, mark: Mark) -> None:
    pod = live()
    for status in pod["status"]["containerStatuses"]:
        status["started"] = started
    events = [_event("Startup probe failed: HTTP probe failed with statuscode: 503", count=2)]
    [finding] = [one for one in found(pod, events=events) if one.subject == "event web"]
    assert finding.mark is mark


def test_what_the_injector_warned_of_is_said() -> None:
    pod = live()
    kept = "osm-healthcheck: a.livenessProbe: left alone: it has a host\nosm-healthcheck: b"
    pod["metadata"]["annotations"]["healthcheck.openservicemesh.io/warnings"] = kept
    said = ["warning: a.livenessProbe: left alone: it has a host", "warning: b"]
    assert marks(found(pod), Mark.UNSURE)[:2] == said
    assert not marks(found(pod), Mark.WRONG)
