"""Lifecycle hooks on 15904: asked as the kubelet asks them, any status passed on, or a reset.

The yardstick is ``runHTTPHandler`` of ``pkg/kubelet/lifecycle/handlers.go``.
"""

import contextlib
import json
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.io.apps import app, header_lines, hold, http_app, read_head, reset, response
from tests.io.sidecar import HEALTHCHECK, Sidecar, http_probe, process, sidecar
from tests.io.tls import server_context
from tests.io.wire import Answer, closed_port, connect, exchange, get, parse, read_to_end

START, STOP = "/osm-post-start-hook/app", "/osm-pre-stop-hook/app"
USER_AGENT = "kube-lifecycle/1.36"


def lifecycle(
    port: int, path: str = "/", hook: str = "postStart", **more: Any
) -> dict[str, dict[str, Any]]:
    """A container that has one hook."""
    return {"app": {"lifecycle": {hook: {"httpGet": {"path": path, "port": port, **more}}}}}


@contextlib.contextmanager
def hooked(port: int, path: str = "/", **more: Any) -> Iterator[Sidecar]:
    with sidecar(lifecycle(port, path, **more)) as running:
        yield running
    assert [line for line in running.lines if line["level"] == "error"] == []


def run(running: Sidecar, path: str = START, **more: Any) -> Answer:
    """What the kubelet gets for a hook."""
    return get(running.address, HEALTHCHECK, path, user_agent=USER_AGENT, **more)


def said(address: str, request: bytes) -> tuple[bytes, bool]:
    """All that comes, and whether it ended with FIN."""
    with connect(address, HEALTHCHECK) as sock:
        sock.sendall(request)
        return read_to_end(sock)


def fails(running: Sidecar, path: str = START) -> bool:
    """Whether the kubelet gets no answer, but a reset."""
    return said(running.address, b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode()) == (
        b"",
        False,
    )


def last_result(running: Sidecar) -> dict[str, Any]:
    return running.logged("probe result")[-1]


# -- what the app is asked


@pytest.mark.parametrize(("path", "hook"), [(START, "postStart"), (STOP, "preStop")])
def test_the_app_is_asked_as_the_kubelet_asks_it(path: str, hook: str) -> None:
    headers = [{"name": "x-hook", "value": "1"}, {"name": "Authorization", "value": "Basic eDp5"}]
    with (
        http_app(response(body=b"done")) as target,
        hooked(target.port, "stop?now", hook=hook, httpHeaders=headers) as running,
    ):
        more = [("X-Forwarded-Host", "evil"), ("Accept-Encoding", "br"), ("X-Hook", "evil")]
        answer = run(running, path, headers=more)
        assert (answer.status, answer.body) == (200, b"done")
        assert answer.header("Content-Type") is None
    assert target.requests == [
        b"GET /stop?now HTTP/1.1\r\n"
        b"Host: 127.0.0.1:%d\r\n"
        b"User-Agent: kube-lifecycle/1.36\r\n"
        b"Accept: */*\r\n"
        b"Authorization: Basic eDp5\r\n"
        b"X-Hook: 1\r\n"
        b"Accept-Encoding: gzip\r\n\r\n" % target.port
    ]


def test_a_redirect_is_followed_by_the_rule_of_probes() -> None:
    def serve(sock: socket.socket) -> None:
        head = read_head(sock)
        target.requests.append(head)
        if head.startswith(b"GET /first "):
            sock.sendall(response("302 Found", b"", f"Location: http://127.0.0.1:{last.port}/x"))

    with (
        http_app(response("500 No", b"sorry")) as last,
        app(serve) as target,
        hooked(target.port, "/first") as running,
    ):
        answer = run(running)
    assert (answer.status, answer.body) == (500, b"sorry")
    [second] = last.requests
    assert header_lines(second)[1:] == [
        "User-Agent: kube-lifecycle/1.36",
        "Accept: */*",
        f"Referer: http://127.0.0.1:{target.port}/first",
        "Accept-Encoding: gzip",
    ]


# -- what the kubelet gets


@pytest.mark.parametrize(
    "status", ["200 OK", "204 No Content", "301 Moved", "401 Who", "404 Not Found", "503 No"]
)
def test_any_status_is_passed_on_and_is_a_success(status: str) -> None:
    more = ["Location: http://elsewhere.example/"] if status.startswith("3") else []
    with http_app(response(status, b"", *more)) as target, hooked(target.port) as running:
        answer = run(running)
        assert f"{answer.status} {answer.reason}" == status
        assert last_result(running)["result"] == "success"
        assert last_result(running)["probes"] == ["app/postStart"]
        page = get(running.address, HEALTHCHECK, "/metrics").body
    assert b'kinds="postStart",containers="app",result="success"} 1' in page


def _garbage(sock: socket.socket) -> None:
    read_head(sock)
    sock.sendall(b"SSH-2.0-x\r\n")


def _nothing(sock: socket.socket) -> None:
    read_head(sock)


def _reset(sock: socket.socket) -> None:
    read_head(sock)
    reset(sock)


def _loop(sock: socket.socket) -> None:
    read_head(sock)
    sock.sendall(response("302 Found", b"", "Location: /again"))


def _ours(sock: socket.socket) -> None:
    read_head(sock)
    sock.sendall(response("302 Found", b"", "Location: //127.0.0.1:15904/healthz"))


@pytest.mark.parametrize("scheme", ["HTTP", "HTTPS"])
@pytest.mark.parametrize("serve", [_garbage, _nothing, _reset, _loop, _ours])
def test_an_app_that_gives_no_answer_is_a_reset_connection(serve: Any, scheme: str) -> None:
    context = server_context()

    def secured(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as secure:
            serve(secure)

    with (
        app(secured if scheme == "HTTPS" else serve) as target,
        hooked(target.port, scheme=scheme) as running,
    ):
        assert fails(running)
        assert last_result(running)["result"] == "bad answer"


def test_an_app_that_refuses_is_a_reset_connection() -> None:
    with closed_port() as port, hooked(port) as running:
        for _ in range(2):
            assert fails(running)
        assert last_result(running)["result"] == "refused"


def test_a_request_that_the_kubelet_would_not_send_is_not_sent() -> None:
    headers = [{"name": "X", "value": "a\nb"}]
    with (
        http_app(response()) as target,
        hooked(target.port, httpHeaders=headers) as running,
    ):
        assert fails(running)
    assert target.connections == 0


def test_a_body_comes_as_the_app_says_it_and_breaks_off_where_it_does() -> None:
    def serve(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Encoding: gzip\r\n\r\nhalf")

    with app(serve) as target, hooked(target.port) as running:
        answer = run(running)
        assert (answer.status, answer.body, answer.whole) == (200, b"half", False)
        assert answer.header("Content-Encoding") == "gzip"
        assert last_result(running)["result"] == "success"


# -- HTTPS


def test_https_is_http_1_without_alpn_also_after_a_redirect() -> None:
    context = server_context("h2", "http/1.1")
    chosen: list[str | None] = []

    def serve(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as secure:
            chosen.append(secure.selected_alpn_protocol())
            if read_head(secure).startswith(b"GET /next "):
                secure.sendall(response(body=b"secret"))
            else:
                secure.sendall(b"HTTP/1.1 302 Found\r\nLocation: /next\r\n\r\n")

    with app(serve) as target, hooked(target.port, scheme="HTTPS") as running:
        assert run(running).body == b"secret"
    assert chosen == [None, None]


def _no_tls(answer: bytes, requests: list[bytes]) -> Any:
    """An HTTP server that is spoken to in TLS says so in HTTP."""

    def serve(sock: socket.socket) -> None:
        if sock.recv(1, socket.MSG_PEEK) == b"\x16":
            requests.append(b"")
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            hold(sock)
        else:
            requests.append(read_head(sock))
            sock.sendall(answer)

    return serve


def test_an_app_that_answers_tls_in_http_is_asked_once_more_by_http() -> None:
    requests: list[bytes] = []
    headers = [
        {"name": "authorization", "value": "Basic eDp5"},
        {"name": "X-Other", "value": "kept"},
    ]
    with (
        app(_no_tls(response("404 Not Found", b"plain"), requests)) as target,
        hooked(target.port, "/start", scheme="HTTPS", httpHeaders=headers) as running,
    ):
        answer = run(running)
    assert (answer.status, answer.body) == (404, b"plain")
    tls, plain = requests
    assert not tls
    assert plain.startswith(b"GET /start HTTP/1.1\r\n")
    assert header_lines(plain)[1:] == [
        "User-Agent: kube-lifecycle/1.36",
        "Accept: */*",
        "X-Other: kept",
        "Accept-Encoding: gzip",
    ]


def test_it_is_asked_by_http_once_and_the_first_error_is_told() -> None:
    requests: list[bytes] = []
    with (
        app(_no_tls(b"", requests)) as target,
        hooked(target.port, scheme="HTTPS") as running,
    ):
        assert fails(running)
        reason = "http: server gave HTTP response to HTTPS client"
        assert last_result(running)["reason"] == reason
    assert len(requests) == 2


# -- how long


def test_nothing_of_ours_ends_a_hook_that_takes_its_time() -> None:
    go_on = threading.Event()

    def serve(sock: socket.socket) -> None:
        if read_head(sock).startswith(b"GET /slow "):
            assert go_on.wait(20)
            sock.sendall(response(body=b"at last"))
        else:
            hold(sock)

    with app(serve) as target:
        containers = lifecycle(target.port, "/slow")
        containers["probed"] = {"livenessProbe": http_probe(target.port)}
        with sidecar(containers) as running, connect(running.address, HEALTHCHECK) as sock:
            sock.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % START.encode())
            target.wait_for(lambda app: app.connections == 1)
            assert running.probe().status == 504  # a probe's deadline has passed meanwhile
            go_on.set()
            assert parse(*read_to_end(sock)).body == b"at last"


def test_a_hook_ends_with_its_caller() -> None:
    with app(hold) as target, hooked(target.port) as running:
        with connect(running.address, HEALTHCHECK) as sock:
            sock.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % START.encode())
            target.wait_for(lambda app: app.connections == 1)
        target.wait_for(lambda app: app.open == 0)
        assert not target.errors  # FIN, and no reset
        assert not running.logged("probe result")


def test_a_sidecar_that_ends_goes_on_while_the_app_of_a_hook_listens() -> None:
    with http_app(response(body=b"bye")) as target:
        declared = json.dumps(lifecycle(target.port, hook="preStop"))
        with process("--probes", declared) as running:
            running.wait_for("ready")
            running.signal(signal.SIGTERM)
            running.wait_for("ending")
            for _ in range(2):
                assert get(running.address, HEALTHCHECK, STOP).body == b"bye"
            target.close()
            assert running.wait() == 0


# -- who may ask for what


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "OPTIONS"])
@pytest.mark.parametrize("path", [START, "/osm-post-start-hook/other"])
def test_only_get_runs_a_hook(method: str, path: str) -> None:
    with http_app(response()) as target, hooked(target.port) as running:
        answer = run(running, path, method=method)
        assert (answer.status, answer.header("Allow")) == (405, "GET")
    assert target.connections == 0


@pytest.mark.parametrize(
    "path", ["/osm-post-start-hook/other", STOP, f"{START}/", f"{START}-2", "/osm-pre-stop-hook/"]
)
@pytest.mark.parametrize("declared", [True, False])
def test_a_hook_that_is_not_declared_is_reset(path: str, declared: bool) -> None:
    """404 would be a success for the kubelet, and the hook lost without a word."""
    with http_app(response()) as target:
        probes = lifecycle(target.port) if declared else None
        with sidecar(probes) as running:
            assert fails(running, path)
    assert target.connections == 0


def test_the_query_of_a_caller_changes_nothing() -> None:
    with http_app(response()) as target, hooked(target.port, "/a?b") as running:
        assert run(running, f"{START}?path=/evil").status == 200
    assert target.requests[0].startswith(b"GET /a?b HTTP/1.1\r\n")


def test_a_hook_opens_no_port_for_checks() -> None:
    with app(hold) as target, hooked(target.port) as running:
        assert running.check(target.port).status == 403
    assert target.connections == 0


def test_a_body_that_a_caller_sends_reaches_no_app() -> None:
    request = b"GET %s HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nevil" % START.encode()
    with http_app(response(body=b"ran")) as target, hooked(target.port) as running:
        assert exchange(running.address, HEALTHCHECK, request).body == b"ran"
    assert b"evil" not in target.requests[0]
