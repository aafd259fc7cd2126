"""``osm-healthcheck probe`` on its own machine: files, terminals, signals, exit codes."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.io.apps import http_app, response
from tests.io.wire import TIMEOUT, closed_port

COMMAND = [sys.executable, "-m", "osm_healthcheck", "probe"]
ENVIRON = {**os.environ, "COLUMNS": "150", "LINES": "24", "TERM": "xterm", "NO_COLOR": "1"}


def manifest(*containers: dict[str, Any], **spec: Any) -> str:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bookstore"}}
    return yaml.safe_dump({**pod, "spec": {"containers": list(containers), **spec}})


def probe(text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command(*arguments, "-", text=text)


def run_command(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env=ENVIRON,
        check=False,
    )


def http_get(port: int | str, **more: Any) -> dict[str, Any]:
    return {"httpGet": {"port": port, "path": "/health"}, **more}


def test_once_all_is_well() -> None:
    with http_app(response()) as app:
        container = {
            "name": "app",
            "ports": [{"name": "web", "containerPort": app.port}],
            "livenessProbe": http_get("web"),
            "readinessProbe": {"tcpSocket": {"port": app.port}},
        }
        ran = probe(manifest(container), "--once")
    # a shorter time is padded to the width of a longer one
    lines = [re.sub(r"[\d.]+ms +", "<ms>  ", line) for line in ran.stdout.splitlines()]
    times = "delay=0s timeout=1s period=10s #success=1 #failure=3"
    assert lines == [
        f"app liveness   success  <ms>  http-get http://:web/health {times}",
        f"app readiness  success  <ms>  tcp-socket :{app.port} {times}",
    ]
    assert (ran.returncode, ran.stderr) == (0, "")


def test_once_with_nobody_listening_is_what_the_kubelet_would_report() -> None:
    with closed_port() as port:
        ran = probe(manifest({"name": "app", "livenessProbe": http_get(port)}), "--once")
    message = f'Get "http://127.0.0.1:{port}/health": dial tcp 127.0.0.1:{port}: connect: '
    assert message + "connection refused" in ran.stdout
    assert (ran.returncode, ran.stderr) == (1, "")


def test_exec_probes_are_shown_as_not_run_and_hold_up_nothing() -> None:
    with http_app(response()) as app:
        container = {
            "name": "app",
            "startupProbe": {"exec": {"command": ["cat", "/tmp/healthy"]}},
            "readinessProbe": {"tcpSocket": {"port": app.port}, "periodSeconds": 1},
        }
        once = probe(manifest(container), "--once")
        watched = probe(manifest(container), "--for", "0.5s")
    assert re.search(r"app startup +- +not run: an exec probe belongs inside", once.stdout)
    assert "exec [cat /tmp/healthy] delay=0s" in watched.stdout
    assert "READY 1/1" in watched.stdout
    assert (once.returncode, watched.returncode) == (0, 0)


def test_port_map_and_host_header() -> None:
    with http_app(response()) as app:
        text = manifest({"name": "app", "livenessProbe": http_get(80)})
        ran = probe(text, "--once", "--port-map", f"80={app.port}")
    assert ran.returncode == 0
    assert b"\r\nHost: 127.0.0.1:80\r\n" in app.requests[0]


def test_one_container_of_two() -> None:
    with http_app(response()) as app, closed_port() as closed:
        text = manifest(
            {"name": "app", "livenessProbe": http_get(app.port)},
            {"name": "other", "livenessProbe": http_get(closed)},
        )
        assert probe(text, "--once", "--container", "app").returncode == 0
        assert probe(text, "--once").returncode == 1
        ran = probe(text, "--once", "--container", "nobody")
    assert ran.returncode == 2
    assert ran.stderr == '--container: no "nobody"; there are app, other\n'


def test_every_error_at_once_in_the_api_servers_words() -> None:
    ran = probe(
        manifest(
            {
                "name": "app",
                "livenessProbe": http_get(80, successThreshold=2),
                "readinessProbe": http_get(0, terminationGracePeriodSeconds=5),
            },
            {"name": "other", "startupProbe": {}},
        )
    )
    path = "stdin: spec.containers[0]"
    assert ran.stderr == (
        f"{path}.livenessProbe.successThreshold: Invalid value: 2: must be 1\n"
        f"{path}.readinessProbe.httpGet.port: Invalid value: 0: "
        "must be between 1 and 65535, inclusive\n"
        f"{path}.readinessProbe.terminationGracePeriodSeconds: Invalid value: 5: "
        "must not be set for readinessProbes\n"
        "stdin: spec.containers[1].startupProbe: Required value: must specify a handler type\n"
    )
    assert (ran.returncode, ran.stdout) == (2, "")


def test_several_files_and_a_port_that_has_no_name(tmp_path: Path) -> None:
    with http_app(response()) as app:
        well = manifest({"name": "app", "livenessProbe": http_get(app.port)})
        for name in ("a.yaml", "b.yaml"):
            (tmp_path / name).write_text(well)
        (tmp_path / "named.yaml").write_text(
            manifest({"name": "app", "livenessProbe": http_get("web")})
        )
        files = [str(tmp_path / name) for name in ("a.yaml", "b.yaml", "named.yaml")]
        ran = run_command(*files[:2], "--once")
        assert ran.returncode == 0
        assert [line.split()[-1] for line in ran.stdout.splitlines()].count("#failure=3") == 2
        assert f"({files[1]})" in ran.stdout, "the second pod of that name"
        unknown = run_command(files[2], "--once")
    assert unknown.returncode == 1
    assert '"web": container app has no port of that name; it has no named' in unknown.stdout
    assert "strconv" not in unknown.stdout
    (tmp_path / "a.yaml").write_text("a: [")
    (tmp_path / "b.yaml").write_text(manifest({"name": "app", "livenessProbe": {}}))
    broken = run_command(*files[:2])
    assert (broken.returncode, broken.stdout) == (2, "")
    first, second = broken.stderr.splitlines()
    assert first.startswith(f"{files[0]}: document 1 (line 1): ")
    assert second.startswith(f"{files[1]}: spec.containers[0].livenessProbe: Required value")


def test_each_of_several_pods_of_one_name_has_its_own_row(tmp_path: Path) -> None:
    with http_app(response()) as app, closed_port() as closed:
        documents = [
            manifest({"name": "app", "livenessProbe": http_get(port)})
            for port in (app.port, closed, closed)
        ]
        ran = run_command("--once", text="---\n".join(documents))
        objects = run_command("--once", "-o", "json", text="---\n".join(documents))
    rows = [line.partition(" app ")[0::2] for line in ran.stdout.splitlines()]
    assert [(name, line.split()[1]) for name, line in rows] == [
        ("bookstore", "success"),
        ("bookstore (2)", "failure"),
        ("bookstore (3)", "failure"),
    ]
    assert [json.loads(line)["pod"] for line in objects.stdout.splitlines()] == [
        name for name, _ in rows
    ]


def test_paths_of_a_deployment() -> None:
    template = {"spec": {"containers": [{"name": "app", "livenessProbe": {}}]}}
    text = yaml.safe_dump(
        {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": template}}
    )
    ran = probe(text)
    assert ran.stderr == (
        "stdin: spec.template.spec.containers[0].livenessProbe: Required value: "
        "must specify a handler type\n"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "stdin: no pod in it"),
        ("a: b: c", "stdin: "),
        ("just text", "is not a Kubernetes object"),
        ("{apiVersion: v1, kind: Service, metadata: {name: x}}", "stdin: no pod in it"),
    ],
)
def test_no_manifest(text: str, problem: str) -> None:
    ran = probe(text)
    assert problem in ran.stderr
    assert "Traceback" not in ran.stderr
    assert (ran.returncode, ran.stdout) == (2, "")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--for", "soon"], 'argument --for: not a time: "soon"; write 30s or 2m'),
        (["--for", "0s"], "argument --for: must be more than 0s"),
        (["--port-map", "80:8080"], "argument --port-map: not two ports from 1 to 65535"),
        (["--port-map", "80=1,80=2"], "argument --port-map: port 80 stands there twice"),
        (["--once", "--for", "1s"], "argument --for: not allowed with argument --once"),
        (["--host", "x" * 64, "--once"], f"--host: lookup {'x' * 64}"),
        (["--host", "127.0.0.1%lo", "--once"], "--host: lookup 127.0.0.1%lo"),
    ],
)
def test_wrong_usage(arguments: list[str], problem: str) -> None:
    ran = probe(manifest({"name": "app", "livenessProbe": http_get(80)}), *arguments)
    assert problem in ran.stderr
    assert ran.returncode == 2


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    ran = subprocess.run([*COMMAND, str(path)], capture_output=True, text=True, check=False)
    assert ran.stderr == f"{path}: cannot be read: No such file or directory\n"
    assert ran.returncode == 2


def test_what_an_app_says_cannot_move_the_cursor() -> None:
    with http_app(response("302 X", b"\x1b[2Jgone\r\n")) as app:
        ran = probe(manifest({"name": "app", "livenessProbe": http_get(app.port)}), "--once")
    assert r"Probe terminated redirects, Response body: \x1b[2Jgone" in ran.stdout
    assert ran.returncode == 0, "a warning is a success"


class Running:
    """The command in the background, its output line by line."""

    def __init__(self, text: str, *arguments: str) -> None:
        self.popen = subprocess.Popen(
            [*COMMAND, *arguments, "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRON,
        )
        assert self.popen.stdin is not None
        self.popen.stdin.write(text)
        self.popen.stdin.close()
        self.popen.stdin = None
        self.lines: list[str] = []

    def read_until(self, condition: Callable[[str], bool]) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.lines.append(line.rstrip("\n"))
            if condition(line):
                return
        raise AssertionError(self.lines)

    def end(self, number: signal.Signals = signal.SIGINT) -> tuple[str, str]:
        self.popen.send_signal(number)
        return self.popen.communicate(timeout=TIMEOUT)


def sick_pod(port: int) -> str:
    liveness = http_get(port, periodSeconds=1, failureThreshold=2)
    return manifest({"name": "app", "livenessProbe": liveness}, terminationGracePeriodSeconds=60)


def test_events_of_a_sick_app_as_lines() -> None:
    with http_app(response("503 Service Unavailable")) as app:
        running = Running(sick_pod(app.port))
        running.read_until(lambda line: "Killing" in line)
        rest, errors = running.end()
    times = "delay=0s timeout=1s period=1s #success=1 #failure=2"
    failed = "Liveness probe failed: HTTP probe failed with statuscode: 503"
    lines = [re.sub(r"\d+s( |\))", r"<s>\1", line).rstrip() for line in running.lines]
    lines = [re.sub(r"  +", "  ", line) for line in lines]
    assert lines == [
        "Name:  bookstore",
        "Containers:",
        "  app:",
        f"  Liveness:  http-get http://:{app.port}/health {times}".replace("0s ", "<s> ").replace(
            "1s ", "<s> "
        ),
        "Events:",
        "  Type  Reason  Elapsed  Message",
        "  ----  ------  ----  -------",
        "  Normal  Started  <s>  spec.containers{app}: Container started",
        "  -  -  <s>  bookstore  READY 1/1  RESTARTS 0",
        f"  Warning  Unhealthy  <s>  spec.containers{{app}}: {failed}",
        f"  Warning  Unhealthy  <s> (x2 over <s>)  spec.containers{{app}}: {failed}",
        (
            "  Normal  Killing  <s>  "
            "spec.containers{app}: Container app failed liveness probe, will be restarted"
        ),
    ]
    assert rest == "bookstore  READY 1/1  RESTARTS 0\n"
    assert (running.popen.returncode, errors) == (1, "")


def test_events_of_a_sick_app_as_json() -> None:
    with http_app(response("503 Service Unavailable")) as app:
        running = Running(sick_pod(app.port), "-o", "json")
        running.read_until(lambda line: '"Killing"' in line)
        _, errors = running.end(signal.SIGTERM)
    objects = [json.loads(line) for line in running.lines]
    assert [
        (one["kind"], one.get("reason") or one.get("result") or one.get("ready")) for one in objects
    ] == [
        ("Event", "Started"),
        ("Status", True),
        ("Probe", "failure"),
        ("Event", "Unhealthy"),
        ("Probe", "failure"),
        ("Event", "Unhealthy"),
        ("Event", "Killing"),
    ]
    assert objects[5] | {"time": "", "firstTimestamp": "", "lastTimestamp": ""} == {
        "kind": "Event",
        "pod": "bookstore",
        "container": "app",
        "type": "Warning",
        "reason": "Unhealthy",
        "message": "Liveness probe failed: HTTP probe failed with statuscode: 503",
        "count": 2,
        "sent": True,
        "time": "",
        "firstTimestamp": "",
        "lastTimestamp": "",
    }
    assert objects[4]["onHold"] is True
    assert (running.popen.returncode, errors) == (1, "")


def test_a_reader_that_leaves_ends_the_watch() -> None:
    with http_app(response("503 X")) as app:
        running = Running(sick_pod(app.port))
        running.read_until(lambda line: "Events:" in line)
        assert running.popen.stdout is not None
        running.popen.stdout.close()
        assert running.popen.wait(TIMEOUT) == 128 + signal.SIGPIPE
        assert running.popen.stderr is not None
        with running.popen.stderr as errors:
            assert errors.read() == ""


def test_a_terminal_gets_a_table_and_is_given_back() -> None:
    with http_app(response("503 X", b"\x1b[31mred")) as app:
        output, before, after, code = watch_on_a_terminal(sick_pod(app.port))
    drawn, _, rest = output.rpartition("\x1b[?1049l")
    assert drawn.startswith("\x1b[?1049h\x1b[?25l")
    assert drawn.endswith("\x1b[?7h\x1b[?25h"), "the cursor is back"
    assert before == after
    assert re.search(r"app liveness +failure +1 of 2 +\ds +[\d.]+ms +http-get", drawn)
    assert "Container app failed liveness probe, will be restarted" in rest, "the end is kept"
    assert "\x1b" not in rest
    assert code == 1


def watch_on_a_terminal(text: str) -> tuple[str, Any, Any, int]:
    """Run a watch on a terminal of its own until the container is killed, then Ctrl-C."""
    leader, follower = pty.openpty()
    before = termios.tcgetattr(follower)
    popen = subprocess.Popen(
        [*COMMAND, "-"],
        stdin=subprocess.PIPE,
        stdout=follower,
        stderr=follower,
        env=ENVIRON,
        start_new_session=True,
    )
    assert popen.stdin is not None
    popen.stdin.write(text.encode())
    popen.stdin.close()
    output = b""
    while b"Killing" not in output:
        output += os.read(leader, 65536)
    popen.send_signal(signal.SIGINT)
    while b"RESTARTS" not in output.partition(b"\x1b[?1049l")[2]:
        output += os.read(leader, 65536)
    code = popen.wait(TIMEOUT)
    after = termios.tcgetattr(follower)
    os.close(leader)
    os.close(follower)
    return output.decode(), before, after, code
