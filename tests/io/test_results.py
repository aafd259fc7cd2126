"""What can be seen: a line at every change of a result, the counts, and the form of the lines."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from osm_healthcheck.probes.targets import CheckTarget
from osm_healthcheck.server.results import MAX_UNDECLARED_TARGETS, Results, TargetResult
from osm_healthcheck.server.settings import LEVELS
from tests.io.apps import app, hold, http_app, read_head, response
from tests.io.sidecar import (
    HEALTHCHECK,
    Process,
    Sidecar,
    capture,
    http_probe,
    process,
    sidecar,
    tcp_probe,
)
from tests.io.wire import black_hole, closed_port, get

OK, SICK = response(), response("500 Oh no")


def wait_until_serving(running: Process) -> None:
    """Try until it answers: nothing is logged that could be waited for."""
    while True:
        try:
            get(running.address, HEALTHCHECK, "/healthz")
            return
        except ConnectionRefusedError:
            assert running.popen.poll() is None


def test_a_line_at_every_change_and_repeated_failures_at_debug_only() -> None:
    with http_app(OK, OK, SICK, SICK, SICK, OK) as target:
        probes = {"shop": {"readinessProbe": http_probe(target.port, "/ready")}}
        with sidecar(probes) as running:
            for _ in range(6):
                running.probe("readiness")
            lines = running.logged("probe result")
    assert [(line["level"], line["result"], line["reason"]) for line in lines] == [
        ("info", "success", "status 200"),
        ("warning", "failure", "status 500"),
        ("debug", "failure", "status 500"),
        ("debug", "failure", "status 500"),
        ("info", "success", "status 200"),
    ]
    assert lines[0]["probes"] == ["shop/readiness"]
    assert lines[0]["target"] == f"http://:{target.port}/ready"
    assert 0 < lines[0]["ms"] < 60_000


@pytest.mark.parametrize(
    ("status", "result"),
    [(101, "failure"), (200, "success"), (399, "success"), (400, "failure")],
)
def test_a_status_is_a_success_where_the_kubelet_takes_it_for_one(status: int, result: str) -> None:
    with (
        http_app(response(f"{status} X")) as target,
        sidecar({"app": {"livenessProbe": http_probe(target.port)}}) as running,
    ):
        assert running.probe().status == status
        (line,) = running.logged("probe result")
    assert (line["result"], line["reason"]) == (result, f"status {status}")


@pytest.mark.parametrize(
    ("then", "why"), [(socket.socket.close, "unexpected EOF"), (hold, "too slow")]
)
def test_an_answer_that_breaks_off_is_told_with_its_status_and_why(
    then: Callable[[socket.socket], None], why: str
) -> None:
    def serve(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        then(sock)

    with (
        app(serve) as target,
        sidecar({"app": {"livenessProbe": http_probe(target.port)}}) as running,
    ):
        answer = running.probe()
        page = get(running.address, HEALTHCHECK, "/").body.decode()
        (line,) = running.logged("probe result")
    assert (answer.status, answer.body, answer.whole) == (200, b"half", False)
    reason = f"status 200, then broken off: {why}"
    assert (line["level"], line["result"], line["reason"]) == ("warning", "broken", reason)
    assert f'<strong class="bad">broken</strong> {reason}</p>' in page
    assert f"<td>{reason}</td>" in page


def _ask_hook(running: Sidecar) -> object:
    return get(running.address, HEALTHCHECK, "/osm-post-start-hook/app")


@pytest.mark.parametrize("ask", [Sidecar.probe, _ask_hook], ids=["probe", "hook"])
def test_the_time_of_a_result_is_the_one_that_the_app_took(ask: Callable[[Sidecar], Any]) -> None:
    """It lies between what the app sees of it and what the caller does, on any machine."""
    inside: list[float] = []

    def serve(sock: socket.socket) -> None:
        read_head(sock)
        began = perf_counter()
        get(running.address, HEALTHCHECK, "/healthz")  # takes its time
        inside.append(perf_counter() - began)
        sock.sendall(response())

    with app(serve) as target:
        action = http_probe(target.port)
        containers = {"app": {"livenessProbe": action, "lifecycle": {"postStart": action}}}
        with sidecar(containers) as running:
            began = perf_counter()
            ask(running)
            outside = perf_counter() - began
            (line,) = running.logged("probe result")
    rounding = 0.01
    assert inside[0] * 1000 - rounding <= line["ms"] <= outside * 1000 + rounding


@pytest.mark.parametrize(("seconds", "ms"), [(0.00123456, 1.23), (0.98765432, 987.65), (2, 2000)])
def test_times_in_the_log_have_a_hundredth_of_a_millisecond(seconds: float, ms: float) -> None:
    lines: list[dict[str, Any]] = []
    Results(capture(lines)).record(CheckTarget(80), TargetResult.SUCCESS, seconds)
    assert [line["ms"] for line in lines] == [ms]


def test_a_check_stands_for_all_probes_of_its_target() -> None:
    with closed_port() as port:
        probes = {
            "a": {"livenessProbe": tcp_probe(port), "readinessProbe": tcp_probe(port)},
            "b": {"startupProbe": tcp_probe(port)},
        }
        with sidecar(probes) as running:
            running.check(port)
            (line,) = running.logged("probe result")
    assert line["probes"] == ["a/liveness", "a/readiness", "b/startup"]
    assert (line["level"], line["result"]) == ("warning", "refused")
    assert line["reason"] == f"dial 127.0.0.1:{port}: connection refused"


def test_the_deadline_of_a_target_is_the_longest_of_its_probes() -> None:
    with black_hole() as port:
        probes = {
            "a": {"livenessProbe": tcp_probe(port, timeoutSeconds=1)},
            "b": {"livenessProbe": tcp_probe(port, timeoutSeconds=2)},
        }
        with sidecar(probes) as running:
            answer = running.check(port)
            (line,) = running.logged("probe result")
    assert b"no answer after " in answer.body
    assert line["result"] == "timeout"
    assert line["ms"] > 1900


def test_the_lines_of_the_process_are_json_in_osm_s_form() -> None:
    with app(hold) as target, process("--liveness", f"tcp://:{target.port}") as running:
        running.wait_for("ready")
        get(
            running.address,
            HEALTHCHECK,
            "/osm-healthcheck",
            {"Original-Tcp-Port": str(target.port)},
        )
        line = running.wait_for("probe result")
    assert list(line)[:4] == ["level", "time", "component", "message"]
    assert line["level"] == "info"
    assert line["component"] == "osm-healthcheck"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", line["time"])


def test_verbosity_is_kept() -> None:
    with closed_port() as port, process("--verbosity", "error") as running:
        wait_until_serving(running)
        get(running.address, HEALTHCHECK, "/osm-healthcheck", {"Original-Tcp-Port": str(port)})
        running.popen.terminate()
        assert running.wait() == 0
        assert running.text == []


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_of_osm_serves(level: str) -> None:
    with process("--verbosity", level) as running:
        wait_until_serving(running)
        running.popen.terminate()
        assert running.wait() == 0
        shown = {line["level"] for line in running.lines}
    assert shown == ({"info"} if level in ("trace", "debug", "info") else set())
    assert len(running.lines) == len(running.text)


def test_people_get_readable_lines() -> None:
    with process(environ={"OSM_HUMAN_DEBUG_LOG": "true"}) as running:
        while not any("ready" in line for line in list(running.text)):
            assert running.popen.poll() is None
    assert running.lines == []


def test_metrics_count_results_by_target() -> None:
    with http_app(OK, SICK) as web, app(hold) as tcp, closed_port() as closed:
        probes = {
            "web": {"livenessProbe": http_probe(web.port), "readinessProbe": tcp_probe(closed)},
            "db": {"livenessProbe": tcp_probe(tcp.port), "readinessProbe": tcp_probe(tcp.port)},
        }
        with sidecar(probes) as running:
            for _ in range(3):
                running.probe()
                running.check(tcp.port)
            running.check(closed)
            answer = get(running.address, HEALTHCHECK, "/metrics")
    assert answer.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    families = {f.name: f for f in text_string_to_metric_families(answer.body.decode())}
    counted = {
        (s.labels["target"], s.labels["kinds"], s.labels["containers"], s.labels["result"]): s.value
        for s in families["osm_healthcheck_probes"].samples
    }
    assert counted == {
        (f"http://:{web.port}/", "liveness", "web", "success"): 1,
        (f"http://:{web.port}/", "liveness", "web", "failure"): 2,
        (f"tcp://:{tcp.port}", "liveness,readiness", "db", "success"): 3,
        (f"tcp://:{closed}", "readiness", "web", "refused"): 1,
    }
    latency = families["osm_healthcheck_probe_duration_seconds"].samples
    endless = {s.labels["target"]: s.value for s in latency if s.labels.get("le") == "+Inf"}
    assert endless[f"http://:{web.port}/"] == 3
    sums = [s.value for s in latency if s.name.endswith("_sum")]
    assert all(0 < value < 60 for value in sums)
    (open_now,) = families["osm_healthcheck_connections_open"].samples
    assert open_now.value == 1  # the scrape's own


def test_undeclared_targets_do_not_fill_the_memory() -> None:
    with sidecar() as running:
        for number in range(300):
            assert running.check(20000 + number).status == 404
        body = get(running.address, HEALTHCHECK, "/metrics").body.decode()
    families = {f.name: f for f in text_string_to_metric_families(body)}
    samples = families["osm_healthcheck_probes"].samples
    assert len(samples) == MAX_UNDECLARED_TARGETS + 1
    assert sum(sample.value for sample in samples) == 300
    assert {s.labels["target"]: s.value for s in samples}["other"] == 300 - MAX_UNDECLARED_TARGETS


def test_the_daemon_loads_nothing_that_it_does_not_use() -> None:
    script = """
import asyncio, json, os, sys
from osm_healthcheck.cli.main import main
from osm_healthcheck.cli.process import prepare
prepare()  # as the command does, before it imports what it serves with
from osm_healthcheck.server import serve
async def ready(settings, log):
    shutdown = asyncio.get_running_loop().create_future()
    shutdown.set_result(serve.Shutdown.FINISH)
    await serve.serve(settings, log, shutdown)
    print(json.dumps(sorted(sys.modules)))
serve.serve_until_signalled = ready
main(json.loads(sys.argv[1]))
"""

    def loaded(*arguments: str) -> set[str]:
        command = [sys.executable, "-c", script, json.dumps(["--bind", "127.0.0.9", *arguments])]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return set(json.loads(done.stdout))

    never = {"prometheus_client", "yaml", "ruamel", "grpc", "h2", "hpack", "rich.console"}
    bare, http = loaded(), loaded("--liveness", "http://:1/")
    assert not never & bare
    assert not never & http
    assert {"uvloop", "aiohttp.web", "structlog"} <= bare
    for unused in (
        "server.proxy",
        "server.metrics",
        "server.status",
        "wire.http1",
        "wire.tls",
        "wire.grpc_health",
    ):
        assert f"osm_healthcheck.{unused}" not in bare
    assert "osm_healthcheck.wire.tls" not in http
    https = {"httpGet": {"port": 1, "scheme": "HTTPS"}}
    one, two = ({name: {"livenessProbe": https} for name in names} for names in ("a", "ab"))
    assert "hpack" in loaded("--liveness", "grpc://:1")
    assert "hpack" in loaded("--probes", json.dumps(two))
    assert "hpack" not in loaded("--probes", json.dumps(one))  # its TLS is passed through
    commands = {name for name in bare if name.startswith("osm_healthcheck.cli.")}
    assert commands == {
        f"osm_healthcheck.cli.{name}"
        for name in ("commands", "main", "process", "requirements", "serve")
    }
