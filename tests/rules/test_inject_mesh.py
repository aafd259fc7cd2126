"""What a mesh does to an injected pod: its switches, its own port lists, its own rewriting."""

import copy
from typing import Any

import pytest

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.inject import inject
from osm_healthcheck.injection.pods import pods_in
from osm_healthcheck.injection.uninject import uninject
from osm_healthcheck.mesh.annotations import MESHES
from osm_healthcheck.verification.findings import Finding, Mark
from osm_healthcheck.verification.verify import Context, verify
from tests.manifests.strategies import VERSION, injection
from tests.rules.manifests import HTTP, TCP, after, app, pod, refused, warnings

ISTIO_REWRITES = "sidecar.istio.io/rewriteAppHTTPProbers"
CONSUL_REWRITES = "consul.hashicorp.com/transparent-proxy-overwrite-probes"
LINKERD_PORTS = "config.linkerd.io/skip-inbound-ports"


def annotated(manifest: dict[str, Any], **annotations: str) -> dict[str, Any]:
    manifest["metadata"]["annotations"] = annotations
    return manifest


def findings(manifest: Any) -> list[Finding]:
    [found] = pods_in(manifest, Validation())
    return verify(found, Context(VERSION, tuple(MESHES.values())))


def wrong(manifest: Any) -> list[str]:
    return [f"{one.subject}: {one.text}" for one in findings(manifest) if one.mark is Mark.WRONG]


# --- Istio's own rewriting ----------------------------------------------------------------------


# strconv.ParseBool; what it cannot read, Istio takes for its global setting, which is on
@pytest.mark.parametrize("value", ["true", "True", "1", "t", "yes", "no", ""])
def test_a_pod_whose_probes_istio_would_rewrite_once_more_is_refused(value: str) -> None:
    [error] = refused(annotated(pod(app(livenessProbe=HTTP)), **{ISTIO_REWRITES: value}), "istio")
    assert error.startswith(
        f"Pod shop/web: metadata.annotations: {ISTIO_REWRITES}: Invalid value: "
    )
    assert "osm-healthcheck" in error
    assert 'set it to "false"' in error


@pytest.mark.parametrize("value", ["false", "False", "FALSE", "f", "F", "0"])
def test_istios_rewriting_may_be_off_already(value: str) -> None:
    manifest = annotated(pod(app(livenessProbe=HTTP)), **{ISTIO_REWRITES: value})
    outcome: Any = inject(manifest, injection("istio"))
    assert outcome.manifest["metadata"]["annotations"][ISTIO_REWRITES] == value
    assert not [one for one in outcome.warnings if ISTIO_REWRITES in one.where]
    assert uninject(outcome.manifest, VERSION).manifest == manifest
    assert wrong(outcome.manifest) == []


@pytest.mark.parametrize("value", ["true", None])
def test_verify_finds_istios_rewriting_on(value: str | None) -> None:
    manifest = after(pod(app(livenessProbe=HTTP)), "istio")
    annotations = manifest["metadata"]["annotations"]
    del annotations[ISTIO_REWRITES]
    if value is not None:
        annotations[ISTIO_REWRITES] = value
    says = "is missing" if value is None else f'is "{value}"'
    [text] = wrong(manifest)
    assert text.startswith(f"mesh: {ISTIO_REWRITES} {says}: Istio rewrites")


def test_consul_may_rewrite_once_more_where_the_user_wants_it() -> None:
    manifest = annotated(pod(app(livenessProbe=HTTP)), **{CONSUL_REWRITES: "true"})
    assert after(manifest, "consul")["metadata"]["annotations"][CONSUL_REWRITES] == "true"
    assert any('stays "true" as you set it' in one for one in warnings(manifest, "consul"))
    assert uninject(after(manifest, "consul"), VERSION).manifest == manifest
    assert wrong(after(manifest, "consul")) == []
    assert any(one.subject == "mesh" for one in findings(after(manifest, "consul")))


# --- The ports that a mesh leaves alone by default ----------------------------------------------


def test_linkerds_default_ports_are_kept_in_the_annotation_that_replaces_them() -> None:
    manifest = pod(app(livenessProbe=HTTP))
    injected = after(manifest, "linkerd")
    assert injected["metadata"]["annotations"][LINKERD_PORTS] == "4567,4568,15901,15904"
    assert uninject(injected, VERSION).manifest == manifest
    injected["metadata"]["annotations"][LINKERD_PORTS] += ",9090"
    back: Any = uninject(injected, VERSION).manifest
    assert back["metadata"]["annotations"] == {LINKERD_PORTS: "4567,4568,9090"}


def test_an_empty_annotation_of_the_users_comes_back_empty() -> None:
    manifest = annotated(pod(app(livenessProbe=HTTP)), **{LINKERD_PORTS: "", "team": ""})
    injected = after(manifest, "linkerd")
    assert injected["metadata"]["annotations"][LINKERD_PORTS] == "15901,15904"
    assert uninject(injected, VERSION).manifest == manifest
    del injected["metadata"]["annotations"][LINKERD_PORTS]  # nor what was taken away since
    assert uninject(injected, VERSION).manifest == annotated(copy.deepcopy(manifest), team="")


def test_of_an_edited_list_of_users_only_ours_goes() -> None:
    name = "consul.hashicorp.com/transparent-proxy-exclude-uids"
    injected = after(pod(app(livenessProbe=HTTP)), "consul", user=7)
    injected["metadata"]["annotations"][name] += ",8"
    back: Any = uninject(injected, VERSION).manifest
    assert back["metadata"]["annotations"] == {name: "8"}


def test_a_users_list_is_extended_by_our_ports_alone() -> None:
    manifest = annotated(pod(app(livenessProbe=HTTP)), **{LINKERD_PORTS: "80"})
    injected = after(manifest, "linkerd")
    assert injected["metadata"]["annotations"][LINKERD_PORTS] == "80,15901,15904"
    assert warnings(manifest, "linkerd") == []


@pytest.mark.parametrize(
    ("mesh", "setting"),
    [
        ("istio", "global.proxy.excludeInboundPorts"),
        ("kuma", "sidecarTraffic.excludeInboundPorts"),
        ("linkerd", "proxyInit.ignoreInboundPorts"),
    ],
)
def test_what_the_annotation_replaces_is_said_once(mesh: str, setting: str) -> None:
    manifest = {"apiVersion": "v1", "kind": "List", "items": [pod(app(livenessProbe=HTTP))] * 3}
    found = {one for one in inject(manifest, injection(mesh)).warnings if setting in one.text}
    [warning] = found
    assert warning.is_general
    assert "add" in warning.text
    assert not [one for one in warnings(pod(app(livenessProbe=HTTP)), "consul") if "add" in one]


# --- Probes that a mesh has rewritten already ---------------------------------------------------


def _asks(path: str, port: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": port}}


ISTIO = pod(
    app(livenessProbe=_asks("/app-health/app/livez", 15020)),
    app("b", readinessProbe=_asks("/app-health/b/readyz", 15020), startupProbe=_asks("/x", 15020)),
    {"name": "istio-proxy"},
)
KUMA = pod(
    app(livenessProbe=_asks("/8080/live", 9001), readinessProbe=_asks("/tcp/8080", 9001)),
    app("b", startupProbe=_asks("/grpc/50051", 9001), livenessProbe=_asks("/8080/live", 8080)),
    {"name": "kuma-sidecar"},
)
KUMA["metadata"]["annotations"] = {"kuma.io/application-probe-proxy-port": "9001"}
VIRTUAL = pod(app(livenessProbe=_asks("/8080/live", 9000)), {"name": "kuma-sidecar"})
CONSUL = pod(
    app(livenessProbe=_asks("/live", 20300), readinessProbe=_asks("/ready", 20400)),
    app("b", startupProbe=_asks("/start", 20501)),
    {"name": "consul-dataplane"},
)


@pytest.mark.parametrize(
    ("mesh", "manifest", "fields"),
    [
        ("Istio", ISTIO, ["app.livenessProbe", "b.readinessProbe"]),
        ("Kuma", KUMA, ["app.livenessProbe", "app.readinessProbe", "b.startupProbe"]),
        ("Kuma", VIRTUAL, ["app.livenessProbe"]),
        ("Consul", CONSUL, ["app.livenessProbe", "app.readinessProbe", "b.startupProbe"]),
    ],
)
def test_a_probe_that_a_mesh_has_rewritten_is_neither_stacked_upon_nor_unmeshed(
    mesh: str, manifest: dict[str, Any], fields: list[str]
) -> None:
    manifest = copy.deepcopy(manifest)
    told = warnings(manifest, mesh.lower())
    for field in fields:
        assert any(f": {field}: left alone: {mesh} has rewritten it" in one for one in told), told
        [finding] = [one for one in findings(manifest) if one.subject == field]
        assert finding.mark is Mark.GOOD
        assert f"rewritten by {mesh}" in finding.text
    injected = after(manifest, mesh.lower())
    for before, now in zip(
        manifest["spec"]["containers"], injected["spec"]["containers"], strict=False
    ):
        for field in fields:
            name, _, kind = field.partition(".")
            if name == before["name"]:
                assert now[kind] == before[kind]


def test_the_same_requests_are_the_apps_own_where_no_mesh_shows() -> None:
    manifest = pod(
        app(livenessProbe=_asks("/8080/live", 9000), readinessProbe=_asks("/ready", 20400)),
        app("b", livenessProbe=_asks("/app-health/app/livez", 15020)),
    )
    injected = after(manifest)
    assert injected["spec"]["containers"][0]["livenessProbe"]["httpGet"]["port"] == 15901
    assert injected["spec"]["containers"][1]["livenessProbe"]["httpGet"]["port"] == 15901


def test_a_pod_of_istios_own_rewriting_counts_as_injected_by_it() -> None:
    manifest = pod(
        app(livenessProbe=_asks("/app-health/app/livez", 15020)), {"name": "istio-proxy"}
    )
    assert wrong(manifest) == []
    assert findings(manifest)[0].text == "its probes are rewritten by Istio"


def test_an_injected_probe_that_istio_rewrote_once_more_is_wrong() -> None:
    manifest = after(pod(app(livenessProbe=HTTP, readinessProbe=TCP)), "istio")
    container = manifest["spec"]["containers"][0]
    container["livenessProbe"] = _asks("/app-health/app/livez", 15020)
    sidecar = manifest["spec"]["initContainers"][0]
    sidecar["startupProbe"] = _asks("/app-health/osm-healthcheck/startupz", 15020)
    texts = wrong(manifest)
    assert any(
        one.startswith("app.livenessProbe: Istio has rewritten it once more") for one in texts
    )
    assert any(
        one.startswith("osm-healthcheck.startupProbe: Istio has rewritten it once more")
        for one in texts
    )
