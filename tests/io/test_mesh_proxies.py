"""Mesh cases of the probe proxies; see ``mesh_cases``."""

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from osm_healthcheck.errors import InvalidInputError
from tests.io.apps import app, header_lines, hold, http_app, read_head, response
from tests.io.h2_app import h2_app
from tests.io.kubelet import PATIENCE, ask, verdict
from tests.io.mesh_cases import CASES, case, target
from tests.io.sidecar import (
    LIVENESS,
    Sidecar,
    http_probe,
    sidecar,
)
from tests.io.tls import certificate_files, server_context
from tests.io.vector_servers import answering, site, status
from tests.io.wire import closed_port, get
from tests.net.namespaces import need

PATH = "/osm-liveness-probe"
CHECK = "/osm-healthcheck"


@contextlib.contextmanager
def liveness(port: int, path: str = "/", **more: Any) -> Iterator[Sidecar]:
    probe = http_probe(port, path, timeoutSeconds=PATIENCE, **more)
    with sidecar({"app": {"livenessProbe": probe}}) as running:
        yield running


# -- the probe proxies


@case("RT-015", "RT-026")
def test_a_path_that_nobody_declared() -> None:
    with http_app(response()) as web, liveness(web.port) as running:
        for path in ("/bad-path-should-be-404", f"{PATH}/nope", f"{PATH}/app-2", f"{PATH}/"):
            assert get(running.address, LIVENESS, path).status == target("RT-015")
    assert target("RT-026") == target("RT-015")
    assert web.connections == 0


@case("RT-016", "RT-017")
@pytest.mark.parametrize(("declared", "asked"), [("/hello/sunnyvale", None), ("", "/")])
def test_a_ready_app(declared: str, asked: str | None) -> None:
    with http_app(response()) as web, liveness(web.port, declared) as running:
        assert running.probe().status == target("RT-016") == target("RT-017")
    assert web.requests[0].startswith(f"GET {asked or declared} HTTP/1.1".encode())


@case("RT-018")
def test_localhost_as_the_target() -> None:
    with http_app(response()) as web:
        probes = {"app": {"livenessProbe": http_probe(web.port, timeoutSeconds=PATIENCE)}}
        with sidecar(probes, "--target-host", "localhost") as running:
            assert running.probe().status == target("RT-018")


@case("RT-021")
def test_a_target_in_brackets() -> None:
    refused = pytest.raises(InvalidInputError, match="without brackets")
    with refused, sidecar({}, "--target-host", "[::1]"):
        pass


@case("RT-022")
def test_a_redirect_to_the_same_host() -> None:
    pages = {"/redirect": status(301, b"", "Location: /"), "/": status(200)}
    with site(pages) as web, liveness(web.port, "/redirect") as running:
        assert running.probe().status == target("RT-022")


@case("RT-023")
def test_a_redirect_loop() -> None:
    pages = {"/loop": status(301, b"", "Location: /loop")}
    with site(pages) as web, liveness(web.port, "/loop") as running:
        answer = ask(running.address, LIVENESS, PATH)
    assert answer is not None
    assert answer.status == 502
    assert len(web.requests) == 10


@case("RT-024")
def test_a_redirect_to_another_host() -> None:
    elsewhere = "http://example.com/foo"
    redirect = status(302, b"", f"Location: {elsewhere}")
    with http_app(redirect) as web, liveness(web.port) as running:
        answer = ask(running.address, LIVENESS, PATH)
    assert answer is not None
    assert (answer.status, answer.header("Location")) == (302, elsewhere)
    assert verdict(answer) == "warning"  # which counts as a success


@case("RT-025")
def test_every_status_comes_back() -> None:
    codes = range(200, 512)
    assert str(codes.stop - 1) in CASES["RT-025"]["input"]["app_status"]
    with http_app(*(status(code, b"") for code in codes)) as web, liveness(web.port) as running:
        assert [running.probe().status for _ in codes] == list(codes)


@case("RT-027")
@pytest.mark.parametrize("number", range(len(CASES["RT-027"]["input"])))
def test_declared_headers_go_on_exactly_once(number: int) -> None:
    # Istio passes on what its caller sends. Here the declared headers are the app's, and no others.
    given = CASES["RT-027"]["input"][number]
    configured = given.get("configured", {})
    declared = [{"name": name, "value": value} for name, value in configured.items()]
    sent = [(name, value) for name, values in given["in"].items() for value in values]
    with http_app(response()) as web, liveness(web.port, httpHeaders=declared) as running:
        running.probe(headers=sent)
    lines = header_lines(web.requests[0])
    assert [line for line in lines if line.startswith("Some-Header")] == [
        f"{name}: {value}" for name, value in configured.items()
    ]
    close = CASES["RT-027"]["expected"]["istio"][number]["Connection"]
    assert [f"Connection: {value}" for value in close] == lines[-1:]


@case("RT-029")
def test_host_is_kept_across_a_redirect() -> None:
    host = CASES["RT-029"]["input"]["Host"]
    headers = [{"name": "Host", "value": host}]

    def success(request: bytes) -> bytes:
        return status(200 if f"Host: {host}" in header_lines(request) else 400)

    redirect = status(302, b"", "Location: /success")
    with (
        site({"/redirect": redirect, "/success": success}) as web,
        liveness(web.port, "/redirect", httpHeaders=headers) as running,
    ):
        answer = ask(running.address, LIVENESS, PATH, headers)
    assert answer is not None
    assert answer.status == target("RT-029")


@case("RT-031")
def test_an_oversize_body() -> None:
    size = CASES["RT-031"]["input"]["body_bytes"]
    with http_app(status(200, b"x" * size)) as web, liveness(web.port) as running:
        answer = running.probe()
        assert verdict(ask(running.address, LIVENESS, PATH)) == "success"
    assert (answer.status, len(answer.body)) == (200, size)


@case("RT-032")
@pytest.mark.parametrize("number", range(len(CASES["RT-032"]["input"])))
def test_accept_and_user_agent(number: int) -> None:
    headers = [
        {"name": n, "value": v} for n, v in CASES["RT-032"]["input"][number]["headers"].items()
    ]
    with http_app(response()) as web, liveness(web.port, httpHeaders=headers) as running:
        ask(running.address, LIVENESS, PATH, headers)
    names = dict(line.split(": ", 1) for line in header_lines(web.requests[0]))
    agent, accept = [
        ("kube-probe/1.34", "*/*"),
        ("kube-probe/1.34", None),
        ("foo/1.0", "*/*"),
    ][number]
    assert (names.get("User-Agent"), names.get("Accept")) == (agent, accept)


@case("RT-033")
@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_proxy_variables_are_ignored(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with app(hold) as proxy, http_app(response()) as web:
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        with liveness(web.port) as running:
            assert running.probe().status == 200
    assert (proxy.connections, web.connections) == (0, 1)


# -- HTTPS


@contextlib.contextmanager
def openssl(*alpn: str) -> Iterator[int]:
    """OpenSSL's own server, which turns away a client that shares no protocol with it."""
    need("openssl")
    with certificate_files() as (chain, key):
        server = subprocess.Popen(
            [
                *("openssl", "s_server", "-accept", "127.0.0.1:0", "-www"),
                *("-cert", chain, "-key", key, "-alpn", ",".join(alpn)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with server:
            assert server.stdout is not None
            try:
                line = next(line for line in server.stdout if line.startswith("ACCEPT"))
                yield int(line.rpartition(":")[2])
            finally:
                server.kill()


@contextlib.contextmanager
def https_app(alpn: list[str] | None) -> Iterator[int]:
    """The port of an app with this ALPN, which is asked once, in the best of its protocols."""
    if alpn == ["foo"]:
        with openssl("foo") as port:
            yield port
    elif alpn and "h2" in alpn:
        with h2_app(*alpn) as running:
            yield running.port
            assert [scope["http_version"] for scope in running.scopes] == ["2"]
    else:
        with answering(status(200), server_context(*(alpn or []))) as web:
            yield web.port
            assert web.requests[0].startswith(b"GET / HTTP/1.1\r\n")


@case("RT-034", "RT-035", "RT-036", "RT-037", "RT-038")
@pytest.mark.parametrize("name", ["RT-034", "RT-035", "RT-036", "RT-037", "RT-038"])
def test_alpn(name: str) -> None:
    """Istio speaks h2 as the kubelet does; Kuma does not, and so is not the measure."""
    alpn = CASES[name]["input"]["server_alpn"]
    with https_app(alpn) as port, liveness(port, scheme="HTTPS") as running:
        answer = running.probe("liveness", "app")
    expected, _ = CASES[name]["expected"]["istio"]
    # a handshake that fails is 500 there and a gateway's 502 here
    assert answer.status == {"200": 200, "500": 502}[expected]


@case("RT-051")
def test_https_with_a_certificate_of_its_own_and_a_query() -> None:
    path = "/healthz?scheme=https"
    with answering(status(200), server_context()) as web:
        with liveness(web.port, path, scheme="HTTPS") as running:
            assert running.probe("liveness", "app").status == 200
        assert CASES["RT-051"]["expected"]["osm_equivalent"] == 200
    assert web.requests[0].startswith(f"GET {path} HTTP/1.1\r\n".encode())


# -- what a failing app looks like


@case("RT-047")
def test_a_refused_probe() -> None:
    with closed_port() as port, liveness(port) as running:
        answer = running.probe()
    assert answer.status == 503
    assert f"/ {answer.status} (Envoy HTTP)" in CASES["RT-047"]["expected"]["osm_equivalent"]


@case("RT-048", "RT-049")
@pytest.mark.parametrize(("name", "code"), [("RT-048", 400), ("RT-049", 404)])
def test_an_app_that_says_no(name: str, code: int) -> None:
    assert CASES[name]["expected"]["osm_equivalent"] == code
    with http_app(status(code, b"no")) as web, liveness(web.port) as running:
        answer = running.probe()
    assert (answer.status, answer.body) == (code, b"no")


@case("RT-046", "RT-050")
def test_a_slow_app_has_its_own_timeout_and_no_more() -> None:
    """One app, held until the probe with the shorter timeout has given up."""
    asked, given_up = threading.Event(), threading.Event()

    def serve(sock: socket.socket) -> None:
        read_head(sock)
        asked.set()
        given_up.wait(20)
        sock.sendall(response())

    with app(serve) as web:
        short, long = http_probe(web.port), http_probe(web.port, timeoutSeconds=PATIENCE)
        probes = {"app": {"livenessProbe": short, "readinessProbe": long}}
        with sidecar(probes) as running, ThreadPoolExecutor(1) as pool:
            patient = pool.submit(running.probe, "readiness")
            assert asked.wait(20)
            assert running.probe("liveness").status == 504  # Envoy's answer too
            given_up.set()
            assert patient.result().status == CASES["RT-046"]["expected"]["osm_equivalent"]
