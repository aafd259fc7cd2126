"""The rules of injection, one by one: what is rewritten, what is added, what is refused."""

import json
from typing import Any

import pytest

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.containers import environment_value
from osm_healthcheck.injection.pods import pods_in
from osm_healthcheck.injection.uninject import uninject
from osm_healthcheck.verification.verify import Context, verify
from tests.manifests.strategies import VERSION
from tests.rules.manifests import HTTP, TCP, after, app, names, pod, refused, warnings

# --- The documented examples --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["liveness", "readiness", "startup"])
@pytest.mark.parametrize(
    ("before", "rewritten"),
    [
        (
            {"httpGet": {"path": "/liveness", "port": 14001, "scheme": "HTTP"}},
            {"httpGet": {"path": "/osm-{kind}-probe", "port": 0, "scheme": "HTTP"}},
        ),
        (
            {"httpGet": {"path": "/liveness", "port": 14001, "scheme": "HTTPS"}},
            {"httpGet": {"path": "/liveness", "port": 0, "scheme": "HTTPS"}},
        ),
        (
            {"tcpSocket": {"port": 14001}},
            {
                "httpGet": {
                    "httpHeaders": [{"name": "Original-Tcp-Port", "value": "14001"}],
                    "path": "/osm-healthcheck",
                    "port": 15904,
                    "scheme": "HTTP",
                }
            },
        ),
        ({"exec": {"command": ["true"]}}, {"exec": {"command": ["true"]}}),
    ],
)
def test_the_documented_examples(
    kind: str, before: dict[str, Any], rewritten: dict[str, Any]
) -> None:
    port = {"liveness": 15901, "readiness": 15902, "startup": 15903}[kind]
    text = json.dumps(rewritten).replace("{kind}", kind).replace('"port": 0', f'"port": {port}')
    field: dict[str, Any] = {f"{kind}Probe": before}
    [container] = after(pod(app(**field)))["spec"]["containers"]
    field = {f"{kind}Probe": json.loads(text)}
    assert container == app(**field)


@pytest.mark.parametrize(
    "probe",
    [
        {
            "httpGet": {"path": "/health", "port": 3000},
            "initialDelaySeconds": 5,
            "periodSeconds": 5,
        },
        {"exec": {"command": ["cat", "/tmp/healthy"]}, "initialDelaySeconds": 5},
        {"tcpSocket": {"port": 80}},
        {
            "httpGet": {"path": "/healthz", "port": 3000},
            "initialDelaySeconds": 3,
            "periodSeconds": 5,
            "timeoutSeconds": 2,
            "successThreshold": 2,
            "failureThreshold": 5,
        },
        {"httpGet": {"port": 80, "path": "/"}, "failureThreshold": 1, "periodSeconds": 1},
    ],
)
def test_manifests_of_the_kind_that_users_write(probe: dict[str, Any]) -> None:
    manifest = pod(app(readinessProbe=probe))
    injected = after(manifest)
    kept = {key: value for key, value in probe.items() if key.endswith(("Seconds", "Threshold"))}
    assert kept.items() <= injected["spec"]["containers"][0]["readinessProbe"].items()
    assert uninject(injected, VERSION).manifest == manifest


# --- What is added ------------------------------------------------------------------------------


def test_only_the_ports_in_use_are_kept_out_of_the_redirect() -> None:
    manifest = pod(app(readinessProbe=HTTP))
    init = after(manifest)["spec"]["initContainers"][0]
    assert init["args"] == ["install", "--ports", "15902,15904"]
    annotations = after(manifest, "linkerd")["metadata"]["annotations"]
    assert annotations["config.linkerd.io/skip-inbound-ports"] == "4567,4568,15902,15904"
    annotations = after(manifest, "linkerd", proxy="mesh")["metadata"]["annotations"]
    assert annotations["config.linkerd.io/skip-inbound-ports"] == "4567,4568,15902"


def test_the_bypass_comes_first_and_has_one_privilege() -> None:
    manifest = pod(app(livenessProbe=HTTP), init=[app("setup")])
    listed = after(manifest)["spec"]["initContainers"]
    assert names(listed) == ["osm-healthcheck-init", "osm-healthcheck", "setup"]
    context = listed[0]["securityContext"]
    assert (context["runAsUser"], context["capabilities"]["add"]) == (0, ["NET_ADMIN"])
    assert names(after(manifest, "istio")["spec"]["initContainers"]) == ["osm-healthcheck", "setup"]
    assert names(after(manifest, init=False)["spec"]["initContainers"]) == [
        "osm-healthcheck",
        "setup",
    ]


def test_the_sidecar_may_do_nothing() -> None:
    [sidecar] = after(pod(app(livenessProbe=HTTP)), "istio")["spec"]["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["securityContext"] == {
        "runAsUser": 15904,
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    memory = sidecar["resources"]["limits"]["memory"]
    assert sidecar["resources"]["requests"]["memory"] == memory
    assert "cpu" not in sidecar["resources"]["limits"]
    startup = sidecar["startupProbe"]
    assert (startup["httpGet"]["path"], startup["httpGet"]["port"]) == ("/healthz", 15904)
    assert (startup["periodSeconds"], startup["failureThreshold"]) == (1, 60)
    assert sidecar["livenessProbe"]["failureThreshold"] == 3


def test_an_ordinary_container_comes_last() -> None:
    spec = after(pod(app(livenessProbe=HTTP)), "istio", sidecar="container")["spec"]
    assert names(spec["containers"]) == ["app", "osm-healthcheck"]
    assert "restartPolicy" not in spec["containers"][1]
    assert "initContainers" not in spec


def test_a_guaranteed_pod_stays_guaranteed() -> None:
    limits = {"cpu": "1", "memory": "1Gi"}
    for resources in ({"limits": limits}, {"limits": limits, "requests": limits}):
        manifest = pod(app(livenessProbe=HTTP, resources=resources))
        for one in after(manifest)["spec"]["initContainers"]:
            assert one["resources"]["limits"] == one["resources"]["requests"]
            assert one["resources"]["limits"].keys() == {"cpu", "memory"}
    burstable = pod(app(livenessProbe=HTTP, resources={"limits": {"memory": "1Gi"}}))
    assert "cpu" not in after(burstable)["spec"]["initContainers"][0]["resources"]["limits"]


def test_nothing_is_added_where_no_probe_needs_it() -> None:
    manifest = pod(app(livenessProbe={"exec": {"command": ["true"]}}))
    assert after(manifest, "istio") == manifest
    only_http = after(pod(app(livenessProbe=HTTP)), "istio", proxy="mesh")
    assert "initContainers" not in only_http["spec"]
    assert only_http["spec"]["containers"][0]["livenessProbe"]["httpGet"]["port"] == 15901


def test_with_the_meshs_proxy_the_sidecar_is_for_tcp_and_grpc() -> None:
    manifest = pod(app(livenessProbe=HTTP, readinessProbe=TCP))
    [sidecar] = after(manifest, "istio", proxy="mesh")["spec"]["initContainers"]
    assert json.loads(sidecar["env"][0]["value"]) == {"app": {"readinessProbe": TCP}}


def test_a_dollar_sign_is_not_a_reference_to_a_variable() -> None:
    text = environment_value({"path": "/$(HOME)$$"})
    assert "$" not in text
    assert json.loads(text) == {"path": "/$(HOME)$$"}


# --- What is refused or left alone --------------------------------------------------------------


def test_every_error_is_named_with_its_place() -> None:
    manifest = pod(
        app("a", livenessProbe={"httpGet": {"port": "web"}}, ports=[{"name": "http"}]),
        app("b", readinessProbe={"tcpSocket": {"port": 15902}}),
        app("c", startupProbe={"grpc": {"port": 0}}, livenessProbe="yes"),
        app("d", livenessProbe={"httpGet": {"port": "8080"}}),
        app("e", livenessProbe={"grpc": {"port": 1, "service": "a\nb"}}),
        app("f", livenessProbe={"tcpSocket": {"port": "p"}}, ports=[{"name": "p"}]),
    )
    places = [error.partition(": Invalid")[0] for error in refused(manifest)]
    assert places == [
        "Pod shop/web: a.livenessProbe.httpGet.port",
        "Pod shop/web: b.readinessProbe.tcpSocket.port",
        "Pod shop/web: c.livenessProbe",
        "Pod shop/web: c.startupProbe.grpc.port",
        "Pod shop/web: d.livenessProbe.httpGet.port",
        "Pod shop/web: e.livenessProbe.grpc.service",
        "Pod shop/web: f.livenessProbe.tcpSocket.port",
    ]


def test_what_is_no_container_is_named_and_what_comes_after_it_as_well() -> None:
    manifest = pod(init=1)
    manifest["spec"]["containers"] = ["a", {"name": "B"}, 1, app(), {"name": "-"}]
    found = refused(manifest)
    assert [error.partition(": Invalid")[0] for error in found] == [
        "Pod shop/web: spec.initContainers",
        "Pod shop/web: spec.containers[0]",
        "Pod shop/web: spec.containers[1].name",
        "Pod shop/web: spec.containers[2]",
        "Pod shop/web: spec.containers[4].name",
    ]


def test_the_items_of_a_list_are_counted_from_one() -> None:
    items = [pod(app(livenessProbe=HTTP)), pod(app("-"))]
    [error] = refused({"apiVersion": "v1", "kind": "List", "items": items})
    assert error.startswith("item 2: Pod shop/web: spec.containers[0].name: Invalid")


@pytest.mark.parametrize("name", ["osm-healthcheck", "osm-healthcheck-init"])
def test_a_container_that_has_our_name_and_is_not_ours(name: str) -> None:
    [error] = refused(pod(app(livenessProbe=HTTP), app(name)))
    assert error.startswith(f"Pod shop/web: {name}.name: is not ours, but has the name of our")
    without = pod(app(), app(name))
    assert after(without) == without


def test_a_container_that_listens_on_our_ports() -> None:
    def listening(port: int, protocol: str = "TCP") -> dict[str, Any]:
        ports = [{"containerPort": port, "protocol": protocol}]
        return pod(app(livenessProbe=HTTP, ports=ports))

    assert "containerPort 15901 belongs to osm-healthcheck" in refused(listening(15901))[0]
    assert "containerPort 15904 belongs to osm-healthcheck" in refused(listening(15904))[0]
    assert after(listening(15902)), "not used here"
    assert after(listening(15904, "UDP"))
    envoy = app("envoy", ports=[{"containerPort": 15901}])
    assert after(pod(app(livenessProbe=HTTP), envoy))
    manifest = listening(15901)
    manifest["spec"]["containers"].insert(0, envoy)
    assert "containerPort 15901 belongs to osm-healthcheck" in refused(manifest)[0]


def test_a_job_would_never_complete_with_an_ordinary_container() -> None:
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "nightly"},
        "spec": {"template": {"spec": {"containers": [app(livenessProbe=HTTP)]}}},
    }
    assert refused(job, sidecar="container") == [
        "Job nightly: would never complete with --sidecar container: use native"
    ]
    assert after(job)
    never = pod(app(livenessProbe=HTTP), restartPolicy="Never")
    assert "never completes" in warnings(never, sidecar="container")[0]


def test_native_sidecars_have_probes_too() -> None:
    sidecar = app("proxy", restartPolicy="Always", livenessProbe=HTTP)
    manifest = pod(app(livenessProbe=HTTP), init=[sidecar, app("setup")])
    spec = after(manifest, "istio")["spec"]
    assert names(spec["initContainers"]) == ["osm-healthcheck", "proxy", "setup"]
    action = spec["initContainers"][1]["livenessProbe"]["httpGet"]
    assert action["path"] == "/osm-liveness-probe/proxy"
    spec = after(manifest, "istio", sidecar="container")["spec"]
    assert spec["initContainers"] == [sidecar, app("setup")]
    assert spec["containers"][0]["livenessProbe"]["httpGet"]["path"] == "/osm-liveness-probe"
    assert "proxy: left alone: it starts before" in warnings(manifest, sidecar="container")[0]
    plain = pod(app(), init=[app("setup", livenessProbe=HTTP)])
    assert "setup.livenessProbe: Forbidden: may not be set for init containers" in refused(plain)[0]


@pytest.mark.parametrize(
    ("container", "annotations", "why"),
    [
        (app(), {}, "no httpGet, tcpSocket or grpc probe"),
        (
            app(livenessProbe={"exec": {"command": ["true"]}}),
            {},
            "no httpGet, tcpSocket or grpc probe",
        ),
        (
            app(livenessProbe={"httpGet": {"port": 80, "host": "10.0.0.1"}}),
            {},
            "every httpGet, tcpSocket or grpc probe is left alone",
        ),
        (
            app(livenessProbe=TCP),
            {"healthcheck.openservicemesh.io/skip-containers": "app"},
            "every httpGet, tcpSocket or grpc probe is left alone",
        ),
        (app("envoy", readinessProbe=HTTP), {}, "every httpGet, tcpSocket or grpc probe is left"),
    ],
)
def test_why_nothing_is_rewritten_is_true(
    container: dict[str, Any], annotations: dict[str, str], why: str
) -> None:
    manifest = pod(container)
    manifest["metadata"]["annotations"] = annotations
    assert after(manifest) == manifest
    assert warnings(manifest)[-1].startswith(f"Pod shop/web: nothing to rewrite: {why}")
    [looked_at] = pods_in(manifest, Validation())
    [finding] = verify(looked_at, Context(VERSION, []))
    assert finding.subject == "pod"
    assert finding.text.startswith(f"nothing to verify: {why}")


def test_containers_can_opt_out() -> None:
    manifest = pod(app(livenessProbe=HTTP), app("db", livenessProbe=HTTP))
    key = "healthcheck.openservicemesh.io/skip-containers"
    manifest["metadata"]["annotations"] = {key: "db, cache"}
    spec = after(manifest, "istio")["spec"]
    assert spec["containers"][1] == app("db", livenessProbe=HTTP)
    assert spec["containers"][0]["livenessProbe"]["httpGet"]["path"] == "/osm-liveness-probe"
    assert any('there is no container "cache"' in one for one in warnings(manifest))
    assert any("db: left alone" in one for one in warnings(manifest))
    manifest["metadata"]["annotations"] = {key: ["db"]}
    assert "must be a string" in refused(manifest)[0]
    manifest["metadata"]["annotations"] = {"openservicemesh.io/sidecar-injection": False}
    assert "Invalid value: false: must be one of these strings" in refused(manifest)[0]


def test_users_of_the_proxys_number_are_warned() -> None:
    context = {"runAsUser": 1500}
    for manifest in (
        pod(app(livenessProbe=HTTP, securityContext=context)),
        pod(app(livenessProbe=HTTP), securityContext=context),
    ):
        assert "app: warning: runs as user 1500, as the mesh's proxy does" in warnings(manifest)[0]
        assert not [one for one in warnings(manifest, "istio") if "runs as user" in one]
        manifest["spec"]["containers"].insert(0, app("envoy"))
        assert "app: warning: runs as user 1500, as the mesh's proxy does" in warnings(manifest)[0]


def test_a_pod_that_osm_will_inject_is_warned_about() -> None:
    manifest = pod(app(livenessProbe=HTTP))
    manifest["metadata"]["annotations"] = {"openservicemesh.io/sidecar-injection": "Enabled"}
    assert "use --mesh osm" in warnings(manifest)[0]
    skipped = "Pod shop/web: left alone: OSM's own injector rewrites its probes"
    assert warnings(manifest, "osm") == [skipped]


def test_fields_that_nobody_knows_survive() -> None:
    header = {"name": "X", "value": "1", "secret": True}
    probe = {"httpGet": {"port": 80, "mode": "new", "httpHeaders": [header]}, "jitterSeconds": 1}
    manifest = pod(app(livenessProbe=probe))
    [container] = after(manifest)["spec"]["containers"]
    assert container["livenessProbe"]["jitterSeconds"] == 1
    assert container["livenessProbe"]["httpGet"]["mode"] == "new"
    [warning] = warnings(manifest)
    unknown = "jitterSeconds, httpGet.mode, httpGet.httpHeaders.secret"
    assert warning.endswith(f": unknown fields kept as they are: {unknown}")


def test_consul_is_told_the_user_whose_questions_to_the_app_it_must_not_take() -> None:
    name = "consul.hashicorp.com/transparent-proxy-exclude-uids"
    manifest = pod(app(readinessProbe=TCP))
    for before, extended in ("", "7"), ("100000", "100000,7"), ("7, 8", "7, 8"):
        manifest["metadata"]["annotations"] = {name: before} if before else {}
        injected = after(manifest, "consul", user=7)
        assert injected["metadata"]["annotations"][name] == extended
        assert uninject(injected, VERSION).manifest == manifest
    manifest["metadata"]["annotations"] = {}
    assert name not in after(manifest, "consul", user=None)["metadata"]["annotations"]
    assert any(name in one for one in warnings(manifest, "consul", user=None))
    http = pod(app(readinessProbe=HTTP))
    assert name not in after(http, "consul", proxy="mesh")["metadata"]["annotations"]


@pytest.mark.parametrize("mesh", ["none", "istio"])
@pytest.mark.parametrize("mask", range(1, 16))
def test_exactly_the_ports_in_use_go_past_the_mesh(mask: int, mesh: str) -> None:
    """On any other one of the four, an app of the pod could be reached without mTLS."""
    kinds = ("livenessProbe", "readinessProbe", "startupProbe")
    probes: dict[str, Any] = {kind: HTTP for bit, kind in enumerate(kinds) if mask & 1 << bit}
    checks: dict[str, Any] = {"readinessProbe": TCP} if mask & 8 else {}
    manifest = pod(app(**probes), app("b", **checks))
    with_mesh = after(manifest, proxy="mesh", mesh=mesh)
    with_sidecar = after(manifest, mesh=mesh)
    wanted = [port for bit, port in enumerate((15901, 15902, 15903)) if mask & 1 << bit]
    for injected, ports in (
        (with_mesh, wanted + [15904] * bool(checks)),
        (with_sidecar, [*wanted, 15904]),
    ):
        text = ",".join(map(str, ports))
        if mesh == "none":
            assert injected["spec"]["initContainers"][0]["args"] == ["install", "--ports", text]
        else:
            name = "traffic.sidecar.istio.io/excludeInboundPorts"
            assert injected["metadata"]["annotations"][name] == text


def test_the_sidecar_declares_its_ports_by_names_that_are_its_own() -> None:
    taken = app("db", ports=[{"name": "osm-healthcheck", "containerPort": 80}])
    manifest = pod(app(livenessProbe=HTTP, startupProbe=HTTP), taken)
    sidecar = after(manifest)["spec"]["initContainers"][-1]
    tcp = {"protocol": "TCP"}
    assert sidecar["ports"] == [
        {"name": "osm-liveness", "containerPort": 15901, **tcp},
        {"name": "osm-startup", "containerPort": 15903, **tcp},
        {"containerPort": 15904, **tcp},
    ]
    # by --proxy mesh the proxy listens on the others
    by_proxy = after(pod(app(livenessProbe=HTTP, readinessProbe=TCP)), proxy="mesh")
    [own] = by_proxy["spec"]["initContainers"][-1]["ports"]
    assert own == {"name": "osm-healthcheck", "containerPort": 15904, **tcp}
