"""verify as a user runs it without a cluster at hand: logs, colours, and what it cannot read."""

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from osm_healthcheck.cluster.resources import named_objects
from osm_healthcheck.cluster.selection import label_selector
from tests.manifests.test_command import COMMAND, GOOD, run

_LOG = """\
{"level":"info","time":"T0","component":"osm-controller","message":"up"}
[pod/c/osm] {"level":"error","time":"T1","component":"xds","error":"no cert","message":"refused"}
not JSON
2026-01-01T00:00:00Z {"level":"fatal","message":"gone"}
"""


def test_the_lines_of_a_log_that_report_errors(tmp_path: Path) -> None:
    done = run("verify", "--logs", "-", text=_LOG)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "stdin: line 2: T1 xds error: refused error=no cert",
        "stdin: line 4: fatal: gone",
        "stdin: 2 of 4 lines of level error or worse",
    ]
    log = tmp_path / "a.log"
    log.write_text(_LOG.splitlines()[0])
    good = run("verify", "--logs", str(log))
    assert (good.returncode, good.stdout) == (0, f"{log}: 0 of 1 lines of level error or worse\n")
    other = run("verify", "--logs", text="panic: x\n")
    assert "none of its 1 lines is JSON with a level" in other.stdout
    [first, _] = json.loads(run("verify", "--logs", "-o", "json", text=_LOG).stdout)
    assert (first["file"], first["line"], first["error"]) == ("stdin", 2, "no cert")
    assert run("verify", "--logs", str(tmp_path / "none")).returncode == 2


def test_without_the_client_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "kubernetes.py").write_text("raise ModuleNotFoundError('none', name='kubernetes')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for arguments in (("-A",), ("deploy/web",), ("-n", "shop", "pods")):
        done = run("verify", *arguments, env=environment)
        assert (done.returncode, done.stdout) == (2, "")
        assert "pip install '.[cluster]' in a clone of the repository" in done.stderr
    # what is piped needs none
    assert run("verify", text=GOOD, env=environment).returncode == 1


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    done = run("verify", "-A", env={**os.environ, "KUBECONFIG": missing})
    assert done.returncode == 2
    advice = "there is no such file; --kubeconfig or KUBECONFIG names another"
    assert done.stderr == f"osm-healthcheck verify: {missing}: {advice}\n"
    folder = run("verify", "-A", "--kubeconfig", str(tmp_path)).stderr
    assert folder == f"osm-healthcheck verify: {tmp_path}: Is a directory\n"


def test_a_file_wins_over_an_object_of_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "deploy"
    folder.mkdir()
    (folder / "web").write_text(GOOD)
    done = run("verify", "deploy/web", cwd=tmp_path)
    assert done.stdout.startswith("Pod good\n")
    both = run("verify", "deploy/web", "pod/x", cwd=tmp_path)
    assert both.returncode == 2
    assert "either objects of a cluster, as pod/x, or files, as deploy/web" in both.stderr


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_are_for_terminals(no_color: str, coloured: bool, tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(GOOD)
    ours, theirs = pty.openpty()
    environment = {**os.environ, "NO_COLOR": no_color, "TERM": "xterm"}
    done = subprocess.run(
        [*COMMAND, "verify", str(tmp_path / "pod.yaml")], stdout=theirs, env=environment
    )
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 1
    assert ("\x1b[31m✗\x1b[0m" in shown) is coloured
    assert "✗" in shown


def test_objects_are_named_as_kubectl_names_them() -> None:
    for words, plural, names in (
        ("deploy/web deployments.apps/api", "deployments", ["web", "api"]),
        ("pod web-0 web-1", "pods", ["web-0", "web-1"]),
        ("sts", "statefulsets", [""]),
    ):
        found = named_objects(words.split())
        assert [(one.plural, name) for one, name in found] == [(plural, name) for name in names]
    with pytest.raises(ValueError, match="no kind that has pods"):
        named_objects(["secret/x"])


def test_a_selector_is_written_as_the_api_takes_it() -> None:
    selector = {
        "matchLabels": {"app": "web"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]},
            {"key": "old", "operator": "DoesNotExist"},
        ],
    }
    assert label_selector(selector) == "app=web,tier in (a,b),!old"
    assert label_selector({"app": "web"}) == "app=web"  # a Service's
