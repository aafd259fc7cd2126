"""``diagnose``: two verdicts on one app, and why they are what they are."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from osm_healthcheck.diagnosis.comparison import Comparison, compare, examine, verdict
from osm_healthcheck.diagnosis.local_sidecar import local_sidecar
from osm_healthcheck.diagnosis.probe_pairs import find_probe_pairs
from osm_healthcheck.kubelet.address import PodAddress
from osm_healthcheck.wire.dial import Network
from tests.io.apps import app, hold, http_app, read_head, response
from tests.io.kubelet_servers import grpc_server, serve_vector
from tests.io.sidecar import sidecar
from tests.io.unshare import run_beside_a_holder_of_15904
from tests.io.wire import TIMEOUT, closed_port
from tests.kubelet_vectors import group, vector_id

COMMAND = [sys.executable, "-m", "osm_healthcheck"]


def pod(**probes: dict[str, Any]) -> dict[str, Any]:
    container = {"name": "app", **{f"{kind}Probe": value for kind, value in probes.items()}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "bookstore"},
        "spec": {"containers": [container]},
    }


def findings(manifest: dict[str, Any], *, patience: int = 0) -> list[Comparison]:
    """What comes out with a sidecar of its own; why only where there is ``patience``."""

    async def run() -> list[Comparison]:
        network = Network()
        (found,) = find_probe_pairs(manifest, None, {})
        async with local_sidecar(found.declaration, "127.0.0.1") as address:
            result = []
            for pair in found.pairs:
                both = PodAddress(network=network), PodAddress(address, network=network)
                if patience:
                    result.append(await examine(pair, *both, patience))
                else:
                    result.append(await compare(pair, *both))
        await network.lingering.settle()
        return result

    return asyncio.run(run())


def with_a_server(vector: dict[str, Any]) -> bool:
    expect = vector["expect"]
    asks_nobody = "url" in expect or "errorContains" in expect
    refuses = vector["group"] in ("headers", "request_target") and "output" in expect
    return not (asks_nobody or refuses or vector["id"] == "tcp-05")


VECTORS = [
    vector
    for vector in group("request_target", "headers", "http", "tls", "redirect", "tcp", "grpc")
    if with_a_server(vector)
]


@pytest.mark.parametrize("vector", VECTORS, ids=vector_id)
def test_verdict_through_the_sidecar_is_the_direct_one(vector: dict[str, Any]) -> None:
    with serve_vector(vector) as scenario:
        (finding,) = findings(pod(liveness=scenario.manifest))
    assert verdict(finding.direct) == verdict(finding.through), finding
    if "result" in vector["expect"] and "error" not in vector["expect"]:
        assert verdict(finding.through) == vector["expect"]["result"]


# The manifests of the documented examples, with ports that an app of the test listens on.
EXAMPLES: list[Callable[[int], dict[str, dict[str, Any]]]] = [
    lambda port: {
        "liveness": {
            "httpGet": {"path": "/health", "port": port},
            "initialDelaySeconds": 5,
            "periodSeconds": 5,
        }
    },
    lambda port: {"readiness": {"tcpSocket": {"port": port}}},
    lambda port: {
        "readiness": {
            "httpGet": {"path": "/healthz", "port": port},
            "initialDelaySeconds": 3,
            "periodSeconds": 5,
            "timeoutSeconds": 2,
            "successThreshold": 2,
            "failureThreshold": 5,
        }
    },
    lambda port: {
        "readiness": {
            "httpGet": {"port": port, "path": "/"},
            "failureThreshold": 1,
            "periodSeconds": 1,
        },
        "liveness": {
            "httpGet": {"port": port, "path": "/"},
            "failureThreshold": 3,
            "periodSeconds": 3,
        },
    },
    lambda port: {
        "liveness": {"httpGet": {"path": "/liveness", "port": port, "scheme": "HTTP"}},
        "startup": {"tcpSocket": {"port": port}},
    },
]


@pytest.mark.parametrize("status", ["200 OK", "503 Service Unavailable"])
@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_agree(example: Callable[[int], dict[str, dict[str, Any]]], status: str) -> None:
    with http_app(response(status)) as running:
        for finding in findings(pod(**example(running.port))):
            assert finding.agrees, finding


def why(manifest: dict[str, Any]) -> str:
    (finding,) = findings(manifest, patience=2)
    return finding.why


def http_get(port: int, **more: Any) -> dict[str, Any]:
    return {"httpGet": {"port": port, "path": "/health"}, **more}


def test_not_listening() -> None:
    with closed_port() as port:
        assert why(pod(liveness=http_get(port))) == (
            f"not listening: nobody listens on port {port} of 127.0.0.1"
        )


def test_listening_on_another_address_only() -> None:
    with http_app(response(), address="127.0.0.2") as running:
        port = running.port
        assert why(pod(readiness={"tcpSocket": {"port": port}})) == (
            f"listening on another address only: port {port} on 127.0.0.2, not on 127.0.0.1"
        )


def test_timeout_too_short() -> None:
    late: list[bytes] = []

    def serve(sock: Any) -> None:
        late.append(read_head(sock))
        if len(late) > 2:  # asked directly, by way of the sidecar, and then with patience
            sock.sendall(response())
        else:
            hold(sock)

    with app(serve) as running:
        assert why(pod(liveness=http_get(running.port))).startswith("timeout too short: the app ")


def test_no_answer_at_all() -> None:
    with app(hold) as running:
        assert why(pod(liveness=http_get(running.port))) == "no answer: not within 2s either"


def test_wrong_host() -> None:
    def serve(sock: Any) -> None:
        is_right = b"\r\nHost: localhost\r\n" in read_head(sock)
        sock.sendall(response("200 OK" if is_right else "421 Misdirected Request"))

    with app(serve) as running:
        text = why(pod(liveness=http_get(running.port)))
    assert text == (
        f"wrong Host: the app answers 421 for Host 127.0.0.1:{running.port} and is well for "
        "localhost; set a Host among the probe's httpHeaders"
    )


def test_status_code_redirect_and_broken_answer() -> None:
    with http_app(response("503 X")) as running:
        assert why(pod(liveness=http_get(running.port))) == "status code: the app answers 503"
    with http_app(response("302 X", b"", "Location: http://elsewhere.example/")) as running:
        assert why(pod(liveness=http_get(running.port))).startswith("redirect: to another host")
    with http_app(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf") as running:
        assert why(pod(liveness=http_get(running.port))) == (
            "broken answer: unexpected EOF; the kubelet does not count it"
        )


def test_not_a_grpc_server() -> None:
    with http_app(response()) as running:
        text = why(pod(liveness={"grpc": {"port": running.port}}))
    assert text == (f"not a gRPC server: what listens on port {running.port} does not speak HTTP/2")


def diagnose(manifest: object, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "diagnose", *arguments, "-"],
        input=yaml.safe_dump(manifest),
        capture_output=True,
        text=True,
        timeout=TIMEOUT * 2,
        env={**os.environ, "OSM_HEALTHCHECK_PROBES": "ignored"},
        check=False,
    )


def test_command_all_agree() -> None:
    with http_app(response()) as running:
        ran = diagnose(
            pod(liveness=http_get(80), readiness={"tcpSocket": {"port": 80}}),
            "--port-map",
            f"80={running.port}",
        )
    assert ran.stdout == (
        "app liveness: agree, success\napp readiness: agree, success\nall 2 verdicts agree\n"
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def injected(manifest: object) -> Any:
    ran = subprocess.run(
        [*COMMAND, "inject", "--mesh", "none", "-"],
        input=yaml.safe_dump(manifest),
        capture_output=True,
        text=True,
        check=True,
    )
    return yaml.safe_load(ran.stdout)


def test_command_asks_a_running_sidecar_about_an_injected_manifest() -> None:
    with http_app(response()) as running, closed_port() as closed:
        probes = {"liveness": http_get(running.port), "startup": {"tcpSocket": {"port": closed}}}
        declared = {"app": {f"{kind}Probe": value for kind, value in probes.items()}}
        manifest = injected(pod(**probes))
        with sidecar(declared, "--target-host", "127.0.0.1") as one:
            ran = diagnose(manifest, "--sidecar", one.address, "-o", "json")
    liveness, startup = (json.loads(line) for line in ran.stdout.splitlines())
    assert (liveness["agree"], liveness["sidecar"]["verdict"]) == (True, "success")
    assert (startup["agree"], startup["sidecar"]["verdict"]) == (True, "failure")
    assert startup["why"].startswith("not listening")
    assert ran.returncode == 0


def test_command_without_a_sidecar_running() -> None:
    with http_app(response()) as running:
        ran = diagnose(pod(liveness=http_get(running.port)), "--sidecar", "127.200.1.1")
    assert "app liveness: DIFFER\n" in ran.stdout
    assert "why:      sidecar not running: dial tcp 127.200.1.1:15901: connect" in ran.stdout
    assert ran.returncode == 1


@pytest.mark.parametrize("declared", ["readiness", "another"])
def test_command_with_a_probe_that_the_sidecar_was_not_told_of(declared: str) -> None:
    def healthy(_request: object, _context: object) -> Any:
        from grpc_health.v1 import health_pb2

        return health_pb2.HealthCheckResponse(status="SERVING")

    with http_app(response()) as running, grpc_server(healthy) as other:
        probes = {"liveness": http_get(running.port), "readiness": {"grpc": {"port": other}}}
        told = (
            {"app": {"readinessProbe": probes["readiness"]}}
            if declared == "readiness"
            else {"other": {"livenessProbe": probes["liveness"]}}
        )
        with sidecar(told, "--target-host", "127.0.0.1") as one:
            ran = diagnose(pod(**probes), "--sidecar", one.address)
    if declared == "readiness":
        assert "app liveness: DIFFER" in ran.stdout
        assert "not declared: the sidecar runs, but it was not told of a probe" in ran.stdout
        assert "app readiness: agree, success" in ran.stdout
    else:
        assert "app liveness: agree, success" in ran.stdout, "the bare path is that container's"
        assert "app readiness: DIFFER" in ran.stdout
        assert f"not declared: the sidecar may not ask port {other}" in ran.stdout
    assert ran.returncode == 1


def test_command_where_the_app_is_down_and_not_declared() -> None:
    with http_app(response()) as running, closed_port() as dead:
        told = {"app": {"livenessProbe": http_get(running.port)}}
        with sidecar(told, "--target-host", "127.0.0.1") as one:
            manifest = pod(liveness=http_get(running.port), readiness={"tcpSocket": {"port": dead}})
            ran = diagnose(manifest, "--sidecar", one.address)
    assert "app readiness: DIFFER" in ran.stdout
    assert f"not declared: the sidecar may not ask port {dead}" in ran.stdout
    assert ran.returncode == 1


def test_command_bad_input() -> None:
    ran = diagnose(pod(liveness={"httpGet": {"port": "web"}}))
    assert ran.stderr.startswith(
        "stdin: document 1 (line 1): Pod bookstore: app.livenessProbe.httpGet.port: Invalid value: "
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    ran = diagnose(pod(liveness={"exec": {"command": ["true"]}}))
    assert "no probes to ask" in ran.stdout
    assert ran.returncode == 0
    ran = diagnose(pod(liveness=http_get(80)), "--container", "nobody")
    assert ran.stderr == '--container: no probes of "nobody"; there are app\n'
    assert ran.returncode == 2


@pytest.mark.parametrize("option", ["--host", "--sidecar"])
def test_command_names_the_option_with_a_host_that_is_not_known(option: str) -> None:
    ran = diagnose(pod(liveness=http_get(80)), option, "nosuch.invalid")
    assert ran.stderr.startswith(f"{option}: lookup nosuch.invalid")
    assert (ran.returncode, ran.stdout) == (2, "")


def test_command_where_another_sidecar_has_the_ports() -> None:
    ran = run_beside_a_holder_of_15904(
        "diagnose", "-", text=yaml.safe_dump(pod(liveness=http_get(80)))
    )
    assert re.fullmatch(
        r"osm-healthcheck diagnose: cannot listen on 127[.0-9]+:15904: address already in use; "
        r"end the process that has it, or ask that one: --sidecar localhost\n",
        ran.stderr,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
