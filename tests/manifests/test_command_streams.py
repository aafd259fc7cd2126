"""inject on bytes: what it is given at the ends of a file, and files that are none."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.manifests.test_command import COMMAND, GOOD, INJECT, TIMEOUT, run

BOM = "\ufeff"
AS_JSON = json.dumps(
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "good"},
        "spec": {"containers": [{"name": "a", "livenessProbe": {"tcpSocket": {"port": 80}}}]},
    }
)
CONFIG = "apiVersion: v1\nkind: ConfigMap"


def run_bytes(*arguments: str, text: str = "") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *arguments],
        input=text.encode(),
        capture_output=True,
        timeout=TIMEOUT,
        check=True,
    )


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\r\n", "\n# end", "\n---\n", "\n..."])
@pytest.mark.parametrize("start", ["", BOM, "# first\n", f"{BOM}---\n"])
def test_yaml_begins_and_ends_as_it_did(start: str, end: str, tmp_path: Path) -> None:
    for body in (GOOD.rstrip("\n"), CONFIG):
        text = start + body + end
        injected = run_bytes(*INJECT, text=text).stdout
        assert injected.startswith(start.encode())
        assert injected.endswith(end.encode())
        assert end or not injected.endswith(b"\n")
        assert injected.count(BOM.encode()) == start.count(BOM)
        assert (injected == text.encode()) == (body == CONFIG)
        assert run_bytes("uninject", text=injected.decode()).stdout == text.encode()
        file = tmp_path / "file.yaml"
        file.write_bytes(text.encode())
        run_bytes(*INJECT, "--in-place", str(file))
        assert file.read_bytes() == injected


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("start", ["", BOM, f"{BOM}\n"])
def test_json_begins_and_ends_as_it_did(start: str, end: str) -> None:
    injected = run_bytes(*INJECT, text=start + AS_JSON + end).stdout.decode()
    assert injected.startswith(f"{start}{{\n")
    assert injected.endswith("}" + end)
    assert json.loads(injected.removeprefix(BOM))["spec"]["initContainers"]


def test_a_byte_order_mark_stands_nowhere_but_at_the_start(tmp_path: Path) -> None:
    for name, text in ("a", BOM + GOOD), ("b", BOM + GOOD), ("c", BOM):
        (tmp_path / name).write_text(text)
    injected = run_bytes(*INJECT, *[str(tmp_path / name) for name in "abc"]).stdout.decode()
    assert injected.startswith(BOM)
    assert injected.count(BOM) == 1
    assert BOM not in run_bytes(*INJECT, "-o", "json", text=BOM + GOOD).stdout.decode()
    assert run_bytes(*INJECT, text=BOM).stdout.decode() == BOM


@pytest.mark.parametrize("kind", ["fifo", "device", "directory"])
def test_in_place_is_for_regular_files(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "it"
    if kind == "fifo":
        os.mkfifo(path)  # opened for reading, it would wait for a writer for ever
    elif kind == "directory":
        path.mkdir()
    else:
        path = Path("/dev/null")
    done = run(*INJECT, "--in-place", str(path))
    assert done.returncode == 2
    why = "there is no .json" if kind == "directory" else "cannot be replaced: it is not a regular"
    assert done.stderr.startswith(f"{path}: {why}")


def test_names_of_files_and_resources_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[2J\nb.yaml"
    path.write_text('apiVersion: v1\nkind: Pod\nmetadata: {name: "x\\e[31my\\u2028z"}\nspec: {}\n')
    for command in (["inject"], ["uninject"], ["verify"], ["render", "envoy"], ["probe"]):
        done = run(*command, str(path))
        assert done.returncode == 2
        assert "\x1b" not in done.stderr
        assert "\u2028" not in done.stderr
        assert "\\x1b" in done.stderr
        assert all(
            line.startswith(("osm-healthcheck ", f"{tmp_path}/a\\x1b[2J\\nb.yaml: ", "Pod "))
            for line in done.stderr.splitlines()
        ), done.stderr


def test_what_holds_for_all_pods_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"{GOOD}---\n{GOOD}")
    (tmp_path / "b.yaml").write_text(GOOD)
    done = run(
        "inject", "--quiet", "--mesh", "istio", str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")
    )
    [line] = done.stderr.splitlines()
    assert line.startswith("traffic.sidecar.istio.io/excludeInboundPorts: on a pod it replaces")


def test_what_verify_prints_of_a_cluster_is_printable() -> None:
    event = (
        '---\napiVersion: v1\nkind: Event\nreason: Unhealthy\nmessage: "a\\e[31mb"\n'
        "involvedObject: {kind: Pod, name: good}\n"
    )
    done = run("verify", text=GOOD + event)
    assert "\x1b" not in done.stdout
    assert "a\\x1b[31mb" in done.stdout


@pytest.mark.parametrize("command", ["inject", "uninject", "verify", "probe"])
def test_half_a_character_in_json_is_refused_by_place(command: str) -> None:
    text = AS_JSON.replace('"good"', r'"\ud83d"')
    done = run(command, "-", text=text)
    assert done.returncode == 2
    assert "document 1 (line 1): a text in it holds half a character" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_whole_pair_in_json_is_text() -> None:
    text = AS_JSON.replace('"good"', r'"\ud83d\ude00"')
    assert "half a character" not in run(*INJECT, "-", text=text).stderr
