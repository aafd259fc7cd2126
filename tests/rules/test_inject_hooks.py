"""Lifecycle hooks: rewritten, declared, recorded, undone, verified; or left as they are."""

import argparse
import copy
import json
from typing import Any

import pytest

from osm_healthcheck.cli.injection_options import add_injection_options, read_injection
from osm_healthcheck.errors import InvalidInputError, Validation
from osm_healthcheck.injection.inject import inject
from osm_healthcheck.injection.pods import pods_in
from osm_healthcheck.injection.uninject import uninject
from osm_healthcheck.mesh.annotations import MESHES
from osm_healthcheck.probes.declaration import read_declaration, read_hooks
from osm_healthcheck.probes.hooks import DeclaredHook, LifecycleHook
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.probes.probe import HTTPGetAction
from osm_healthcheck.verification.findings import Finding, Mark
from osm_healthcheck.verification.verify import Context, verify
from tests.manifests.strategies import VERSION, injection
from tests.rules import manifests
from tests.rules.manifests import HTTP, TCP, app, pod

START = {"httpGet": {"path": "/start", "port": "http", "scheme": "HTTPS"}}
STOP = {"httpGet": {"path": "stop?now", "port": 8080, "httpHeaders": [{"name": "X", "value": "1"}]}}
PORTS = [{"name": "http", "containerPort": 8443}]


def after(manifest: Any, mesh: str = "istio", **options: Any) -> Any:
    return manifests.after(manifest, mesh, **{"hooks": "rewrite", **options})


def warnings(manifest: Any, mesh: str = "istio", **options: Any) -> list[str]:
    return manifests.warnings(manifest, mesh, **{"hooks": "rewrite", **options})


def findings(manifest: Any) -> list[Finding]:
    [found] = pods_in(manifest, Validation())
    return verify(found, Context(VERSION, tuple(MESHES.values())))


def wrong(manifest: Any) -> list[str]:
    return [f"{one.subject}: {one.text}" for one in findings(manifest) if one.mark is Mark.WRONG]


def hooked(**hooks: Any) -> dict[str, Any]:
    return pod(app(livenessProbe=HTTP, lifecycle=hooks, ports=PORTS))


def declared(injected: Any) -> Any:
    [sidecar] = [
        one
        for field in ("initContainers", "containers")
        for one in injected["spec"].get(field, [])
        if one["name"] == "osm-healthcheck"
    ]
    return json.loads(sidecar["env"][0]["value"])


def test_an_http_hook_asks_the_sidecar() -> None:
    manifest = hooked(postStart=START, preStop=STOP, stopSignal="SIGUSR1")
    injected = after(manifest)
    assert injected["spec"]["containers"][0]["lifecycle"] == {
        "postStart": {
            "httpGet": {"path": "/osm-post-start-hook/app", "port": 15904, "scheme": "HTTP"}
        },
        "preStop": {
            "httpGet": {
                "path": "/osm-pre-stop-hook/app",
                "port": 15904,
                "scheme": "HTTP",
                "httpHeaders": [{"name": "X", "value": "1"}],
            }
        },
        "stopSignal": "SIGUSR1",
    }
    assert declared(injected) == {
        "app": {
            "livenessProbe": {"httpGet": {"path": "/", "port": 8080}},
            "lifecycle": {
                "postStart": {"httpGet": {"path": "/start", "port": 8443, "scheme": "HTTPS"}},
                "preStop": STOP,
            },
        }
    }
    assert uninject(injected, VERSION).manifest == manifest
    assert after(injected) == injected
    assert wrong(injected) == []


def test_the_sidecar_reads_what_it_is_told() -> None:
    text = json.dumps(declared(after(hooked(postStart=START, preStop=STOP))))
    assert read_hooks(text, "--probes", OwnPorts()) == (
        DeclaredHook("app", LifecycleHook.POST_START, HTTPGetAction(8443, "/start", "HTTPS")),
        DeclaredHook(
            "app",
            LifecycleHook.PRE_STOP,
            HTTPGetAction(
                8080,
                "stop?now",
                http_headers=read_hooks(text, "", OwnPorts())[1].action.http_headers,
            ),
        ),
    )
    assert [one.path for one in read_hooks(text, "--probes", OwnPorts())] == [
        "/osm-post-start-hook/app",
        "/osm-pre-stop-hook/app",
    ]
    assert len(read_declaration(text, "--probes", OwnPorts())) == 1


@pytest.mark.parametrize(
    ("lifecycle", "where", "words"),
    [
        (1, "lifecycle", "must be a mapping"),
        ({"postStop": {}}, "lifecycle.postStop", "unknown field"),
        ({"preStop": None}, "lifecycle.preStop", "leave the key out instead of null"),
        ({"preStop": {}}, "lifecycle.preStop", "must be an httpGet"),
        ({"preStop": {"exec": {"command": ["x"]}}}, "lifecycle.preStop.exec", "unknown field"),
        ({"preStop": {"httpGet": {"port": 15901}}}, "lifecycle.preStop.httpGet.port", "own ports"),
        ({"preStop": {"httpGet": {"port": "p"}}}, "lifecycle.preStop.httpGet.port", "a number"),
        (
            {"preStop": {"httpGet": {"port": 1, "host": "x"}}},
            "lifecycle.preStop.httpGet.host",
            "another machine",
        ),
    ],
)
def test_a_declared_hook_that_is_wrong(lifecycle: Any, where: str, words: str) -> None:
    text = json.dumps({"app": {"lifecycle": lifecycle}})
    for read in (read_declaration, read_hooks):
        with pytest.raises(InvalidInputError) as caught:
            read(text, "--probes", OwnPorts())
        assert any(
            one.where == f"--probes: app.{where}" and words in one.problem
            for one in caught.value.errors
        ), caught.value


def test_a_pod_with_hooks_alone_is_injected_for_them() -> None:
    for proxy in ("sidecar", "mesh"):
        manifest = pod(app(lifecycle={"preStop": STOP}))
        injected = after(manifest, proxy=proxy)
        assert declared(injected) == {"app": {"lifecycle": {"preStop": STOP}}}
        name = "traffic.sidecar.istio.io/excludeInboundPorts"
        assert injected["metadata"]["annotations"][name] == "15904"
        assert uninject(injected, VERSION).manifest == manifest
        assert wrong(injected) == []


@pytest.mark.parametrize(
    "hook",
    [
        {"exec": {"command": ["true"]}},
        {"sleep": {"seconds": 5}},
        {"tcpSocket": {"port": 80}},
        {"httpGet": {"port": 80, "host": "10.0.0.1"}},
        {},
        None,
        "x",
        {"httpGet": {"path": "/app-lifecycle/app/prestopz", "port": 15020}},
    ],
)
def test_other_hooks_are_left_alone(hook: Any) -> None:
    manifest = hooked(preStop=hook)
    injected = after(manifest)
    assert injected["spec"]["containers"][0]["lifecycle"] == {"preStop": hook}
    assert "lifecycle" not in declared(injected)["app"]
    assert uninject(injected, VERSION).manifest == manifest


def test_whose_hooks_are_rewritten() -> None:
    native = {"restartPolicy": "Always", "lifecycle": {"preStop": STOP}}
    manifest = pod(
        app(livenessProbe=HTTP),
        app("skipped", lifecycle={"preStop": STOP}),
        app("istio-proxy", lifecycle={"preStop": STOP}),
        init=[app("native", **native)],
    )
    name = "healthcheck.openservicemesh.io/skip-containers"
    manifest["metadata"]["annotations"] = {name: "skipped"}
    assert set(declared(after(manifest))) == {"app", "native"}
    assert set(declared(after(manifest, sidecar="container"))) == {"app"}


@pytest.mark.parametrize(
    ("hook", "problem"),
    [
        ({"httpGet": {"port": "web"}}, "httpGet.port: Invalid value"),
        ({"httpGet": {"port": 15901}}, "httpGet.port: Invalid value"),
        ({"httpGet": {"port": 0}}, "httpGet.port: Invalid value"),
        ({"httpGet": {"port": 1, "httpHeaders": [{"name": "a b"}]}}, "httpGet.httpHeaders: Inval"),
        (
            {"httpGet": {"port": 1, "httpHeaders": [{"name": "X", "value": "x" * 9000}]}},
            "httpGet.httpHeaders: Too long",
        ),
    ],
)
def test_a_hook_that_is_wrong_is_named(hook: Any, problem: str) -> None:
    [error] = manifests.refused(hooked(preStop=hook), "istio", hooks="rewrite")
    assert error.startswith(f"Pod shop/web: app.lifecycle.preStop.{problem}")


def test_an_ordinary_sidecar_may_not_be_up_for_a_post_start_hook() -> None:
    options = {"hooks": "rewrite", "sidecar": "container"}
    [error] = manifests.refused(hooked(postStart=START), "istio", **options)
    assert error.startswith("Pod shop/web: app.lifecycle.postStart: Forbidden: with --sidecar")
    assert "--lifecycle-hooks leave" in error
    assert after(hooked(preStop=STOP), sidecar="container")


def test_that_hooks_can_be_called_is_said() -> None:
    [text] = [one for one in warnings(hooked(preStop=STOP)) if "preStop" in one]
    assert text.startswith("Pod shop/web: warning: whoever reaches port 15904 can call app.lifecyc")


def test_they_are_rewritten_unless_told_otherwise() -> None:
    manifest = hooked(preStop=STOP)
    assert manifests.after(manifest, "istio") == after(manifest)
    parser = argparse.ArgumentParser()
    add_injection_options(parser, ("sidecar",))
    chosen = read_injection(parser, parser.parse_args([]), MESHES["istio"])
    assert chosen.hooks == "rewrite"


def test_hooks_can_be_left() -> None:
    manifest = hooked(preStop=STOP)
    injected = after(manifest, hooks="leave")
    assert injected["spec"]["containers"][0]["lifecycle"] == {"preStop": STOP}
    assert uninject(injected, VERSION).manifest == manifest
    assert wrong(injected) == []
    assert any(
        one.subject == "app.lifecycle.preStop" and one.mark is Mark.UNSURE
        for one in findings(injected)
    )
    [text] = [one for one in warnings(manifest, hooks="leave") if "preStop" in one]
    assert "left alone: in a mesh" in text


# --- After injection ----------------------------------------------------------------------------


def test_an_edit_after_injection() -> None:
    manifest = hooked(postStart=START, preStop=STOP)
    injected = after(manifest)
    lifecycle = injected["spec"]["containers"][0]["lifecycle"]
    lifecycle["preStop"] = {"sleep": {"seconds": 1}}
    back: Any = uninject(injected, VERSION)
    assert back.warnings == ()
    assert back.manifest["spec"]["containers"][0]["lifecycle"] == {
        "postStart": START,
        "preStop": {"sleep": {"seconds": 1}},
    }
    lifecycle["postStart"]["httpGet"]["path"] = "/other"
    [warning] = uninject(injected, VERSION).warnings
    assert str(warning).startswith("Pod shop/web: app.lifecycle.postStart: restored as it was")
    del injected["spec"]["containers"][0]["lifecycle"]
    back = uninject(injected, VERSION).manifest
    assert "lifecycle" not in back["spec"]["containers"][0]


def test_a_pod_whose_record_is_lost() -> None:
    injected = after(pod(app(lifecycle={"preStop": STOP})))
    injected["metadata"]["annotations"] = {}
    del injected["spec"]["initContainers"]
    outcome = inject(injected, injection("istio", hooks="rewrite"))
    assert outcome.manifest == injected
    assert "left alone: its probes have been rewritten already" in str(outcome.warnings[0])


def _break_path(lifecycle: Any) -> None:
    lifecycle["preStop"]["httpGet"]["path"] = "/osm-pre-stop-hook/other"


def _put_back(lifecycle: Any) -> None:
    lifecycle["preStop"] = copy.deepcopy(STOP)


def _istios(lifecycle: Any) -> None:
    lifecycle["preStop"] = {"httpGet": {"path": "/app-lifecycle/app/prestopz", "port": 15020}}


@pytest.mark.parametrize("breaking", [_break_path, _put_back, _istios])
def test_verify_finds_a_hook_that_does_not_ask_as_it_should(breaking: Any) -> None:
    injected = after(hooked(preStop=STOP))
    breaking(injected["spec"]["containers"][0]["lifecycle"])
    assert wrong(injected)[0].startswith("app.lifecycle.preStop: ")


def test_verify_finds_a_declaration_without_the_hooks() -> None:
    injected = after(hooked(preStop=STOP))
    sidecar = injected["spec"]["initContainers"][0]
    told = json.loads(sidecar["env"][0]["value"])
    del told["app"]["lifecycle"]
    sidecar["env"][0]["value"] = json.dumps(told)
    assert "osm-healthcheck: its declared hooks are not the originals" in wrong(injected)


def test_verify_leaves_istios_own_rewriting_of_hooks_alone() -> None:
    lifecycle: Any = {}
    _istios(lifecycle)
    manifest = pod(
        app(livenessProbe={"httpGet": {"path": "/app-health/app/livez", "port": 15020}}),
        {"name": "istio-proxy"},
    )
    manifest["spec"]["containers"][0]["lifecycle"] = lifecycle
    assert wrong(manifest) == []


def test_probes_of_a_hooked_container_are_rewritten_as_ever() -> None:
    manifest = pod(app(readinessProbe=TCP, lifecycle={"preStop": STOP}))
    injected = after(manifest, "none", hooks="rewrite")
    assert injected["spec"]["initContainers"][0]["args"] == ["install", "--ports", "15904"]
