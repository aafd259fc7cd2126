"""What holds for every pod: injection is idempotent, can be undone, and touches nothing else."""

import copy
import json
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.containers import environment_of
from osm_healthcheck.injection.hooks import hooks_of
from osm_healthcheck.injection.inject import Injection, inject
from osm_healthcheck.injection.manifest_probe import handler_name
from osm_healthcheck.injection.pods import INIT_CONTAINER, SIDECAR, Container, Pod, pods_in
from osm_healthcheck.injection.record import PREFIX
from osm_healthcheck.injection.uninject import uninject
from osm_healthcheck.probes.declaration import read_declaration
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.probes.probe import HANDLERS, HTTPGetAction
from osm_healthcheck.probes.targets import targets_of
from tests.manifests.strategies import (
    VERSION,
    injected,
    injection,
    injections,
    templates,
    workloads,
)

_OWN = OwnPorts()


def _pods(manifest: object) -> list[Pod]:
    return pods_in(manifest, Validation())


def _pod(template: dict[str, object]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", **template}


@given(workloads(), injections)
def test_injecting_again_changes_nothing(manifest: dict[str, object], how: Injection) -> None:
    once = injected(manifest, how)
    given = copy.deepcopy(once)
    assert inject(once, how).manifest == given
    assert once == given, "the manifest given must stay as it is"


@given(workloads(), injections)
def test_uninject_gives_back_what_was_there(manifest: dict[str, object], how: Injection) -> None:
    before = copy.deepcopy(manifest)
    after = injected(manifest, how)
    assert manifest == before, "the manifest given must stay as it is"
    given = copy.deepcopy(after)
    outcome = uninject(after, VERSION)
    assert after == given, "the manifest given must stay as it is"
    back = outcome.manifest
    assert not [one for one in outcome.warnings if "is lost" in one.text]
    # dumps and not ==: null, false and 0 are different things
    assert json.dumps(back, sort_keys=True) == json.dumps(manifest, sort_keys=True)


@given(workloads(), injections, injections)
def test_injecting_in_another_way_replaces_the_first(
    manifest: dict[str, object], first: Injection, second: Injection
) -> None:
    assert injected(injected(manifest, first), second) == injected(manifest, second)


@given(templates(), injections)
def test_a_container_that_came_after_us_gets_its_turn(
    template: dict[str, Any], how: Injection
) -> None:
    whole = _pod(template)
    assume(len(whole["spec"]["containers"]) > 1)
    part = copy.deepcopy(whole)
    late = part["spec"]["containers"].pop()
    once = injected(part, how)
    once["spec"]["containers"].append(late)
    assert injected(once, how) == injected(whole, how)


@given(workloads(), injections)
def test_nothing_else_changes(manifest: dict[str, object], how: Injection) -> None:
    changed = injected(manifest, how)
    for before, after in zip(_pods(manifest), _pods(changed), strict=True):
        theirs = [one for one in after.containers if one.name not in (SIDECAR, INIT_CONTAINER)]
        assert [one.name for one in theirs] == [one.name for one in before.containers]
        for one, other in zip(before.containers, theirs, strict=True):
            _assert_only_handlers_differ(one, other)
        rest = {"initContainers", "containers", "resources"}
        assert _without(before.spec, rest) == _without(after.spec, rest)
        assert before.annotations.items() - _written(after) <= after.annotations.items()


def _assert_only_handlers_differ(before: Container, after: Container) -> None:
    fields = {"livenessProbe", "readinessProbe", "startupProbe"}
    more = {*fields, "lifecycle"}
    assert _without(before.value, more) == _without(after.value, more)
    hooks = {"postStart", "preStop"}
    lifecycles = [_without(one.value.get("lifecycle") or {}, hooks) for one in (before, after)]
    assert lifecycles[0] == lifecycles[1]
    for (hook, was), (_, now) in zip(hooks_of(before), hooks_of(after), strict=True):
        if "httpGet" not in was:
            assert now == was, hook
    assert fields & before.value.keys() == fields & after.value.keys()
    for field in fields & before.value.keys():
        old: Any = before.value[field]
        new: Any = after.value[field]
        if old is None or handler_name(old) == "exec":
            assert new == old
        else:
            assert _without(old, set(HANDLERS)) == _without(new, set(HANDLERS))


def _written(pod: Pod) -> set[tuple[str, object]]:
    """The annotations of the meshes that injection may extend."""
    return {
        (name, value)
        for name, value in pod.annotations.items()
        if "ports" in name.lower() or name.startswith(PREFIX)
    } | {(name, value) for name, value in _MESH_VALUES}


_MESH_VALUES = [
    ("traffic.sidecar.istio.io/excludeInboundPorts", value) for value in ("", "80, 15901", "9000")
] + [
    ("traffic.kuma.io/exclude-inbound-ports", "80,"),
    ("config.linkerd.io/skip-inbound-ports", "8000-9000"),
]


def _without(mapping: Any, names: set[str]) -> dict[str, object]:
    return {name: value for name, value in mapping.items() if name not in names}


@settings(max_examples=150)
@given(templates(), st.sampled_from(["none", "istio"]), st.sampled_from(["passthrough", "request"]))
def test_the_sidecar_answers_every_probe_that_asks_it(
    template: dict[str, Any], mesh: str, https: str
) -> None:
    """Whatever asks one of our ports is declared, on the path and port where it asks."""
    [pod] = _pods(injected(_pod(template), injection(mesh, https=https)))
    sidecar = pod.container(SIDECAR)
    asked = [
        (container.name, kind, probe["httpGet"])
        for container in pod.containers
        if container.name != SIDECAR
        for kind, probe in container.probes()
        if isinstance(probe, dict)
        and isinstance(probe.get("httpGet"), dict)
        and probe["httpGet"]["port"] in _OWN
    ]
    if sidecar is None:
        assert not asked
        return
    declared = read_declaration(str(environment_of(sidecar)["OSM_HEALTHCHECK_PROBES"]), "env", _OWN)
    assert sorted((one.container, one.kind.value) for one in declared) == sorted(
        (name, kind.value) for name, kind, _ in asked
    )
    targets = targets_of(declared)
    for name, kind, action in asked:
        if action["port"] == 15904:
            headers = {one["name"]: one["value"] for one in action["httpHeaders"]}
            tcp = headers.get("Original-Tcp-Port")
            service = None if tcp else headers.get("Original-Grpc-Service", "")
            check = targets.checks[int(tcp or headers["Original-Grpc-Port"]), service]
            assert any(one.container == name and one.kind == kind for one in check.probes)
            continue
        assert action["port"] == kind.port
        if action.get("scheme") == "HTTPS":
            target = targets.routes[kind].tls
        else:
            target = targets.routes[kind].http[action["path"]]
        assert target is not None
        assert target.declared.container == name
        assert isinstance(target.declared.probe.handler, HTTPGetAction)
