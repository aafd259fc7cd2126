"""Undoing an injection that others have touched since: what stays, and what is named."""

import copy
from typing import Any

import pytest

from osm_healthcheck.errors import InvalidInputError
from osm_healthcheck.injection.inject import inject
from osm_healthcheck.injection.uninject import uninject
from tests.manifests.strategies import VERSION, injection
from tests.rules.manifests import HTTP, TCP, after, app, pod, refused, warnings


def test_an_edit_after_injection_is_kept() -> None:
    manifest = pod(app(livenessProbe=HTTP, readinessProbe=TCP))
    injected = after(manifest, "istio")
    container = injected["spec"]["containers"][0]
    container["livenessProbe"] |= {"periodSeconds": 3}
    container["readinessProbe"] = {"exec": {"command": ["true"]}}
    name = "traffic.sidecar.istio.io/excludeInboundPorts"
    injected["metadata"]["annotations"][name] += ",9090"
    injected["metadata"]["annotations"]["team"] = "shop"
    outcome: Any = uninject(injected, VERSION)
    assert outcome.warnings == ()
    back = outcome.manifest
    assert back["spec"]["containers"] == [
        app(
            livenessProbe={**HTTP, "periodSeconds": 3},
            readinessProbe={"exec": {"command": ["true"]}},
        )
    ]
    assert back["metadata"]["annotations"] == {name: "9090", "team": "shop"}


@pytest.mark.parametrize(
    ("probe", "edit", "asked"),
    [
        (HTTP, {"path": "/mine"}, "http://:15901/mine"),
        (HTTP, {"port": 9999}, "http://:9999/osm-liveness-probe"),
        (HTTP, {"port": "http"}, "http://:http/osm-liveness-probe"),
        (
            HTTP,
            {"httpHeaders": [{"name": "Key", "value": "secret"}]},
            "http://:15901/osm-liveness-probe with Key",
        ),
        (HTTP, {"httpHeaders": ["Host"]}, "http://:15901/osm-liveness-probe"),
        (HTTP, {"httpHeaders": 1, "path": 1}, "http://:15901/1"),
        (HTTP, {"scheme": "HTTPS"}, "https://:15901/osm-liveness-probe"),
        (
            TCP,
            {"httpHeaders": [{"name": "Original-Tcp-Port", "value": "81"}]},
            "http://:15904/osm-healthcheck with Original-Tcp-Port: 81",
        ),
        (TCP, {"port": 81}, "http://:81/osm-healthcheck with Original-Tcp-Port: 8080"),
    ],
)
def test_an_edit_to_what_a_rewritten_probe_asks_is_lost_and_named(
    probe: dict[str, Any], edit: dict[str, Any], asked: str
) -> None:
    manifest = pod(app(livenessProbe=probe, readinessProbe=HTTP))
    injected = after(manifest)
    edited = copy.deepcopy(injected)
    edited["spec"]["containers"][0]["livenessProbe"]["httpGet"] |= edit
    back, again = uninject(edited, VERSION), inject(edited, injection())
    assert (back.manifest, again.manifest) == (manifest, injected)
    for outcome, done in (
        (back, "restored as it was before injection"),
        (again, "its original is injected again (uninject gives it back to edit)"),
    ):
        [warning] = map(str, outcome.warnings)
        assert warning == (
            f"Pod shop/web: app.livenessProbe: {done}; the edit made to it since is lost: it "
            f"asked {asked}"
        )


@pytest.mark.parametrize("empty", [[], None])
def test_an_empty_list_of_init_containers_comes_back_empty(empty: Any) -> None:
    manifest = pod(app(livenessProbe=HTTP))
    manifest["spec"]["initContainers"] = empty
    assert uninject(after(manifest), VERSION).manifest == manifest
    full = pod(app(livenessProbe=HTTP), init=[app("first")])
    assert uninject(after(full), VERSION).manifest == full


def test_every_edit_is_named_whatever_stands_before_it() -> None:
    command = {"exec": {"command": ["true"]}}
    hook = {"httpGet": {"path": "/stop", "port": 8080}}
    lifecycle = {"postStart": command, "preStop": hook}
    probes: dict[str, Any] = {
        "livenessProbe": command,
        "readinessProbe": HTTP,
        "startupProbe": HTTP,
    }
    injected = after(pod(app("a", **probes), app(**probes, lifecycle=lifecycle)), "istio")
    container = injected["spec"]["containers"][1]
    for edited in (
        container["readinessProbe"],
        container["startupProbe"],
        container["lifecycle"]["preStop"],
    ):
        edited["httpGet"]["path"] = "/mine"
    places = {one.where for one in uninject(injected, VERSION).warnings}
    assert places == {
        f"Pod shop/web: app.{field}"
        for field in ("readinessProbe", "startupProbe", "lifecycle.preStop")
    }


def test_a_named_port_that_has_another_number_by_now_is_no_edit_of_a_probe() -> None:
    ports = [{"name": "db", "containerPort": 5432}]
    manifest = pod(app(livenessProbe={"tcpSocket": {"port": "db"}}, ports=ports))
    injected = after(manifest)
    for one in (manifest, injected):
        one["spec"]["containers"][0]["ports"] = [{"name": "db", "containerPort": 5433}]
    back, again = uninject(injected, VERSION), inject(injected, injection())
    assert (back.manifest, again.manifest) == (manifest, after(manifest))
    assert back.warnings == again.warnings == ()


@pytest.mark.parametrize(
    ("probe", "asked"),
    [
        (HTTP, "http://:15901/osm-liveness-probe"),
        ({"httpGet": {"port": 8443, "scheme": "HTTPS"}}, "https://:15901/"),
        (TCP, "http://:15904/osm-healthcheck"),
    ],
)
def test_a_rewritten_probe_whose_container_has_another_name_by_now_is_refused(
    probe: dict[str, Any], asked: str
) -> None:
    """Without its original it would be left as it is, and nothing would answer it."""
    injected = after(pod(app(livenessProbe=probe), app("other", startupProbe=TCP)))
    injected["spec"]["containers"][0]["name"] = "renamed"
    with pytest.raises(InvalidInputError) as caught:
        uninject(injected, VERSION)
    assert [str(caught.value)] == refused(injected)
    assert str(caught.value) == (
        f"Pod shop/web: renamed.livenessProbe: asks {asked}, as inject writes it, and no "
        "annotation says for what (there are originals of app, other): rename the container in "
        "healthcheck.openservicemesh.io/original-probes, too, or write what is to be asked of "
        "the app"
    )
    annotations = injected["metadata"]["annotations"]
    key = "healthcheck.openservicemesh.io/original-probes"
    annotations[key] = annotations[key].replace('"app"', '"renamed"')
    back: Any = uninject(injected, VERSION).manifest
    assert back["spec"]["containers"][0]["livenessProbe"] == probe


def test_what_the_api_server_fills_in_is_no_obstacle() -> None:
    injected = after(pod(app(livenessProbe=HTTP)))
    probe = injected["spec"]["containers"][0]["livenessProbe"]
    probe["httpGet"]["scheme"] = "HTTP"
    probe["timeoutSeconds"] = 1
    injected["spec"]["initContainers"][1]["terminationMessagePath"] = "/dev/termination-log"
    outcome: Any = uninject(injected, VERSION)
    assert outcome.warnings == ()
    back = outcome.manifest
    assert back["spec"] == {"containers": [app(livenessProbe={**HTTP, "timeoutSeconds": 1})]}


def test_a_newer_version_replaces_the_work_of_an_older_one() -> None:
    manifest = pod(app(livenessProbe=HTTP))
    key = "healthcheck.openservicemesh.io/version"
    older = after(manifest, sidecar="container")
    older["metadata"]["annotations"][key] = "1.9.12"
    older["spec"]["containers"][1]["env"] = []
    assert after(older, "istio") == after(manifest, "istio")
    newer = after(manifest)
    newer["metadata"]["annotations"][key] = "2.10.0"
    assert "injected by osm-healthcheck 2.10.0, this is 2.0.0: use that one" in refused(newer)[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("original-probes", "{"),
        ("original-probes", None),
        ("original-probes", '{"app": {"livenessProbe": 1}}'),
        ("original-fields", '{"annotations": {"a": {"is": 1}}}'),
        ("version", "latest"),
        ("version", None),
    ],
)
def test_a_broken_record_is_an_error_and_never_a_guess(key: str, value: str | None) -> None:
    injected = after(pod(app(livenessProbe=HTTP)), "istio")
    name = f"healthcheck.openservicemesh.io/{key}"
    if value is None:
        del injected["metadata"]["annotations"][name]
    else:
        injected["metadata"]["annotations"][name] = value
    assert "Pod shop/web: metadata.annotations" in refused(injected)[0]
    with pytest.raises(InvalidInputError):
        uninject(injected, VERSION)


def test_a_copy_by_kubectl_debug_is_left_alone() -> None:
    """It keeps init containers and, if told so, probes; annotations go."""
    copied = after(pod(app(livenessProbe=HTTP, readinessProbe=TCP)))
    del copied["metadata"]["annotations"]
    copied["spec"]["containers"].append(app("debugger"))
    without_probes = copy.deepcopy(copied)
    for field in ("livenessProbe", "readinessProbe"):
        del without_probes["spec"]["containers"][0][field]
    for manifest in (copied, without_probes):
        outcome = inject(manifest, injection())
        assert outcome.manifest == manifest
        assert "left alone: its probes have been rewritten already" in str(outcome.warnings[0])
        assert uninject(manifest, VERSION).manifest == manifest
    copied["spec"]["containers"].append(app("late", livenessProbe=TCP))
    [error] = refused(copied)
    assert error.startswith("Pod shop/web: late.livenessProbe: this probe is not rewritten")


def test_a_container_that_is_left_alone_may_ask_what_it_likes() -> None:
    """It has no record, and is none whose record is lost."""
    manifest = pod(app(livenessProbe=HTTP))
    injected = after(manifest)
    other = app("db", livenessProbe={"httpGet": {"path": "/osm-liveness-probe", "port": 15901}})
    key = "healthcheck.openservicemesh.io/skip-containers"
    for one in (manifest, injected):
        one["metadata"].setdefault("annotations", {})[key] = "db"
        one["spec"]["containers"].append(other)
    assert uninject(injected, VERSION).manifest == manifest


def test_https_passed_through_whose_record_is_lost_is_known_by_the_sidecar() -> None:
    """It keeps its path, and a second sidecar's port would be asked of the first."""
    https = {"httpGet": {"path": "/", "port": 8443, "scheme": "HTTPS"}}
    injected = after(pod(app(livenessProbe=https)), "istio")
    injected["metadata"]["annotations"] = {}
    assert after(injected, "istio") == injected
    [line] = warnings(injected, "istio")
    assert "left alone: its probes have been rewritten already" in line
