"""The kubelet's vectors for redirects, through the sidecar."""

import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.io import vectors
from tests.io.apps import header_lines
from tests.io.kubelet import PATIENCE, ask, verdict
from tests.io.sidecar import HEALTHCHECK, LIVENESS, http_probe, sidecar
from tests.io.vector_servers import answering, site, status
from tests.io.wire import Answer, closed_port

VECTORS = vectors.kubelet("redirect")
PATH = "/osm-liveness-probe"
Page = bytes | Callable[[bytes], bytes]


def pages_of(vector: dict[str, Any], location: str) -> dict[str, Page]:
    """The site of a vector: ``/redirect``, and the pages that its text speaks of."""
    text = vector["server"]["location"]
    code = vector["server"]["status"]
    answers = int(text.rpartition(" ")[2].rstrip(")")) if "which answers" in text else 200

    def only_for_success(request: bytes) -> bytes:
        return status(200 if "Host: www.success.com" in header_lines(request) else 400)

    return {
        "/redirect": status(code, b"the body of the 302", f"Location: {location}"),
        "/new": status(answers),
        "/ok": status(200),
        "/fail": status(500),
        "/success": only_for_success if "www.success.com" in text else status(200),
        "/loop": status(302, b"", "Location: /loop"),
    }


@pytest.mark.parametrize("name", VECTORS)
def test_redirect(name: str) -> None:
    vector = VECTORS[name]
    text = vector["server"]["location"].partition(" (")[0]
    other_pages = {"/ok": status(200), "/fail": status(500)}
    with site(other_pages) as other, closed_port() as closed:
        location = text.replace("<same ip>:<other port>", f"127.0.0.1:{other.port}").replace(
            "<same ip>:<closed port>", f"127.0.0.1:{closed}"
        )
        assert "<" not in location
        with site(pages_of(vector, location)) as app:
            action = {**vector["probe"]["httpGet"], "port": app.port}
            headers = action.get("httpHeaders", [])
            with sidecar(
                {"app": {"livenessProbe": {"httpGet": action, "timeoutSeconds": PATIENCE}}}
            ) as running:
                answer = ask(running.address, LIVENESS, PATH, headers)
    assert answer is not None
    assert verdict(answer) == vector["expect"]["result"]
    check(vector["expect"].get("output", ""), answer)
    if name in EXTRA:
        EXTRA[name](app.requests, other.requests)


def check(output: str, answer: Answer) -> None:
    if output.startswith("HTTP probe failed with statuscode: "):
        assert answer.status == int(output.rpartition(" ")[2])
    elif output.startswith("Probe terminated redirects"):
        assert answer.body == b"the body of the 302"
        assert answer.header("Location") is not None
    elif "connection refused" in output:
        assert answer.status == 503
        assert b"connection refused" in answer.body
    elif output:  # the words are Go's
        assert answer.status == 502
        assert output.partition("failed to parse ")[2] or "stopped after 10 redirects" in output
        words = output.partition('": ')[2]
        assert words in answer.body.decode()


def _loop_is_ten_requests(app: list[bytes], other: list[bytes]) -> None:
    assert len(app) == 10


def _own_host_is_dropped(app: list[bytes], other: list[bytes]) -> None:
    assert header_lines(app[0])[0] == "Host: my.example"
    assert header_lines(other[0])[0].startswith("Host: 127.0.0.1:")


def _nobody_else_is_asked(app: list[bytes], other: list[bytes]) -> None:
    assert (len(app), len(other)) == (1, 0)


EXTRA: dict[str, Callable[[list[bytes], list[bytes]], None]] = {
    "redir-13": _nobody_else_is_asked,
    "redir-14": _loop_is_ten_requests,
    "redir-17": _nobody_else_is_asked,
    "redir-18": _nobody_else_is_asked,
    "redir-21": _own_host_is_dropped,
    "redir-22": _nobody_else_is_asked,
    "redir-23": _nobody_else_is_asked,
}


def test_what_a_followed_request_carries() -> None:
    """Go's ``Client.do``: the probe's headers, a Referer, no headers of a body after a 302."""
    headers = [
        {"name": "X-Token", "value": "t"},
        {"name": "Content-Type", "value": "text/plain"},
        {"name": "Host", "value": "my.example"},
    ]
    with site({}) as other:
        pages: dict[str, Page] = {
            "/a": status(307, b"", "Location: b"),
            "/b": status(302, b"", f"Location: http://u:p@127.0.0.1:{other.port}/c"),
        }
        with site(pages) as app:
            probe = http_probe(app.port, "/a", httpHeaders=headers, timeoutSeconds=PATIENCE)
            with sidecar({"app": {"livenessProbe": probe}}) as running:
                answer = ask(running.address, LIVENESS, PATH, headers)
    assert answer is not None
    assert answer.status == 404
    common = ["User-Agent: kube-probe/1.34", "Accept: */*"]
    assert [header_lines(request) for request in app.requests] == [
        [
            "Host: my.example",
            *common,
            "Content-Type: text/plain",
            "X-Token: t",
            "Connection: close",
        ],
        [
            "Host: my.example",
            *common,
            "Content-Type: text/plain",
            f"Referer: http://127.0.0.1:{app.port}/a",
            "X-Token: t",
            "Connection: close",
        ],
    ]
    assert [header_lines(request) for request in other.requests] == [
        [
            f"Host: 127.0.0.1:{other.port}",
            *common,
            "Authorization: Basic dTpw",
            f"Referer: http://127.0.0.1:{app.port}/b",
            "X-Token: t",
            "Connection: close",
        ]
    ]


def test_host_stays_dropped_after_an_absolute_redirect() -> None:
    headers = [{"name": "Host", "value": "my.example"}]
    pages: dict[str, Page] = {"/b": status(302, b"", "Location: /c"), "/c": status(200)}
    with site(pages) as app:
        pages["/a"] = status(302, b"", f"Location: http://127.0.0.1:{app.port}/b")
        probe = http_probe(app.port, "/a", httpHeaders=headers, timeoutSeconds=PATIENCE)
        with sidecar({"app": {"livenessProbe": probe}}) as running:
            ask(running.address, LIVENESS, PATH, headers)
    hosts = [header_lines(request)[0] for request in app.requests]
    assert hosts == ["Host: my.example"] + [f"Host: 127.0.0.1:{app.port}"] * 2


@pytest.mark.parametrize("port", [LIVENESS, HEALTHCHECK])
def test_a_redirect_to_a_port_of_ours_is_not_followed(port: int) -> None:
    redirect = status(302, b"", f"Location: http://user:secret@127.0.0.1:{port}/healthz")
    with (
        site({"/": redirect}) as app,
        sidecar(
            {"app": {"livenessProbe": http_probe(app.port, timeoutSeconds=PATIENCE)}}
        ) as running,
    ):
        answer = running.probe()
    assert answer.status == 502
    assert b"the sidecar's own port" in answer.body
    assert b"secret" not in answer.body


def test_an_app_that_is_left_in_mid_sentence_sees_no_reset() -> None:
    """Closing a socket with unread bytes resets it, and apps log that."""
    bodies = {"/": status(302, b"x" * 4_000_000, "Location: /next"), "/next": status(200)}

    def answer(sock: socket.socket) -> None:
        sock.sendall(bodies["/" if len(app.requests) == 1 else "/next"])

    with (
        answering(answer) as app,
        sidecar(
            {"app": {"livenessProbe": http_probe(app.port, timeoutSeconds=PATIENCE)}}
        ) as running,
    ):
        assert running.probe().status == 200
        app.wait_for(lambda app: app.connections == 2 and app.open == 0)
    assert (app.ends, app.errors) == (["fin", "fin"], [])
