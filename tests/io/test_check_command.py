"""``osm-healthcheck check``: one probe without a manifest; and what the command itself says."""

import json
import os
import pty
import subprocess
import sys

import pytest

from tests.io.apps import app, hold, http_app, response
from tests.io.grpc_apps import SERVING, grpc_server
from tests.io.wire import TIMEOUT, closed_port

COMMAND = [sys.executable, "-m", "osm_healthcheck"]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=TIMEOUT)


def test_http_by_status() -> None:
    with http_app(response("200 OK")) as well, http_app(response("503 Busy")) as busy:
        good = run("check", f"http://127.0.0.1:{well.port}/healthz?full=1")
        bad = run("check", f"http://localhost:{busy.port}/")
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("success in ")
    assert well.requests[0].startswith(b"GET /healthz?full=1 HTTP/1.1\r\n")
    assert bad.returncode == 1
    assert bad.stdout.endswith(": HTTP probe failed with statuscode: 503\n")


def test_headers_are_the_probes() -> None:
    with http_app(response("200 OK")) as server:
        target = f"http://127.0.0.1:{server.port}/"
        assert run("check", "--header", "Host: shop.example", target).returncode == 0
    assert b"\r\nHost: shop.example\r\n" in server.requests[0]


def test_tcp_and_grpc() -> None:
    with grpc_server({"shop.Orders": SERVING}) as server:
        assert run("check", f"tcp://127.0.0.1:{server.port}").returncode == 0
        assert run("check", f"grpc://127.0.0.1:{server.port}").returncode == 0
        assert run("check", f"grpc://127.0.0.1:{server.port}/shop.Orders").returncode == 0
        unknown = run("check", f"grpc://127.0.0.1:{server.port}/nobody")
    assert unknown.returncode == 1
    with closed_port() as port:
        refused = run("check", f"tcp://127.0.0.1:{port}")
    assert refused.returncode == 1
    assert "connect: connection refused" in refused.stdout


def test_json_is_one_object() -> None:
    with http_app(response("404 Not Found")) as server:
        target = f"http://127.0.0.1:{server.port}/"
        done = run("check", "-o", "json", target)
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert (found["target"], found["result"], found["attempts"]) == (target, "failure", 1)
    assert found["output"] == "HTTP probe failed with statuscode: 404"


def test_the_timeout_is_for_all_of_it() -> None:
    with app(hold) as server:
        done = run("check", "--timeout", "0.2s", f"http://127.0.0.1:{server.port}/")
    assert done.returncode == 1
    assert "Client.Timeout exceeded while awaiting headers" in done.stdout


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("localhost:80", "write http://HOST/PATH"),
        ("ftp://localhost/", "write http://HOST/PATH"),
        ("http://user:pw@localhost/", "a target has no user: say it with --header"),
        ("https://user:p/w@localhost/", "https://user:xxxxx@localhost/: write http://HOST/PATH"),
        ("http://localhost:99999/@", "http://localhost:99999/@: the port must be"),
        ("tcp://localhost", "tcp needs a port"),
        ("grpc://localhost", "grpc needs a port"),
        ("tcp://localhost:0", "must be between 1 and 65535"),
        ("tcp://localhost:80/path", "has no path"),
        ("grpc://localhost:80/a/b", "one service"),
        ("http://[::1", "write http://HOST/PATH"),
    ],
)
def test_bad_targets(target: str, reason: str) -> None:
    done = run("check", target)
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_a_host_that_is_not_found_is_a_failure() -> None:
    done = run("check", "http://no-such-host.invalid/")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("failure in ")
    assert "lookup no-such-host.invalid" in done.stdout


def test_what_it_is_not_sure_about_it_suggests() -> None:
    done = run("injcet")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'osm-healthcheck: no command "injcet"; did you mean inject?\n'
    unknown = run("xyzzy").stderr
    assert "commands are serve, inject" in unknown
    assert unknown.endswith("version, help\n")
    done = run("-n", "shop", "verify")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "osm-healthcheck: the command comes first: verify, then -n\n"


def test_version_and_help() -> None:
    assert run("version").stdout == run("--version").stdout
    found = json.loads(run("version", "-o", "json").stdout)
    assert run("version").stdout == f"osm-healthcheck {found['version']}\n"
    assert run("version", "--wrong").returncode == 2
    usage = run("help", "version")
    assert (usage.returncode, usage.stderr) == (0, "")
    assert usage.stdout == "usage: osm-healthcheck version [-o json]\n"
    assert run("help", "probe").stdout == run("probe", "--help").stdout
    assert "\n  check " in run("help").stdout


def test_a_person_with_a_terminal_gets_help_and_no_sidecar() -> None:
    environ = {name: value for name, value in os.environ.items() if "OSM_HEALTHCHECK" not in name}
    control, terminal = pty.openpty()
    try:
        process = subprocess.Popen(COMMAND, stdin=terminal, stdout=terminal, env=environ)
        os.close(terminal)
        text = b""
        try:
            while data := os.read(control, 4096):
                text += data
        except OSError:
            pass  # how a terminal says that its last program has ended
        assert process.wait(TIMEOUT) == 0
    finally:
        os.close(control)
    assert text.startswith(b"usage: osm-healthcheck [COMMAND]")
