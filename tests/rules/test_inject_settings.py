"""What the sidecar is told beside its probes, and what a new injection says of what is lost."""

import copy
from typing import Any

import pytest

from osm_healthcheck.injection.containers import (
    ALLOW_FROM_VARIABLE,
    environment_of,
)
from osm_healthcheck.injection.pods import Container
from osm_healthcheck.injection.uninject import uninject
from osm_healthcheck.probes.addresses import AllowFrom
from osm_healthcheck.server.options import read_settings
from tests.manifests.strategies import VERSION
from tests.rules.manifests import HTTP, TCP, after, app, pod, warnings

MANIFEST = pod(app(livenessProbe=HTTP, readinessProbe=TCP))
NETWORKS = "10.0.0.0/8,fd00::/8"


def _sidecar(injected: Any) -> dict[str, Any]:
    [found] = [
        one
        for field in ("initContainers", "containers")
        for one in injected["spec"].get(field, [])
        if one["name"] == "osm-healthcheck"
    ]
    return dict(found)


def _with(**variables: str) -> Any:
    """The manifest, injected, and with variables that somebody has set since."""
    injected = copy.deepcopy(after(MANIFEST, "istio"))
    [sidecar] = injected["spec"]["initContainers"]
    sidecar["env"] += [{"name": name, "value": value} for name, value in variables.items()]
    return injected


def lost(manifest: Any, mesh: str, **how: Any) -> list[str]:
    """What is said of our earlier container."""
    return [one for one in warnings(manifest, mesh, **how) if "osm-healthcheck: warning" in one]


@pytest.mark.parametrize("mode", ["native", "container"])
def test_the_sidecar_reads_whom_to_answer_from_what_was_written(mode: str) -> None:
    injected = after(MANIFEST, "istio", sidecar=mode, allow_from=NETWORKS)
    environ = environment_of(Container(_sidecar(injected), ""))
    told = {name: str(value) for name, value in environ.items() if name != "POD_IP"}
    settings = read_settings([], told)
    assert settings.pod.allow_from == AllowFrom.parse(NETWORKS)
    assert settings.process.unknown == ()
    assert uninject(injected, VERSION).manifest == MANIFEST


def test_without_the_option_nobody_is_kept_out() -> None:
    names = [one["name"] for one in _sidecar(after(MANIFEST, "istio"))["env"]]
    assert names == ["OSM_HEALTHCHECK_PROBES", "POD_IP"]


def test_a_dollar_sign_in_it_is_no_reference_to_a_variable() -> None:
    injected = after(MANIFEST, "istio", allow_from="fe80::%$(HOME)/64")
    assert {"name": ALLOW_FROM_VARIABLE, "value": "fe80::%$$(HOME)/64"} in _sidecar(injected)["env"]


def test_the_same_again_says_nothing() -> None:
    for how in ({}, {"allow_from": NETWORKS}):
        once = after(MANIFEST, "istio", **how)
        assert after(once, "istio", **how) == once
        assert not lost(once, "istio", **how)
    # what follows from the pod is no loss
    assert not lost(after(MANIFEST, "istio"), "istio", proxy="node")
    assert not lost(after(MANIFEST, "istio", https="request"), "istio", hooks="leave")
    more = after(MANIFEST, "istio")
    more["spec"]["containers"].append(app("late", livenessProbe=TCP))
    assert not lost(more, "istio")


def test_what_the_api_server_fills_in_is_no_change() -> None:
    injected = _with()
    injected["spec"]["initContainers"][0]["env"][1]["valueFrom"]["fieldRef"]["apiVersion"] = "v1"
    assert not lost(injected, "istio")


@pytest.mark.parametrize("how", [{}, {"proxy": "node"}, {"sidecar": "container"}])
def test_a_variable_that_is_dropped_is_named(how: dict[str, Any]) -> None:
    injected = _with(OSM_HEALTHCHECK_ALLOW_FROM="192.0.2.0/24", OTHER="secret")
    told = lost(injected, "istio", **how)
    assert [one.partition(": the container")[0] for one in told] == [
        f"Pod shop/web: osm-healthcheck: warning: its variable {name} is dropped"
        for name in (ALLOW_FROM_VARIABLE, "OTHER")
    ]
    assert not [one for one in told if "secret" in one]


def test_one_that_gets_another_value_is_named() -> None:
    injected = _with(OSM_HEALTHCHECK_ALLOW_FROM="192.0.2.0/24")
    [line] = lost(injected, "istio", allow_from=NETWORKS)
    assert f"its variable {ALLOW_FROM_VARIABLE} is set anew, to another value" in line
    assert not lost(injected, "istio", allow_from="192.0.2.0/24")
    # from a ConfigMap, say
    injected["spec"]["initContainers"][0]["env"][-1] = {
        "name": ALLOW_FROM_VARIABLE,
        "valueFrom": {"configMapKeyRef": {"name": "n", "key": "k"}},
    }
    [line] = lost(injected, "istio", allow_from=NETWORKS)
    assert "is set anew" in line
    [line] = lost(injected, "istio")
    assert "is dropped" in line


@pytest.mark.parametrize("how", [{}, {"proxy": "node"}])
@pytest.mark.parametrize("more", [["--allow-from=10.0.0.0/8"], ["--allow-from", "10.0.0.0/8"]])
def test_an_option_that_is_dropped_is_named(more: list[str], how: dict[str, Any]) -> None:
    injected = _with()
    injected["spec"]["initContainers"][0]["args"] += more
    [line] = lost(injected, "istio", **how)
    assert "its option --allow-from is dropped" in line


def test_variables_from_elsewhere_are_named_too() -> None:
    injected = _with()
    injected["spec"]["initContainers"][0]["envFrom"] = [{"configMapRef": {"name": "n"}}]
    [line] = lost(injected, "istio")
    assert "its envFrom is dropped: the container is written anew" in line


def test_where_no_container_comes_after_it_that_is_said() -> None:
    injected = _with(OSM_HEALTHCHECK_ALLOW_FROM="192.0.2.0/24")
    [line] = lost(injected, "osm")
    assert line.endswith(f"its variable {ALLOW_FROM_VARIABLE} is dropped: the container goes")
    del injected["spec"]["containers"][0]["livenessProbe"]
    del injected["spec"]["containers"][0]["readinessProbe"]
    assert lost(injected, "istio") == [line]


def test_uninject_names_what_was_set_by_hand_too() -> None:
    injected = after(MANIFEST, "istio", allow_from=NETWORKS)
    assert not uninject(injected, VERSION).warnings
    injected["spec"]["initContainers"][0]["env"].append({"name": "OTHER", "value": "secret"})
    outcome = uninject(injected, VERSION)
    assert [str(one) for one in outcome.warnings] == [
        "Pod shop/web: osm-healthcheck: warning: its variable OTHER is dropped: the container goes"
    ]
    assert outcome.manifest == MANIFEST


def test_what_stands_there_may_be_anything() -> None:
    for field, value in (("env", "x"), ("env", [1, {}]), ("args", 7), ("args", [1, None])):
        injected = _with()
        injected["spec"]["initContainers"][0][field] = value
        assert after(injected, "istio") == after(MANIFEST, "istio")


def test_annotations_by_which_prometheus_finds_the_sidecar() -> None:
    injected = after(MANIFEST, "istio", scrape_annotations=True)
    found = {
        name.removeprefix("prometheus.io/"): value
        for name, value in injected["metadata"]["annotations"].items()
        if name.startswith("prometheus.io/")
    }
    assert found == {"scrape": "true", "port": "15904", "path": "/metrics"}
    assert uninject(injected, VERSION).manifest == MANIFEST
    assert after(injected, "istio", scrape_annotations=True) == injected
    assert not any(
        "prometheus" in one for one in after(injected, "istio")["metadata"]["annotations"]
    )


def test_annotations_for_prometheus_that_a_pod_has_are_the_apps() -> None:
    manifest = copy.deepcopy(MANIFEST)
    manifest["metadata"]["annotations"] = {"prometheus.io/port": "8080"}
    injected = after(manifest, "istio", scrape_annotations=True)
    assert injected["metadata"]["annotations"]["prometheus.io/port"] == "8080"
    assert "prometheus.io/scrape" not in injected["metadata"]["annotations"]
    [line] = [
        one for one in warnings(manifest, "istio", scrape_annotations=True) if "io/port" in one
    ]
    assert "no annotations for Prometheus are added" in line
