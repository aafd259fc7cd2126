"""Whole outputs, to the character, and the Kubernetes API's own schemas over every one of them."""

import json
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from hypothesis import given, settings

from osm_healthcheck.cli import inject, uninject
from tests.manifests.strategies import injected, injection, templates

_GOLDEN = Path(__file__).parent / "golden"
_RELEASES = ("1.29", "1.37")
# To write one anew: osm-healthcheck inject OPTIONS INPUT > OUTPUT, and read the difference.
_CASES = {
    "deployment.none.yaml": ("deployment.yaml", ["--mesh", "none"]),
    "deployment.istio.yaml": ("deployment.yaml", ["--mesh", "istio"]),
    "deployment.container.yaml": (
        "deployment.yaml",
        "--mesh none --sidecar container --no-init --run-as-user none "
        "--image registry.example:5000/hc:7 --image-pull-policy Always".split(),
    ),
    "deployment.proxy.yaml": ("deployment.yaml", ["--mesh", "consul", "--proxy", "mesh"]),
    "deployment.linkerd.json": ("deployment.yaml", ["--mesh", "linkerd", "-o", "json"]),
    "tricky.istio.yaml": ("tricky.yaml", ["--mesh", "istio"]),
    "jobs.kuma.json": ("jobs.json", ["--mesh", "kuma", "--https", "request"]),
    "jobs.none.yaml": ("jobs.json", ["--mesh", "none", "-o", "yaml"]),
}


def _run(command: Any, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert command.run(arguments) == 0
    return capsys.readouterr().out


def _documents(text: str) -> list[Any]:
    if text.lstrip().startswith("{"):
        decoder, found = json.JSONDecoder(), []
        while text.strip():
            value, end = decoder.raw_decode(text.lstrip())
            found.append(value)
            text = text.lstrip()[end:]
        return found
    return [document for document in yaml.safe_load_all(text) if document is not None]


def _assert_valid(documents: list[Any], release: str) -> None:
    for document in documents:
        kubernetes_validate.validate(document, release, strict=True)


@pytest.mark.parametrize("name", _CASES)
def test_golden(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    source, options = _CASES[name]
    output = _run(inject, [*options, str(_GOLDEN / source)], capsys)
    assert output == (_GOLDEN / name).read_text()
    # where nobody has put a probe of his own beside Kubernetes' fields
    if source != "tricky.yaml":
        for release in _RELEASES:
            _assert_valid(_documents(output), release)


@pytest.mark.parametrize("name", _CASES)
def test_a_second_run_changes_no_byte(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = [one for one in _CASES[name][1] if one not in ("-o", "json", "yaml")]
    assert _run(inject, [*options, str(_GOLDEN / name)], capsys) == (_GOLDEN / name).read_text()


@pytest.mark.parametrize("name", _CASES)
def test_uninject_gives_back_the_text(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = _GOLDEN / _CASES[name][0]
    options = ["-o", source.suffix[1:]]
    back = _run(uninject, [*options, str(_GOLDEN / name)], capsys)
    if name.startswith("deployment") and name.endswith("yaml"):
        assert back == source.read_text()
    # aliases are written out, and JSON is indented anew: the objects are what comes back
    as_they_were = _run(uninject, ["-o", "json", str(source)], capsys)
    assert _documents(_run(uninject, ["-o", "json", str(_GOLDEN / name)], capsys)) == _documents(
        as_they_were
    )


@settings(max_examples=50)
@given(templates())
def test_what_is_added_to_any_pod_is_valid(template: dict[str, Any]) -> None:
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template},
    }
    added = injected(deployment, injection("kuma"))["spec"]["template"]
    spec = added["spec"]
    names = ("osm-healthcheck", "osm-healthcheck-init")
    ours = [one for one in spec.get("initContainers") or [] if one["name"] in names]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "annotations": _annotations(added)},
        "spec": {"initContainers": ours, "containers": [{"name": "a", "image": "a"}]},
    }
    _assert_valid([pod], _RELEASES[-1])


def _annotations(template: dict[str, Any]) -> dict[str, Any]:
    return (template.get("metadata") or {}).get("annotations") or {}
