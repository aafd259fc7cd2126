"""inject and uninject as a user runs them: files, streams, bad input, interruptions."""

import json
import os
import pty
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMMAND = [sys.executable, "-m", "osm_healthcheck"]
INJECT = ("inject", "--mesh", "none")
TIMEOUT = 60
POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: {name}
spec:
  containers:
  - name: app
    livenessProbe:
      tcpSocket: {{port: {port}}}
"""
GOOD = POD.format(name="good", port=8080)
BAD = POD.format(name="bad", port="http")
_NO_SUCH_PORT = "container app has no port of that name; it has no named ports"
_NO_CONTENT = "did not find expected node content"


def run(*arguments: str, text: str = "", **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], input=text, capture_output=True, text=True, timeout=TIMEOUT, **more
    )


def test_bad_documents_are_named_all_at_once_and_nothing_is_written() -> None:
    text = f"{GOOD}---\n{BAD}---\na: [\n---\nkind: Pod\n---\n{GOOD}"
    done = run(*INJECT, text=text)
    assert done.returncode == 2
    assert done.stdout == ""
    port = "Pod bad: app.livenessProbe.tcpSocket.port: Invalid value"
    assert done.stderr.splitlines() == [
        f'stdin: document 2 (line 10): {port}: "http": {_NO_SUCH_PORT}',
        f"stdin: document 3 (line 20): line 22, column 1: is not YAML: {_NO_CONTENT}",
        "stdin: document 4 (line 22): apiVersion: Required value: this is not a Kubernetes object",
        "osm-healthcheck inject: 3 mistakes; nothing was written",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", 'line 2, column 1: the key "a" stands twice in a mapping'),
        ("a: &a [*a]\n", "an alias contains itself"),
        ("- 1\n", "is not a Kubernetes object: it must be a mapping"),
        ("just text\n", "is not a Kubernetes object: it must be a mapping"),
        ("a:\n\tb: 1\n", "line 2, column 1: is not YAML: found character that cannot start any"),
        ("a: \x07\n", "is not YAML: control characters are not allowed"),
        ('{"a": 1, "a": 2}', 'the key "a" stands twice in a mapping'),
        ('{"a": NaN}', "NaN is no number"),
        ('{"kind": "Pod",\n "apiVersion" 1}', "line 2, column 15: is not JSON: Expecting ':'"),
        ('{"apiVersion": "v1", "kind": "ConfigMap"} x', "document 2 (line 1): line 1: is not JSON"),
        ("{" * 100_000, "is not"),
        ("[" * 100_000, "is nested too deeply"),
        ('{"a":' + "[" * 100_000, "document 1 (line 1): is nested too deeply"),
        (
            "a: &a [x, x]\n"
            + "".join(
                f"b{n}: &b{n} [*{p}, *{p}, *{p}]\n"
                for n, p in enumerate(["a", *(f"b{n}" for n in range(20))])
            ),
            "its aliases expand without measure",
        ),
        (GOOD.replace("containers:", "container:"), "Pod good: spec.containers: Required value"),
        (GOOD.replace("name: app", "name: App"), 'spec.containers[0].name: Invalid value: "App"'),
        (GOOD.replace("8080", "0"), "Invalid value: 0: must be between 1 and 65535, inclusive"),
        (GOOD.replace("8080", '"8080"'), "must contain at least one letter (a-z)"),
        (GOOD.replace("tcpSocket: {port: 8080}", "tcpSocket: {}"), "must be between 1 and 65535"),
    ],
)
def test_bad_input(text: str, message: str) -> None:
    done = run(*INJECT, text=text)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_input_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(GOOD.replace("good", "caf\xe9").encode("latin-1"))
    done = run(*INJECT, str(path))
    assert done.returncode == 2
    assert f"{path}: is not UTF-8: byte 0xe9" in done.stderr


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    for arguments in ([], ["--in-place"]):
        done = run(*INJECT, *arguments, str(missing), str(tmp_path))
        assert done.returncode == 2
        assert f"{missing}: cannot be " in done.stderr
        assert "No such file or directory" in done.stderr
        assert f"{tmp_path}: there is no .json, .yaml or .yml file in it; -R looks" in done.stderr
        assert "2 mistakes; nothing was written" in done.stderr


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n---\n# nothing\n"])
def test_nothing_in_nothing_out(text: str) -> None:
    done = run(*INJECT, text=text)
    assert (done.returncode, done.stdout, done.stderr) == (0, text, "")


def test_other_kinds_pass_through_to_the_character() -> None:
    text = (
        "# a chart's own remark\r\nkind:   ConfigMap\r\napiVersion: v1\r\n"
        "data: {on: yes, n: 010,\r\n t: 12:30:45, s: 'it''s', d: 2024-01-01}\r\n"
    )
    secret = '{"apiVersion": "v1",   "kind": "Secret"}\n'
    for document in (text, secret, f"{text}--- # next\r\n{text}", secret * 3):
        done = run(*INJECT, text=document.replace("\r\n", "\n"))
        assert done.stdout == document.replace("\r\n", "\n")
    raw = subprocess.run([*COMMAND, *INJECT], input=text.encode(), capture_output=True, check=True)
    assert raw.stdout == text.encode()


def test_line_ends_and_a_byte_order_mark() -> None:
    text = "\ufeff" + GOOD.replace("\n", "\r\n")
    done = subprocess.run([*COMMAND, *INJECT], input=text.encode(), capture_output=True, check=True)
    assert b"15904" in done.stdout
    assert done.stdout.count(b"\n") == done.stdout.count(b"\r\n")
    back = subprocess.run(
        [*COMMAND, "uninject"], input=done.stdout, capture_output=True, check=True
    )
    assert back.stdout.decode() == text


def test_what_was_left_alone_is_said_once_each() -> None:
    host = GOOD.replace("spec:\n", "spec:\n  hostNetwork: yes\n")
    windows = GOOD.replace("spec:\n", "spec:\n  os: {name: windows}\n")
    done = run(*INJECT, text=f"{host}---\n{windows}")
    assert done.stdout == f"{host}---\n{windows}"
    first, second, summary = done.stderr.splitlines()
    assert first.startswith('pod "good" skipped: hostNetwork: its probes ask the node')
    assert second == 'pod "good" skipped: a Windows pod'
    assert summary == "osm-healthcheck inject: 2 skipped"


def test_in_place_replaces_all_files_or_none(tmp_path: Path) -> None:
    good, bad, link = tmp_path / "good.yaml", tmp_path / "bad.yaml", tmp_path / "link.yaml"
    good.write_text(GOOD)
    good.chmod(0o640)
    bad.write_text(BAD)
    link.symlink_to(good)
    done = run(*INJECT, "--in-place", str(good), str(bad))
    assert done.returncode == 2
    assert good.read_text() == GOOD
    assert {one.name for one in tmp_path.iterdir()} == {"good.yaml", "bad.yaml", "link.yaml"}
    done = run(*INJECT, "--in-place", str(link))
    assert (done.returncode, done.stdout) == (0, "")
    assert link.is_symlink()
    assert "15904" in good.read_text()
    assert stat.S_IMODE(good.stat().st_mode) == 0o640
    before = good.stat()
    assert run(*INJECT, "--in-place", str(good)).returncode == 0
    assert good.stat().st_ino == before.st_ino, "nothing has changed: it must stay"
    done = run("uninject", "--in-place", str(good))
    assert (done.returncode, done.stderr) == (0, 'pod "good" given back\n')
    assert good.read_text() == GOOD
    again = run("uninject", "--in-place", str(good))
    assert (again.returncode, again.stderr) == (
        0,
        "osm-healthcheck uninject: nothing to give back\n",
    )
    assert run("uninject", "--quiet", str(good)).stderr == ""
    assert {one.name for one in tmp_path.iterdir()} == {"good.yaml", "bad.yaml", "link.yaml"}


def test_several_files_make_one_stream(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        text = POD.format(name=name, port=80)
        (tmp_path / f"{name}.yaml").write_text(text.rstrip("\n") if name == "a" else text)
    (tmp_path / "d.json").write_text('{"apiVersion": "v1", "kind": "Secret"}')
    paths = [str(path) for path in sorted(tmp_path.iterdir())]
    done = run(*INJECT, *paths)
    assert done.stdout.count("\n---\n") == 3
    assert done.stdout.endswith('"kind": "Secret"}')
    again = run("uninject", text=done.stdout)
    assert [part.splitlines()[3] for part in again.stdout.split("---\n")[:3]] == [
        "  name: a",
        "  name: b",
        "  name: c",
    ]


def test_output_in_the_other_format() -> None:
    as_json = run(*INJECT, "-o", "json", text=f"{GOOD}---\n# nothing\n---\n{GOOD}")
    decoder = json.JSONDecoder()
    first, end = decoder.raw_decode(as_json.stdout)
    second, _ = decoder.raw_decode(as_json.stdout[end:].lstrip())
    assert first == second
    assert first["spec"]["initContainers"][1]["name"] == "osm-healthcheck"
    as_yaml = run("uninject", "-o", "yaml", text=as_json.stdout)
    assert as_yaml.stdout.startswith("---\napiVersion: v1\nkind: Pod\n")
    assert as_yaml.stdout.count("---\n") == 2
    infinite = run(*INJECT, "-o", "json", text="apiVersion: v1\nkind: X\na: .inf\n")
    assert "has a number that JSON cannot write" in infinite.stderr
    assert infinite.returncode == 2


def test_mesh_osm_rewrites_nothing_and_says_what_to_do() -> None:
    done = run(*INJECT, "--mesh", "osm", text=GOOD)
    assert done.stdout == GOOD
    assert "OSM_DEFAULT_HEALTHCHECK_CONTAINER_IMAGE=osm-healthcheck:" in done.stderr


def test_the_mesh_is_the_one_that_shows() -> None:
    namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {%s}}\n---\n"
    meshed = GOOD.replace("  name: good\n", "  name: good\n  namespace: shop\n")
    istio = namespace % "istio-injection: enabled"
    done = run("inject", text=istio + meshed)
    assert done.returncode == 0
    assert done.stdout == run("inject", "--mesh", "istio", text=istio + meshed).stdout
    assert run("inject", text=done.stdout).stdout == done.stdout
    nothing = meshed.replace("livenessProbe:", "other:")
    done = run("inject", text=f"{namespace % ''}{nothing}---\n{meshed}")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Pod shop/good: no mesh shows in the manifest" in done.stderr
    assert "1 mistake; nothing was written" in done.stderr
    osm = meshed.replace(
        "spec:", "  annotations: {openservicemesh.io/sidecar-injection: yes}\nspec:"
    )
    osm = osm.replace("yes}", "'yes'}")
    done = run("inject", text=f"{osm}---\n{osm}")
    assert done.stdout == f"{osm}---\n{osm}"
    assert done.stderr.count("OSM_DEFAULT_HEALTHCHECK_CONTAINER_IMAGE=") == 1
    node = run(
        "inject",
        "--proxy",
        "node",
        text=istio.replace(
            "istio-injection: enabled", "healthcheck.openservicemesh.io/mesh: consul"
        )
        + meshed,
    )
    assert (node.returncode, node.stdout) == (2, "")
    assert "consul takes what the node's process asks the app" in node.stderr


def test_without_a_standard_output_nothing_is_said_to_be_injected() -> None:
    command = ["sh", "-c", 'exec "$@" >&-', "-", *COMMAND, *INJECT]
    done = subprocess.run(command, input=GOOD, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "osm-healthcheck: cannot write: Bad file descriptor\n"


def test_a_reader_that_leaves_ends_it_quietly() -> None:
    with subprocess.Popen(
        [*COMMAND, *INJECT, "--quiet"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write((GOOD + "---\n").encode() * 500)
        process.stdin.close()
        assert process.wait(TIMEOUT) == 128 + signal.SIGPIPE
        assert process.stderr.read() == b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    path, second = tmp_path / "good.yaml", tmp_path / "warned.yaml"
    path.write_text(GOOD)
    # more lines on stderr than a pipe holds: while nobody reads them, it cannot end
    warned = GOOD.replace("spec:\n", "spec:\n  hostNetwork: yes\n") + "---\n"
    second.write_text(warned * 2_000)
    with subprocess.Popen(
        [*COMMAND, *INJECT, "--in-place", str(path), str(second)],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert "skipped" in process.stderr.readline()
        process.send_signal(number)
        assert "Traceback" not in process.stderr.read()
        assert process.wait(TIMEOUT) == 128 + number
    assert path.read_text() == GOOD
    assert sorted(one.name for one in tmp_path.iterdir()) == ["good.yaml", "warned.yaml"]


def test_a_terminal_sees_progress_and_a_pipe_does_not(tmp_path: Path) -> None:
    path = tmp_path / "long.yaml"
    text = (GOOD + "---\n") * 600
    assert run(*INJECT, "--quiet", text=text).stderr == ""
    terminal, other_end = pty.openpty()
    path.write_text(text)
    with subprocess.Popen(
        [*COMMAND, *INJECT, "--quiet", str(path)], stdout=subprocess.DEVNULL, stderr=other_end
    ) as process:
        os.close(other_end)
        seen = b""
        while True:
            try:
                piece = os.read(terminal, 4096)
            except OSError:
                break
            if not piece:
                break
            seen += piece
        assert process.wait(TIMEOUT) == 0
    os.close(terminal)
    assert re.search(rb"\r\[#+ +\] +[0-9]+%  [0-9]+ documents", seen)
    assert seen.endswith(b"\r\x1b[K"), "the line is cleared at the end"


def test_memory_does_not_grow_with_the_stream() -> None:
    """Peak memory (RSS) with 3,000 documents is that with 300, give or take a few megabytes."""
    script = (
        "import resource, runpy, sys, atexit\n"
        "atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "
        "file=sys.stderr))\n"
        "sys.argv = ['osm-healthcheck', 'inject', '--mesh', 'none']\n"
        "runpy.run_module('osm_healthcheck', run_name='__main__')\n"
    )

    def peak(count: int) -> int:
        done = subprocess.run(
            [sys.executable, "-c", script],
            input=(GOOD + "---\n") * count,
            capture_output=True,
            text=True,
            check=True,
            timeout=TIMEOUT,
        )
        return int(done.stderr.split()[-1])

    assert peak(3000) < peak(300) + 12 * 1024
