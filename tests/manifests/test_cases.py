"""What other meshes do with probes, as cases: each is asserted, or listed with a reason."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from osm_healthcheck.errors import InvalidInputError, Validation
from osm_healthcheck.injection.containers import environment_of
from osm_healthcheck.injection.inject import inject
from osm_healthcheck.injection.pods import SIDECAR, ManifestChange, pods_in
from osm_healthcheck.probes.declaration import read_declaration
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.probes.probe import HANDLERS, HTTPGetAction
from osm_healthcheck.probes.targets import targets_of
from osm_healthcheck.probes.url import probe_url
from tests.manifests.strategies import injection
from tests.manifests.test_command import INJECT

_HERE = Path(__file__).parent
CASES = {case["id"]: case for case in yaml.safe_load((_HERE / "cases.yaml").read_text())}
EXPECTED: dict[str, Any] = yaml.safe_load((_HERE / "cases_expected.yaml").read_text())
_IN_DATA = [name for name, one in EXPECTED.items() if "not_ours" not in one and "test" not in one]


def _pod(spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "case"}, "spec": spec}


def _declared(outcome: ManifestChange) -> str:
    sidecar = pods_in(outcome.manifest, Validation())[0].container(SIDECAR)
    assert sidecar is not None
    return str(environment_of(sidecar)["OSM_HEALTHCHECK_PROBES"])


def _probe(manifest: object, name: str) -> Any:
    container, _, field = name.rpartition(".")
    found = pods_in(manifest, Validation())[0].container(container)
    assert found is not None
    return found.value[field]


def test_no_case_is_left_out() -> None:
    assert EXPECTED.keys() == CASES.keys()
    tests = {one["test"] for one in EXPECTED.values() if "test" in one}
    assert tests <= globals().keys()
    assert all(one["not_ours"] for one in EXPECTED.values() if "not_ours" in one)


@pytest.mark.parametrize("name", _IN_DATA)
def test_case(name: str) -> None:
    expected = EXPECTED[name]
    spec = expected.get("input") or CASES[name]["input"]["spec"]
    pod = _pod(spec)
    how = injection(**expected.get("options", {}))
    if "error" in expected:
        with pytest.raises(InvalidInputError) as caught:
            inject(pod, how)
        assert expected["error"] in str(caught.value)
        return
    outcome = inject(pod, how)
    assert expected.get("warning", "") in "\n".join(map(str, outcome.warnings))
    assert bool(outcome.warnings) == ("warning" in expected)
    if "unchanged" in expected:
        assert outcome.manifest == pod
        return
    for probe, handler in expected.get("probes", {}).items():
        before, after = _probe(pod, probe), _probe(outcome.manifest, probe)
        rest = {key: value for key, value in before.items() if key not in HANDLERS}
        assert after == rest | handler
    declared = read_declaration(_declared(outcome), "env", OwnPorts())
    told = json.loads(_declared(outcome))
    for probe, value in expected.get("declared", {}).items():
        container, _, field = probe.rpartition(".")
        handlers = {key: one for key, one in told[container][field].items() if key in HANDLERS}
        assert handlers == {key: one for key, one in value.items() if key in HANDLERS}
    if "ports" in expected:
        assert sorted(targets_of(declared).ports) == expected["ports"]
    for probe, path in expected.get("asked", {}).items():
        [one] = [one for one in declared if f"{one.container}.{one.kind.field}" == probe]
        action = one.probe.handler
        assert isinstance(action, HTTPGetAction)
        assert probe_url("http", "127.0.0.1", int(action.port), action.path).request_target == path


def test_rw_032_a_hook_that_the_kubelet_runs_is_rewritten() -> None:
    pod = _pod(CASES["RW-032"]["input"]["spec"])
    outcome = inject(pod, injection("istio"))
    lifecycle = _probe(outcome.manifest, "hello.lifecycle")
    asked = {"path": "/osm-pre-stop-hook/hello", "port": 15904, "scheme": "HTTP"}
    assert lifecycle["preStop"] == {"httpGet": asked}
    # the kubelet does not run a tcpSocket hook
    assert lifecycle["postStart"] == {"tcpSocket": {"port": 93}}
    assert json.loads(_declared(outcome)) == {
        "hello": {"lifecycle": {"preStop": {"httpGet": {"port": 91}}}}
    }


def test_rw_036_an_opt_out_leaves_the_pod_alone() -> None:
    spec = {"containers": [{"name": "a", "livenessProbe": {"tcpSocket": {"port": 80}}}]}
    for annotation, value in (
        ("healthcheck.openservicemesh.io/inject", "disabled"),
        ("openservicemesh.io/sidecar-injection", "disabled"),
        ("openservicemesh.io/sidecar-injection", "no"),
    ):
        pod = _pod(spec)
        pod["metadata"]["annotations"] = {annotation: value}
        outcome = inject(pod, injection("istio"))
        assert outcome.manifest == pod
        assert f'left alone: its annotation {annotation} is "{value}"' in str(outcome.warnings[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "it is not JSON"),
        ('{"abc": {"x": {}}}', "unknown field"),
        ('{"a": {"livenessProbe": {"exec": {"command": ["true"]}}}}', "Forbidden"),
        (
            '{"a": {"livenessProbe": {"tcpSocket": {"port": 1}, "httpGet": {"port": 2}}}}',
            "1 handler",
        ),
        ('{"a": {"livenessProbe": {"grpc": {"port": 1}, "httpGet": {"port": 2}}}}', "1 handler"),
        ('{"a": {"livenessProbe": {"tcpSocket": {"port": "tcp"}}}}', "must be a number"),
        ('{"a": {"livenessProbe": {"httpGet": {"port": "name"}}}}', "must be a number"),
    ],
)
def test_rw_050_the_sidecar_refuses_a_declaration_that_it_cannot_serve(
    text: str, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_declaration(text, "OSM_HEALTHCHECK_PROBES", OwnPorts())


@pytest.mark.parametrize(("timeout", "deadline"), [(30, 29.95), (0, 0.95), (None, 0.95)])
def test_rw_053_the_answer_comes_before_the_kubelet_gives_up(
    timeout: int | None, deadline: float
) -> None:
    probe: dict[str, Any] = {"tcpSocket": {"port": 80}}
    if timeout is not None:
        probe["timeoutSeconds"] = timeout
    pod = _pod({"containers": [{"name": "a", "livenessProbe": probe}]})
    declared = read_declaration(_declared(inject(pod, injection())), "env", OwnPorts())
    assert targets_of(declared).checks[80, None].deadline == pytest.approx(deadline)


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("6060, 7070", "6060, 7070,15904"),
        (None, "4567,4568,15904"),
        ("", "15904"),
        ("15904", "15904"),
        ("15000-16000", "15000-16000"),
        ("6060, -7070", 'Invalid value: "-7070": is not a port (1-65535)'),
        ("*", 'Invalid value: "*": is not a port (1-65535)'),
    ],
)
def test_adm_007_the_annotation_for_ports_is_extended(value: str | None, result: str) -> None:
    name = "config.linkerd.io/skip-inbound-ports"
    pod = _pod({"containers": [{"name": "a", "livenessProbe": {"tcpSocket": {"port": 80}}}]})
    if value is not None:
        pod["metadata"]["annotations"] = {name: value}
    if result.startswith("Invalid"):
        with pytest.raises(InvalidInputError) as caught:
            inject(pod, injection("linkerd"))
        assert f"Pod case: metadata.annotations: {name}: {result}" in str(caught.value)
    else:
        [after] = pods_in(inject(pod, injection("linkerd")).manifest, Validation())
        assert after.annotations[name] == result


def _command(*arguments: str, text: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "osm_healthcheck", *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_cli_001_uninject_gives_back_every_byte() -> None:
    text = (_HERE / "golden" / "deployment.yaml").read_text()
    injected = _command(*INJECT, "--mesh", "istio", text=text)
    assert injected != text
    assert _command("uninject", text=injected) == text


def test_cli_002_every_kind() -> None:
    template: dict[str, Any] = {
        "spec": {"containers": [{"name": "a", "livenessProbe": {"tcpSocket": {"port": 80}}}]}
    }
    in_spec: dict[str, Any] = {"template": template}
    kinds: dict[tuple[str, str], dict[str, Any]] = {
        ("v1", "Pod"): template,
        ("v1", "PodTemplate"): in_spec,
        ("v1", "ReplicationController"): {"spec": in_spec},
        ("batch/v1", "Job"): {"spec": in_spec},
        ("batch/v1", "CronJob"): {"spec": {"jobTemplate": {"spec": in_spec}}},
        ("extensions/v1beta1", "Deployment"): {"spec": in_spec},
    } | {
        ("apps/v1", kind): {"spec": in_spec}
        for kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")
    }
    documents: list[dict[str, Any]] = [
        {"apiVersion": version, "kind": kind, **rest} for (version, kind), rest in kinds.items()
    ]
    others: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "yes"}},
        {"apiVersion": "batch.volcano.sh/v1alpha1", "kind": "Job", "spec": in_spec},
    ]
    documents += [{"apiVersion": "v1", "kind": "List", "items": [*documents, *others]}, *others]
    documents.append({"apiVersion": "v1", "kind": "PodList", "items": [template]})
    output = _command(*INJECT, text=yaml.safe_dump_all(documents))
    after = list(yaml.safe_load_all(output))
    assert after[-3:-1] == others
    assert after[-4]["items"][-2:] == others
    assert output.count("- /osm-healthcheck\n") == 2 * len(kinds) + 1
    assert list(yaml.safe_load_all(_command("uninject", text=output))) == documents
