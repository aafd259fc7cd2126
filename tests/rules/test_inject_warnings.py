"""What inject tells about a manifest, one line each, without refusing it."""

import copy
from typing import Any

import pytest

from osm_healthcheck.errors import InvalidInputError
from osm_healthcheck.injection.inject import inject
from osm_healthcheck.injection.uninject import uninject
from tests.manifests.strategies import VERSION, injection
from tests.rules.manifests import HTTP, TCP, after, app, pod, refused, warnings

HTTPS = {"httpGet": {"port": 8443, "scheme": "HTTPS"}}


# --- TLS that is passed through -----------------------------------------------------------------


@pytest.mark.parametrize("mesh", ["istio", "none"])
def test_a_tls_pass_through_is_said_once_a_pod(mesh: str) -> None:
    manifest = pod(app(livenessProbe=HTTPS, readinessProbe=HTTPS), app("b", startupProbe=HTTP))
    [text] = [one for one in warnings(manifest, mesh) if "TLS" in one]
    assert text.startswith("Pod shop/web: warning: TLS is passed through to the app for ")
    assert "app.livenessProbe (15901), app.readinessProbe (15902)" in text
    assert "--https request" in text
    assert not [one for one in warnings(manifest, mesh, https="request") if "TLS" in one]
    two = pod(app(livenessProbe=HTTPS), app("b", livenessProbe=HTTPS))
    assert not [one for one in warnings(two, mesh) if "TLS" in one], "the sidecar asks both itself"


# --- Probes without a handler -------------------------------------------------------------------


@pytest.mark.parametrize(
    "probe", [{}, {"periodSeconds": 5}, {"httpGet": None}, {"failureThreshold": "x"}]
)
def test_a_probe_without_a_handler_is_left_alone(probe: Any) -> None:
    manifest = pod(app(livenessProbe=probe, readinessProbe=TCP))
    injected = after(manifest)
    assert injected["spec"]["containers"][0]["livenessProbe"] == probe
    assert injected["spec"]["containers"][0]["readinessProbe"] != TCP
    [text] = [one for one in warnings(manifest) if "livenessProbe" in one]
    assert text.startswith("Pod shop/web: app.livenessProbe: left alone: it has no handler")
    assert uninject(injected, VERSION).manifest == manifest


def test_more_than_one_handler_is_refused() -> None:
    [error] = refused(pod(app(livenessProbe={**HTTP, **TCP})))
    assert "may not specify more than 1 handler type" in error


# --- Kinds that inject does not know ------------------------------------------------------------


def _custom(version: str, kind: str, spec: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "web"}, "spec": spec}


POD_SPEC = pod(app(livenessProbe=HTTP))["spec"]


@pytest.mark.parametrize(
    ("manifest", "where"),
    [
        (
            _custom("argoproj.io/v1alpha1", "Rollout", {"template": {"spec": POD_SPEC}}),
            "spec.template.spec",
        ),
        (
            _custom("serving.knative.dev/v1", "Service", {"template": {"spec": POD_SPEC}}),
            "spec.template.spec",
        ),
        (
            _custom("core.strimzi.io/v1beta2", "StrimziPodSet", {"pods": [{"spec": POD_SPEC}]}),
            "spec.pods[0].spec",
        ),
        (
            _custom("x.example/v1", "Job", {"init": {"initContainers": POD_SPEC["containers"]}}),
            "spec.init",
        ),
    ],
)
def test_a_custom_resource_with_probes_is_named(manifest: Any, where: str) -> None:
    kind, version = manifest["kind"], manifest["apiVersion"]
    outcome = inject(manifest, injection())
    assert outcome.manifest == manifest
    [text] = map(str, outcome.warnings)
    assert text == (
        f"{kind} web: left alone: inject does not know the kind {kind} of {version}; it has probes "
        f"in {where}"
    )
    listed = {"apiVersion": "v1", "kind": "List", "items": [manifest, manifest]}
    assert [one.where for one in inject(listed, injection()).warnings] == [
        f"item 1: {kind} web",
        f"item 2: {kind} web",
    ]


def test_other_resources_pass_without_a_word() -> None:
    schema = {"properties": {"containers": {"items": {"livenessProbe": {"type": "object"}}}}}
    for manifest in (
        _custom("apiextensions.k8s.io/v1", "CustomResourceDefinition", {"schema": schema}),
        _custom("x.example/v1", "Empty", {"template": {"spec": {"containers": [app()]}}}),
        _custom("x.example/v1", "Odd", {"containers": [1, None, {"livenessProbe": None}]}),
    ):
        assert inject(manifest, injection()).warnings == ()


def test_the_items_of_a_typed_list_are_of_its_kind() -> None:
    """The API gives them without ``kind``: ``kubectl get --raw``."""
    item = {"metadata": {"name": "web"}, "spec": POD_SPEC}
    pods = {"apiVersion": "v1", "kind": "PodList", "items": [item]}
    assert inject(pods, injection()).warnings == ()
    template = {"metadata": {"name": "web"}, "spec": {"template": {"spec": POD_SPEC}}}
    rollouts = {"apiVersion": "argoproj.io/v1alpha1", "kind": "RolloutList", "items": [template]}
    [warning] = inject(rollouts, injection()).warnings
    assert str(warning).startswith("item 1: Rollout web: left alone: inject does not know the kind")
    odd = {"apiVersion": 1, "kind": "List", "items": [1, None, {"kind": ["x"], "spec": POD_SPEC}]}
    with pytest.raises(InvalidInputError):
        inject(odd, injection())


# --- Objects read from a cluster ----------------------------------------------------------------


def test_a_live_pod_or_job_is_told_what_apply_will_answer() -> None:
    live = pod(app(livenessProbe=HTTP))
    live["metadata"]["uid"] = "7b0f"
    [text] = [one for one in warnings(live) if "kubectl" in one]
    assert text.startswith("Pod shop/web: warning: it is from a cluster, where kubectl apply ")
    assert "pod updates may not change fields other than" in text
    job = _custom("batch/v1", "Job", {"template": {"spec": copy.deepcopy(POD_SPEC)}})
    assert warnings(job) == []
    job["metadata"]["uid"] = "7b0f"
    [text] = warnings(job)
    assert "field is immutable" in text
    deployment = _custom("apps/v1", "Deployment", job["spec"])
    deployment["metadata"]["uid"] = "7b0f"
    assert warnings(deployment) == []


def test_what_kubectl_apply_has_not_brought_it_cannot_change() -> None:
    spec = pod(app(readinessProbe={"tcpSocket": {"port": 8080}}))["spec"]
    deployment = _custom("apps/v1", "Deployment", {"template": {"spec": spec}})
    assert warnings(deployment) == []
    metadata = deployment["metadata"]
    metadata["uid"] = "7b0f"
    [text] = warnings(deployment)
    assert text.endswith("use kubectl replace")
    injected = inject(deployment, injection()).manifest
    assert inject(injected, injection()).warnings == ()
    last = {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
    metadata["annotations"] = metadata.get("annotations", {}) | last
    assert warnings(deployment) == []
    without = pod(app())
    without["metadata"]["uid"] = "7b0f"
    assert not [one for one in warnings(without) if "kubectl" in one], "it does not change"


# --- Named ports --------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["UDP", "SCTP"])
def test_a_named_port_of_another_protocol(protocol: str) -> None:
    """The kubelet goes by the name alone, and asks over TCP."""
    ports = [{"name": "dns", "containerPort": 53, "protocol": protocol}]
    probe = {"tcpSocket": {"port": "dns"}}
    [text] = warnings(pod(app(livenessProbe=probe, ports=ports)))
    assert text.startswith(
        f'Pod shop/web: app.livenessProbe.tcpSocket.port: warning: "dns" is a port of {protocol}'
    )
    assert warnings(pod(app(livenessProbe={"tcpSocket": {"port": 53}}, ports=ports))) == []
    ports.insert(0, {"name": "dns", "containerPort": 53})
    assert warnings(pod(app(livenessProbe=probe, ports=ports))) == []


# --- Values in messages -------------------------------------------------------------------------


@pytest.mark.parametrize("value", [{"a": None}, [True], None, 1.5, "a\x1b[31m\n"])
def test_no_message_holds_a_python_value(value: Any) -> None:
    manifest = pod(
        app(
            livenessProbe={"httpGet": {"port": value, "path": value}},
            readinessProbe=value if not isinstance(value, dict) and value is not None else 1,
        ),
        {"name": value},
    )
    manifest["metadata"]["annotations"] = {"openservicemesh.io/sidecar-injection": value}
    for text in refused(manifest):
        for word in ("None", "True", "{'", "['", "\\\\x1b", "\x1b", "\n"):
            assert word not in text
