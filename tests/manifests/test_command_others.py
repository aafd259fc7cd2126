"""verify and render as a user runs them; and what the sidecar does not load."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.manifests.test_command import COMMAND, GOOD, INJECT, run

EVENT = """\
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Event
  reason: Unhealthy
  message: 'Liveness probe failed: HTTP probe failed with statuscode: 503'
  involvedObject: {kind: Pod, name: good, fieldPath: 'spec.containers{app}'}
"""


def test_verify_says_yes_or_no() -> None:
    injected = run(*INJECT, "--mesh", "istio", text=GOOD).stdout
    done = run("verify", text=injected)
    assert (done.returncode, done.stderr) == (0, "")
    first, *checks, summary = done.stdout.splitlines()
    assert (first, summary) == ("Pod good", f"1 pod: nothing is wrong ({len(checks)} ✓)")
    assert all(check.startswith("  ✓ ") for check in checks)
    before = run("verify", "-", text=GOOD)
    assert before.returncode == 1
    assert "  ✗ app.livenessProbe: is not rewritten: it asks tcp://:8080 itself" in before.stdout
    assert "\n1 pod: something is wrong (" in before.stdout
    other = injected.replace("name: good", "name: other")
    failing = run("verify", "--failed", text=f"{injected}{EVENT}---\n{other}")
    assert failing.returncode == 1
    _, event, advice, summary = failing.stdout.splitlines()
    assert "  ✗ event app: Liveness probe failed: HTTP probe failed with sta" in event
    assert advice.startswith("      → ")
    assert summary.startswith("2 pods: something is wrong with 1 of them (")
    without_bypass = run(*INJECT, "--no-init", text=GOOD).stdout
    assert run("verify", text=without_bypass).returncode == 1
    assert run("verify", "--no-init", text=without_bypass).returncode == 0


def test_verify_in_json(tmp_path: Path) -> None:
    pod, events = tmp_path / "pod.yaml", tmp_path / "events.yaml"
    pod.write_text(GOOD)
    events.write_text(EVENT)
    done = run("verify", "-o", "json", str(pod), str(events))
    assert done.returncode == 1
    [report] = json.loads(done.stdout)
    assert (report["resource"], report["ok"]) == ("Pod good", False)
    assert {check["result"] for check in report["checks"]} == {"wrong"}
    assert report["checks"][-1]["subject"] == "event app"
    assert report["checks"][-1]["advice"]


@pytest.mark.parametrize("command", [["verify"], ["render", "envoy"], ["render", "pipy"]])
def test_what_cannot_be_read(command: list[str]) -> None:
    for text, message in (
        ("a: [", "document 1 (line 1): line 1, column 5: is not YAML"),
        ("", "stdin: there is no pod in it"),
        ("apiVersion: v1\nkind: Secret\n", "stdin: there is no pod in it"),
        (GOOD.replace("containers:", "container:"), "spec.containers: Required value"),
    ):
        done = run(*command, text=text)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr


def test_verify_where_the_locale_is_not_utf_8() -> None:
    done = subprocess.run(
        [*COMMAND, "verify"],
        input=GOOD.encode(),
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )
    assert (done.returncode, done.stderr) == (1, b"")
    assert "✗" in done.stdout.decode()


def test_render_before_and_after_injection_is_the_same() -> None:
    web = GOOD.replace("tcpSocket: {port: 8080}", "httpGet: {port: 8080, path: /live}")
    before = run("render", "envoy", text=web).stdout
    assert before.startswith("# Pod good\nclusters:\n- name: liveness_cluster\n")
    assert run("render", "envoy", text=run(*INJECT, text=web).stdout).stdout == before
    both = run("render", "envoy", text=f"{web}---\n{web}")
    assert len(list(yaml.safe_load_all(both.stdout))) == 2
    bootstrap = run("render", "envoy", "--bootstrap", text=f"{web}---\n{web}")
    assert (bootstrap.returncode, bootstrap.stdout) == (2, "")
    assert "--bootstrap: is for one pod, here are 2" in bootstrap.stderr
    assert "has no HTTP or HTTPS probe" in run("render", "envoy", text=GOOD).stderr
    pipy = json.loads(run("render", "pipy", text=web).stdout)
    assert pipy["Spec"]["Probes"]["ReadinessProbes"] is None
    two = web + web.partition("containers:\n")[2].replace("app", "app-2")
    assert (
        "of several liveness probes Pipy serves the first" in run("render", "pipy", text=two).stderr
    )


_WEB = GOOD.replace("tcpSocket: {port: 8080}", "httpGet: {port: 8080, path: /live}")


@pytest.mark.parametrize("proxy", ["envoy", "pipy"])
@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("spec:\n", "spec:\n  hostNetwork: true\n", "hostNetwork"),
        ("spec:\n", "spec:\n  os: {name: windows}\n", "a Windows pod"),
        *(
            (
                "  name: good\n",
                f"  name: good\n  annotations: {{{name}: disabled}}\n",
                f'its annotation {name} is "disabled"',
            )
            for name in (
                "healthcheck.openservicemesh.io/inject",
                "openservicemesh.io/sidecar-injection",
            )
        ),
    ],
)
def test_render_leaves_alone_what_inject_leaves_alone(
    proxy: str, before: str, after: str, reason: str
) -> None:
    alone = _WEB.replace(before, after)
    done = run("render", proxy, text=alone)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"stdin: document 1 (line 1): Pod good: left alone: {reason}" in done.stderr
    assert f'pod "good" skipped: {reason}' in run(*INJECT, text=alone).stderr
    beside = run("render", proxy, text=f"{alone}---\n{_WEB}")
    assert beside.stdout == run("render", proxy, text=_WEB).stdout
    wrong = run("render", proxy, text=alone.replace("disabled", "perhaps"))
    assert wrong.returncode == (2 if "disabled" in alone else 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["render"], "render: the proxy is missing: envoy or pipy comes first"),
        (["render", "nginx"], 'render: no proxy "nginx" is known: envoy or pipy comes first'),
        (["render", "pipy", "-x"], "unrecognized arguments: -x"),
    ],
)
def test_usage(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage: osm-healthcheck render" in done.stderr
    assert "[FILE ...]" in done.stderr
    assert message in done.stderr.splitlines()[-1]


def test_every_command_has_help() -> None:
    for command in ("inject", "uninject", "verify", "render", "render envoy", "render pipy"):
        done = run(*command.split(), "--help")
        assert done.returncode == 0
        assert f"usage: osm-healthcheck {command}" in done.stdout


def test_the_sidecar_loads_nothing_of_this() -> None:
    script = (
        "import sys; import osm_healthcheck.cli.serve, osm_healthcheck.server.serve\n"
        "print([n for n in sys.modules if n.startswith(('yaml', 'osm_healthcheck.mesh', "
        "'osm_healthcheck.manifests', 'osm_healthcheck.injection', 'osm_healthcheck.cli.files'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
