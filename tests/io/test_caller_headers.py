"""What a caller sends, and what of it an app gets to see: its name, what it takes, nothing more.

The request to the app is the kubelet's for the declared probe (``pkg/probe/http/request.go``).
"""

from collections.abc import Iterator

import pytest

from tests.io import http2_cases as h2
from tests.io.apps import App, header_lines, http_app, read_head, response
from tests.io.apps import app as serving
from tests.io.kubelet import request
from tests.io.sidecar import HEALTHCHECK, LIVENESS, READINESS, Sidecar, http_probe, sidecar
from tests.io.wire import Answer, connect, exchange, parse, read_to_end

DECLARED = [{"name": "x-declared", "value": "declared"}, {"name": "X-Twice", "value": "1"}]
GET = b"GET /osm-liveness-probe HTTP/1.1\r\nHost: x\r\nUser-Agent: kube-probe/1.34\r\n"
ACCEPT = b"Accept: */*\r\n"


@pytest.fixture(scope="module")
def web() -> Iterator[App]:
    with http_app(response(body=b"alive")) as running:
        yield running


@pytest.fixture(scope="module")
def running(web: App) -> Iterator[Sidecar]:
    agent = {"name": "user-agent", "value": "declared"}
    probes = {
        "app": {
            "livenessProbe": http_probe(web.port, httpHeaders=DECLARED),
            "readinessProbe": http_probe(
                web.port, httpHeaders=[agent, {"name": "Accept", "value": ""}]
            ),
        }
    }
    with sidecar(probes) as started:
        yield started


def ask(running: Sidecar, web: App, data: bytes) -> bytes:
    """What the app is sent for what a caller sends."""
    before = len(web.requests)
    answer = exchange(running.address, LIVENESS, data)
    assert (answer.status, answer.body) == (200, b"alive")
    (sent,) = web.requests[before:]
    return sent


def test_the_kubelets_request_reaches_the_app_as_it_would_without_us(
    running: Sidecar, web: App
) -> None:
    through = request(f"{running.address}:{LIVENESS}", "/osm-liveness-probe", DECLARED)
    direct = request(f"127.0.0.1:{web.port}", "/", DECLARED)
    assert ask(running, web, through) == direct


@pytest.mark.parametrize(
    "more",
    [
        b"X-Forwarded-Host: 127.0.0.1:9999\r\n",
        b"X-Forwarded-For: 10.0.0.1\r\nForwarded: host=evil\r\nX-Real-Ip: 10.0.0.1\r\n",
        b"Authorization: Basic eDp5\r\nCookie: a=b\r\n",
        b"X-Declared: smuggled\r\nx-twice: smuggled\r\n",
        b"X-Declared:\r\n",
        b"Connection: keep-alive, X-Declared, X-Twice\r\n",
        b"Connection: User-Agent, Accept, Host\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
        b"Keep-Alive: timeout=5\r\nTE: trailers\r\nProxy-Connection: keep-alive\r\n",
        b"Proxy-Authorization: x\r\nTrailer: X-A\r\n",
        b"Range: bytes=5-1\r\nIf-None-Match: *\r\nIf-Match: x\r\n",
        b"Expect: 100-continue\r\nContent-Length: 0\r\n",
        b"Accept-Encoding: gzip\r\n",
        b"X: " + b"x" * 7000 + b"\r\n",
        b"A:\r\n" * 1000,
        b"accept-: second\r\nUser_Agent: second\r\n",
        b"X-Http-Method-Override: POST\r\nHost-Override: x\r\n",
    ],
    ids=lambda more: repr(more[:40]),
)
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
def test_whatever_a_caller_adds_the_app_is_sent_the_same(
    running: Sidecar, web: App, more: bytes, last: bool
) -> None:
    plain = ask(running, web, GET + ACCEPT + b"\r\n")
    line, _, rest = GET.partition(b"\r\n")
    data = GET + ACCEPT + more if last else line + b"\r\n" + more + rest + ACCEPT
    assert ask(running, web, data + b"\r\n") == plain


@pytest.mark.parametrize("name", [b"User-Agent", b"Accept"])
def test_of_a_repeated_one_the_app_is_sent_the_first_or_nothing(
    running: Sidecar, web: App, name: bytes
) -> None:
    before = len(web.requests)
    data = GET + ACCEPT + name.lower() + b": second\r\n" + name + b": third\r\n\r\n"
    assert exchange(running.address, LIVENESS, data).status in (200, 400)
    plain = ask(running, web, GET + ACCEPT + b"\r\n")
    assert set(web.requests[before:]) == {plain}


TOO_LONG = pytest.mark.parametrize(
    "agent", [b"x" * 513, b"x" * 7000, "é".encode() * 257], ids=["513", "7000", "in bytes"]
)


@TOO_LONG
def test_a_name_that_is_too_long_is_left_out(running: Sidecar, web: App, agent: bytes) -> None:
    data = GET.replace(b"kube-probe/1.34", agent) + ACCEPT + b"\r\n"
    assert not [line for line in header_lines(ask(running, web, data)) if "User-Agent" in line]


@pytest.mark.parametrize("agent", [b"x" * 512, "é".encode() * 256], ids=["512", "in bytes"])
def test_a_name_that_is_just_not_goes_on(running: Sidecar, web: App, agent: bytes) -> None:
    data = GET.replace(b"kube-probe/1.34", agent) + ACCEPT + b"\r\n"
    assert b"\r\nUser-Agent: %b\r\n" % agent in ask(running, web, data)


@TOO_LONG
def test_one_that_is_too_long_is_left_out_of_a_grpc_check(agent: bytes) -> None:
    with h2.talker() as app:
        app.play(h2.one(h2.reply(h2.GRPC_OK)))
        with sidecar({"app": {"livenessProbe": {"grpc": {"port": app.port}}}}) as running:
            for name in (b"kube-probe/", agent):
                answer = exchange(
                    running.address,
                    HEALTHCHECK,
                    b"GET /osm-healthcheck HTTP/1.1\r\nHost: x\r\nX-Forwarded-Host: evil\r\n"
                    b"Original-Grpc-Port: %d\r\nUser-Agent: %b\r\n\r\n" % (app.port, name),
                )
                assert answer.status == 200
    plain, long = (request.partition(b"grpc-timeout")[0] for request in app.requests)
    assert b"kube-probe/ grpc-go" in plain
    assert long == plain


def test_a_hook_is_made_as_it_is_declared_whatever_a_caller_adds(web: App) -> None:
    hook = {"preStop": {"httpGet": {"path": "/stop", "port": web.port, "httpHeaders": DECLARED}}}
    request = b"GET /osm-pre-stop-hook/app HTTP/1.1\r\nHost: x\r\nUser-Agent: kube-lifecycle/\r\n"
    with sidecar({"app": {"lifecycle": hook}}) as running:
        before = len(web.requests)
        for more in (b"", b"X-Forwarded-Host: evil\r\nx-declared: smuggled\r\nTE: trailers\r\n"):
            assert exchange(running.address, HEALTHCHECK, request + more + b"\r\n").status == 200
    plain, attacked = web.requests[before:]
    assert attacked == plain


def test_what_the_probe_declares_of_these_two_wins(running: Sidecar, web: App) -> None:
    before = len(web.requests)
    data = b"GET /osm-readiness-probe HTTP/1.1\r\nHost: x\r\nUser-Agent: y\r\nAccept: z\r\n\r\n"
    assert exchange(running.address, READINESS, data).status == 200
    (sent,) = web.requests[before:]
    host = f"Host: 127.0.0.1:{web.port}"
    assert header_lines(sent) == [host, "User-Agent: declared", "Connection: close"]


def test_an_app_that_believes_x_forwarded_host_aims_us_at_nothing() -> None:
    """Issue: such an app let a stranger have us ask a port that nobody declared."""

    def serve(sock: object) -> None:
        head = read_head(sock).decode()  # type: ignore[arg-type]
        hosts = [line[18:] for line in head.split("\r\n") if line.startswith("X-Forwarded-Host: ")]
        if hosts:
            answer = response("302 Found", b"", f"Location: http://{hosts[0]}/secret")
        else:
            answer = response(body=b"alive")
        sock.sendall(answer)  # type: ignore[attr-defined]

    with (
        http_app(response(body=b"secret")) as undeclared,
        serving(serve) as naive,
        sidecar({"app": {"livenessProbe": http_probe(naive.port)}}) as running,
    ):
        evil = b"X-Forwarded-Host: 127.0.0.1:%d\r\n\r\n" % undeclared.port
        answers: list[Answer] = []
        for _ in range(2):
            with connect(running.address, LIVENESS) as sock:
                sock.sendall(GET + evil)
                answers.append(parse(*read_to_end(sock)))
        assert [(one.status, one.body) for one in answers] == [(200, b"alive")] * 2
        assert undeclared.connections == 0
