"""What the admission of one pod comes to: patch, warnings, denial."""

import copy
import itertools
import json
from typing import Any

import pytest
from hypothesis import given

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.pods import pods_in
from osm_healthcheck.injection.record import VERSION, WARNINGS
from osm_healthcheck.injection.uninject import uninject
from osm_healthcheck.injector import pod_admission
from osm_healthcheck.injector.admission import AdmissionResponse, read_review
from osm_healthcheck.injector.json_patch import apply, difference
from osm_healthcheck.injector.pod_admission import Admission, OnInvalid, Outcome, PodAdmission
from osm_healthcheck.mesh.annotations import MESHES
from osm_healthcheck.probes.constants import DECLARED_PROBES
from tests.io.injector import review
from tests.manifests.strategies import injected, injection, templates

_MESHES = [name for name, mesh in MESHES.items() if not mesh.injector]
_LABEL = "healthcheck.openservicemesh.io/mesh"
_PROBE = {"httpGet": {"path": "/h", "port": 8080}}
_BY_NODE = {"proxy": "node"}
_OWNER = {"ownerReferences": [{"kind": "ReplicaSet", "name": "web", "controller": True}]}


def _admit(
    pod: Any,
    mesh: str = "istio",
    *,
    on_invalid: OnInvalid = "warn",
    how: dict[str, Any] | None = None,
    **more: object,
) -> tuple[Admission, Any]:
    """The answer, and the pod as it is then; ``how`` pods are injected."""
    injections = {name: injection(name, **(how or {})) for name in _MESHES}
    admission = PodAdmission(injections, "none", on_invalid)
    request = read_review(json.dumps(review(pod, **more)).encode())
    answer = admission.admit(request, mesh)
    return answer, apply(copy.deepcopy(pod), json.loads(json.dumps(answer.response.patch)))


def _pod(*containers: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    listed = list(containers) or [{"name": "app", "image": "app:1", "livenessProbe": _PROBE}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", **metadata},
        "spec": {"containers": listed},
    }


def _with_port(port: object) -> dict[str, Any]:
    return {"name": "app", "image": "a", "livenessProbe": {"httpGet": {"port": port}}}


@given(templates())
def test_a_pod_becomes_what_inject_makes_of_it(template: dict[str, Any]) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", **copy.deepcopy(template)}
    answer, after = _admit(pod, "kuma")
    assert answer.outcome is not Outcome.FAILED
    if answer.outcome is not Outcome.INVALID:
        assert after == injected(pod, injection("kuma"))


@pytest.mark.parametrize("how", [{}, _BY_NODE])
def test_a_second_call_has_nothing_to_do(how: dict[str, Any]) -> None:
    _, once = _admit(_pod(), how=how)
    again, twice = _admit(once, how=how)
    assert twice == once
    assert again.outcome is Outcome.UNCHANGED
    assert (list(again.response.patch), list(again.response.warnings)) == ([], [])


def test_a_denial_says_where_each_of_many_containers_stands() -> None:
    many = [{**_with_port(""), "name": f"app-{number}"} for number in range(5_000)]
    answer, _ = _admit(_pod(*many), on_invalid="deny")
    for number in (0, 2_500, 4_999):
        assert f"spec.containers[{number}].livenessProbe.httpGet.port: " in answer.response.message


@pytest.mark.parametrize("on_invalid", ["warn", "deny"])
@pytest.mark.parametrize("how", [{}, _BY_NODE])
def test_what_a_newer_version_has_injected_is_left_as_it_is(
    how: dict[str, Any], on_invalid: OnInvalid
) -> None:
    _, newer = _admit(_pod(), how=how)
    newer["metadata"]["annotations"][VERSION] = "1000.0"
    answer, after = _admit(newer, on_invalid=on_invalid, how=how)
    assert (answer.response.allowed, answer.outcome) == (True, Outcome.UNCHANGED)
    assert after == newer
    [warning] = answer.response.warnings
    assert "left as it is: osm-healthcheck 1000.0 has injected it" in warning


def test_node_mode_adds_nothing_to_the_pod_and_finds_it_again_beside_the_meshs_proxy() -> None:
    _, once = _admit(_pod(), how=_BY_NODE)
    assert [one["name"] for one in once["spec"]["containers"]] == ["app"]
    assert "initContainers" not in once["spec"]
    assert DECLARED_PROBES in once["metadata"]["annotations"]
    once["spec"]["containers"].append({"name": "istio-proxy", "image": "proxyv2"})
    late = {"name": "late", "image": "late:1", "livenessProbe": _PROBE}
    again, twice = _admit(once, how=_BY_NODE)
    assert (again.outcome, twice) == (Outcome.UNCHANGED, once)
    once["spec"]["containers"].append(late)
    _, twice = _admit(once, how=_BY_NODE)
    assert list(json.loads(twice["metadata"]["annotations"][DECLARED_PROBES])) == ["app", "late"]


@pytest.mark.parametrize(
    ("mesh", "spec", "is_told"),
    [
        ("istio", {"runtimeClassName": "kata-qemu"}, True),
        ("none", {}, False),  # of every pod of the mesh: a line in the log
        ("consul", {}, False),
    ],
)
def test_what_node_mode_cannot_serve_is_left_alone_or_gets_a_sidecar(
    mesh: str, spec: dict[str, Any], is_told: bool
) -> None:
    pod = _pod()
    pod["spec"] |= spec
    answer, after = _admit(pod, mesh, how=_BY_NODE)
    assert after == pod
    assert any("left alone" in one for one in answer.response.warnings)
    answer, after = _admit(pod, mesh, how=_BY_NODE | {"node_fallback": "sidecar"})
    assert after == injected(pod, injection(mesh))
    said = "a sidecar answers"
    assert any(said in one for one in answer.response.warnings) is is_told
    assert any(said in one for one in answer.notices) is not is_told


def test_a_second_call_keeps_what_others_have_set_and_put_in_front() -> None:
    _, pod = _admit(_pod())
    sidecar = pod["spec"]["initContainers"][0]
    sidecar["resources"]["limits"]["cpu"] = "500m"  # LimitRanger's default
    pod["spec"]["initContainers"].insert(0, {"name": "istio-proxy", "image": "proxyv2"})
    answer, after = _admit(pod)
    assert after == pod
    assert not answer.response.warnings


def test_a_container_that_came_since_gets_its_turn() -> None:
    _, pod = _admit(_pod())
    sidecar = pod["spec"]["initContainers"][0]
    sidecar["resources"]["limits"]["cpu"] = "500m"
    sidecar["volumeMounts"] = [{"name": "token", "mountPath": "/token"}]
    pod["spec"]["containers"].append({"name": "late", "image": "late:1", "livenessProbe": _PROBE})
    _, after = _admit(pod)
    changed = after["spec"]["initContainers"][0]
    assert after["spec"]["containers"][1]["livenessProbe"]["httpGet"]["port"] == 15901
    assert changed["resources"]["limits"] == {"cpu": "500m", "memory": "64Mi"}
    assert changed["volumeMounts"] == sidecar["volumeMounts"]
    assert "late" in changed["env"][0]["value"]


@pytest.mark.parametrize(
    ("mesh", "proxy"),
    [("istio", "istio-proxy"), ("kuma", "kuma-sidecar"), ("linkerd", "linkerd-proxy")],
)
def test_where_the_proxy_stands_already_we_are_too_late(mesh: str, proxy: str) -> None:
    pod = _pod(
        {"name": "app", "image": "app:1", "livenessProbe": _PROBE},
        {"name": proxy, "image": "proxy:1"},
    )
    answer, after = _admit(pod, mesh)
    assert after == pod
    assert f"{proxy}, is in the pod already" in answer.response.warnings[0]
    # with none the bypass holds whatever the order
    assert _admit(pod, "none")[0].outcome is Outcome.INJECTED


def test_a_control_plane_is_left_alone() -> None:
    pod = _pod({"name": "osm-injector", "image": "o", "livenessProbe": _PROBE})
    answer, after = _admit(pod, on_invalid="deny")
    assert (answer.outcome, after) == (Outcome.UNCHANGED, pod)


def test_settings_for_a_proxy_to_come_are_no_proxy() -> None:
    """Istio's documentation: a container istio-proxy with image auto customizes injection."""
    pod = _pod(
        {"name": "app", "image": "app:1", "livenessProbe": _PROBE},
        {"name": "istio-proxy", "image": "auto"},
    )
    assert _admit(pod)[0].outcome is Outcome.INJECTED


def test_the_pods_own_label_wins() -> None:
    _, after = _admit(_pod(labels={_LABEL: "kuma"}), "istio")
    assert after["metadata"]["annotations"]["traffic.kuma.io/exclude-inbound-ports"]
    assert not [name for name in after["metadata"]["annotations"] if "istio" in name]


def test_a_label_that_names_no_mesh_is_said_to() -> None:
    answer, after = _admit(_pod(labels={_LABEL: "istoi"}))
    assert answer.outcome is Outcome.INVALID
    assert answer.response.warnings[0] == (
        f'osm-healthcheck: metadata.labels: {_LABEL}: Unsupported value: "istoi": supported '
        'values: "istio", "kuma", "linkerd", "consul", "none"'
    )
    assert after == _pod(labels={_LABEL: "istoi"})


def test_what_cannot_work_is_admitted_as_it_is() -> None:
    pod = _pod(_with_port("http"))
    answer, after = _admit(pod)
    assert answer.response.allowed
    assert after == pod
    assert answer.response.warnings[0] == (
        'osm-healthcheck: app.livenessProbe.httpGet.port: Invalid value: "http": container app '
        "has no port of that name; it has no named ports"
    )


def test_or_it_is_denied_in_the_words_of_the_api_server() -> None:
    answer, _ = _admit(_pod(_with_port("http")), on_invalid="deny")
    assert not answer.response.allowed
    assert answer.response.message == (
        'Pod "web" is invalid: spec.containers[0].livenessProbe.httpGet.port: Invalid value: '
        '"http": container app has no port of that name; it has no named ports'
    )
    two = _pod(_with_port(15901), {**_with_port("x"), "name": "b"})
    message = _admit(two, on_invalid="deny")[0].response.message
    assert message.startswith('Pod "web" is invalid: [spec.containers[0].livenessProbe')
    assert ", spec.containers[1].livenessProbe" in message


@pytest.mark.parametrize("port", [8080, "http"])
def test_the_warnings_of_a_workloads_pod_are_kept_in_it(port: object) -> None:
    container = {**_with_port(port), "readinessProbe": {"tcpSocket": {"host": "x", "port": 1}}}
    _, bare = _admit(_pod(container))
    assert WARNINGS not in bare["metadata"].get("annotations", {})
    answer, owned = _admit(_pod(container, **_OWNER))
    kept = owned["metadata"]["annotations"].pop(WARNINGS)
    assert kept.splitlines() == list(answer.response.warnings)
    owned["metadata"].pop("ownerReferences")
    owned["metadata"]["annotations"] or owned["metadata"].pop("annotations")
    assert owned == bare


def test_uninject_takes_the_warnings_away() -> None:
    container = {**_with_port(8080), "readinessProbe": {"tcpSocket": {"host": "x", "port": 1}}}
    pod = _pod(container, **_OWNER)
    assert uninject(_admit(pod)[1], "2.0.0").manifest == pod


@pytest.mark.parametrize(
    "more",
    [
        {"operation": "UPDATE"},
        {"operation": "DELETE", "object": None},
        {"subResource": "ephemeralcontainers"},
        {"resource": {"group": "apps", "version": "v1", "resource": "deployments"}},
    ],
)
def test_what_is_no_new_pod_is_admitted(more: dict[str, Any]) -> None:
    answer, after = _admit(_pod(), **more)
    assert answer.response.allowed
    assert after == _pod()
    assert "correct the rules of the webhook" in answer.response.warnings[0]


@pytest.mark.parametrize(
    "pod",
    [
        None,
        [],
        {},
        "pod",
        {"apiVersion": "v1", "kind": "Pod"},
        {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": "a"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": [], "spec": {"containers": [1, None]}},
        {"apiVersion": "v1", "kind": "ConfigMap"},
        {**_pod(), "metadata": {**_OWNER, "annotations": 7}},
    ],
)
def test_what_is_no_pod_is_admitted_with_a_warning(pod: object) -> None:
    answer, after = _admit(pod)
    assert answer.outcome is Outcome.INVALID
    assert answer.response.allowed
    assert after == pod
    assert answer.response.warnings


@pytest.mark.parametrize("path", ["/spec/nowhere", "/spec/containers/0/resources/limits/cpu"])
def test_a_patch_that_would_lead_elsewhere_is_not_sent(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # resources are one and the same mapping in the pod before and after
    wrong = {"op": "replace", "path": path, "value": "1"}
    monkeypatch.setattr(pod_admission, "difference", lambda *given: [*difference(*given), wrong])
    app = {**_with_port(8080), "resources": {"limits": {"cpu": "2"}}}
    answer, _ = _admit(_pod(app), "istio")
    assert (answer.outcome, answer.response.allowed) == (Outcome.FAILED, True)
    assert not answer.response.patch
    assert "by a mistake in osm-healthcheck" in answer.response.warnings[0]


def test_warnings_stay_within_the_limits_of_the_api_server() -> None:
    long, many = "x" * 5000, [f"{number}: {'y' * 300}" for number in range(40)]
    body = AdmissionResponse("u", warnings=["a\nb\tc", long, *many]).as_review()
    warnings = json.loads(body)["response"]["warnings"]
    assert warnings[0] == "a b c"
    assert warnings[1] == "x" * 255 + "…"
    assert max(map(len, warnings)) <= 256
    assert sum(map(len, warnings)) <= 4096
    assert warnings[-1].startswith("osm-healthcheck: there is more")


def test_fields_that_nobody_here_knows_stay() -> None:
    pod = _pod({**_with_port(80), "future": {"a": [1, None]}}, future="x")
    pod["status"] = {"phase": "Pending"}
    _, after = _admit(pod)
    assert after["spec"]["containers"][0]["future"] == {"a": [1, None]}
    assert (after["metadata"]["future"], after["status"]) == ("x", {"phase": "Pending"})


def test_another_version_of_ours_is_replaced() -> None:
    _, pod = _admit(_pod())
    pod["metadata"]["annotations"][VERSION] = "1.9.0"
    pod["spec"]["initContainers"][0]["image"] = "old"
    _, after = _admit(pod)
    assert after["metadata"]["annotations"][VERSION] == "2.0.0"
    assert after["spec"]["initContainers"][0]["image"] != "old"
    assert len(pods_in(after, Validation())[0].containers) == 2


def test_whom_a_replaced_sidecar_answered_is_no_silent_loss() -> None:
    _, pod = _admit(_pod(**_OWNER))
    pod["metadata"]["annotations"][VERSION] = "1.9.0"
    variable = {"name": "OSM_HEALTHCHECK_ALLOW_FROM", "value": "10.0.0.0/8"}
    pod["spec"]["initContainers"][0]["env"].append(variable)
    answer, after = _admit(pod)
    [line] = answer.response.warnings
    assert "its variable OSM_HEALTHCHECK_ALLOW_FROM is dropped" in line
    assert after["metadata"]["annotations"][WARNINGS] == line


def test_every_mesh_keeps_our_ports_out_of_its_redirect() -> None:
    found = {mesh: _admit(_pod(), mesh)[1]["metadata"]["annotations"] for mesh in _MESHES}
    for mesh, other in itertools.permutations(_MESHES, 2):
        assert found[mesh] != found[other]
    for mesh in _MESHES:
        ports = MESHES[mesh].ports
        assert not ports or found[mesh][ports].endswith("15901,15904")
