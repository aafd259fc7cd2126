"""The kubelet's vectors for URLs, headers and answers of ``httpGet``, through the sidecar."""

import json
import re
from collections.abc import Callable

import pytest

from tests.io import vectors
from tests.io.apps import header_lines, http_app, response
from tests.io.kubelet import NO_VERDICT, PATIENCE, ask, verdict
from tests.io.sidecar import LIVENESS, http_probe, sidecar
from tests.io.tls import server_context
from tests.io.vector_servers import Answering, answering, drop, reset, send, status, stay
from tests.io.vectors import Vector
from tests.io.wire import Answer, exchange, own_address

PATH = "/osm-liveness-probe"


def by_id(group: str) -> pytest.MarkDecorator:
    found = vectors.kubelet(group)
    return pytest.mark.parametrize("vector", found.values(), ids=list(found))


@by_id("url")
def test_url(vector: Vector) -> None:
    """`formatURL`, seen from the app: the target of the request."""
    given = vector["given"]
    secure = given["scheme"] == "https"
    target = re.sub(r"^https?://localhost:93", "", vector["expect"]["url"])
    with answering(status(200), server_context() if secure else None) as app:
        probe = http_probe(
            app.port, given["path"], scheme=given["scheme"].upper(), timeoutSeconds=PATIENCE
        )
        with sidecar({"app": {"livenessProbe": probe}}) as running:
            answer = running.probe("liveness", "app")
    assert answer.status == 200
    assert request_target(app.requests[0]) == (target if target.startswith("/") else "/" + target)


@by_id("request_target")
def test_request_target(vector: Vector) -> None:
    given, expect = vector["given"], vector["expect"]
    if given.get("host"):
        with (
            pytest.raises(Exception, match="without brackets"),
            sidecar({}, "--target-host", given["host"]),
        ):
            pass
        return
    address = "::1" if ":" in given["podIP"] else "127.0.0.1"
    with http_app(response(), address=address) as app:
        probes = {
            "app": {"livenessProbe": http_probe(app.port, given["path"], timeoutSeconds=PATIENCE)}
        }
        with sidecar(probes, "--target-host", address) as running:
            answer = running.probe()
    if "result" in expect:
        assert verdict(answer) == expect["result"]
        assert expect["output"].rpartition(": ")[2].startswith("no Host in")
        assert b"no Host in" in answer.body
        assert app.connections == 0
    elif "url" in expect:
        assert verdict(answer) == "success"
        assert header_lines(app.requests[0])[0] == f"Host: [::1]:{app.port}"
        assert request_target(app.requests[0]) == "/x"
    else:
        assert verdict(answer) == "success"
        assert request_target(app.requests[0]) == expect["requestTarget"]


def request_target(request: bytes) -> str:
    line = request.partition(b"\r\n")[0].decode()
    return line.removeprefix("GET ").removesuffix(" HTTP/1.1")


# -- headers


@by_id("headers")
def test_headers(vector: Vector) -> None:
    """The kubelet sends a probe's headers, and the app sees them as they came."""
    given = [] if refused(vector) else vector["given"]["httpHeaders"]
    check_headers(vector, lambda address: ask(address, LIVENESS, PATH, given))


@pytest.mark.parametrize(
    "name", [name for name, v in vectors.kubelet("headers").items() if v["given"]["httpHeaders"]]
)
def test_headers_that_the_caller_does_not_send(name: str) -> None:
    """A person with curl sends none of them, and the app sees them all the same."""
    bare = f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    check_headers(
        vectors.kubelet("headers")[name], lambda address: exchange(address, LIVENESS, bare)
    )


def check_headers(vector: Vector, caller: Callable[[str], Answer | None]) -> None:
    with http_app(response()) as app:
        declared = vector["given"]["httpHeaders"]
        probes = {
            "app": {
                "livenessProbe": http_probe(
                    app.port, "/", httpHeaders=declared, timeoutSeconds=PATIENCE
                )
            }
        }
        with sidecar(probes) as running:
            answer = caller(running.address)
    assert verdict(answer) == vector["expect"].get("result", "success")
    for name, value in vector["expect"].items():
        HEADER_CHECKS[name](value, app.requests, app.port)


def refused(vector: Vector) -> bool:
    """Whether the kubelet would not even ask us."""
    return bool(vector["expect"].get("result") == "failure")


def _all_lines(requests: list[bytes]) -> list[str]:
    assert len(requests) == 1
    return header_lines(requests[0])


def _sees_map(expected: dict[str, list[str]], requests: list[bytes], port: int) -> None:
    lines = _all_lines(requests)
    for name, values in expected.items():
        given = [f"{name}: {value}" for value in values]
        assert [line for line in lines if line in given] == given


def _sees_in_order(expected: list[str], requests: list[bytes], port: int) -> None:
    filled = [
        line.replace("<podIP>:<port>", f"127.0.0.1:{port}").replace("<major>.<minor>", "1.34")
        for line in expected
    ]
    assert _all_lines(requests) == filled


def _sees(expected: str, requests: list[bytes], port: int) -> None:
    begins = expected.endswith("/")  # User-Agent: kube-probe/…
    assert any(
        line.startswith(expected) if begins else line == expected for line in _all_lines(requests)
    )


def _sees_host(expected: str, requests: list[bytes], port: int) -> None:
    host = expected.replace("<podIP>:<port>", f"127.0.0.1:{port}")
    lines = [line for line in _all_lines(requests) if line.lower().startswith("host:")]
    assert lines == [f"Host: {host}"]


def _contains(expected: list[str], requests: list[bytes], port: int) -> None:
    assert set(expected) <= set(_all_lines(requests))


def _lacks(expected: list[str], requests: list[bytes], port: int) -> None:
    for line in _all_lines(requests):
        assert not any(line.startswith(lacking) for lacking in expected), line


def _output(expected: str, requests: list[bytes], port: int) -> None:
    """The kubelet dials nothing, and so does the sidecar."""
    assert requests == []


HEADER_CHECKS: dict[str, Callable[..., None]] = {
    "headerMap": _sees_map,
    "wireHeadersInOrder": _sees_in_order,
    "serverSees": _sees,
    "serverDoesNotSee": lambda expected, *more: _lacks([expected + ":"], *more),
    "serverSeesHost": _sees_host,
    "wireContains": _contains,
    "wireLacks": _lacks,
    "result": lambda *_: None,
    "output": _output,
}


# -- answers


def behaviour(vector: Vector) -> bytes | Answering:
    """The server of a vector of the group http."""
    server = vector["server"]
    if vector["id"] in SPECIAL:
        return SPECIAL[vector["id"]]
    if "raw" in server:
        return server["raw"].encode() if server["raw"] else drop
    body = b"x" * server.get("bodyBytes", 0) or server.get("body", "").encode()
    return status(server.get("status", 200), body)


SPECIAL: dict[str, Answering] = {
    "http-02": drop,
    "http-28": send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 10240, stay),
    "http-30": reset,
}


@by_id("http")
def test_http(vector: Vector, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = own_address()
    for name in vector["server"].get("env", {}):
        monkeypatch.setenv(name, f"http://{proxy}:9098/")
    with answering(behaviour(vector)) as app:
        probe = http_probe(app.port, timeoutSeconds=PATIENCE)
        with sidecar({"app": {"livenessProbe": probe}}) as running:
            answer = ask(running.address, LIVENESS, PATH)
            if vector["id"] != "http-30":
                app.wait_for(lambda app: app.open == 0)
    assert answer is not None
    expect = vector["expect"]
    counts = expect.get("countsTowardThreshold", True)
    assert verdict(answer) == (expect.get("result", "success") if counts else NO_VERDICT)
    if counts and "output" in expect:
        check_output(expect["output"], answer)
    if "outputBytes" in expect:
        assert len(answer.body[: expect["outputBytes"]]) == expect["outputBytes"]
    assert app.connections == 1
    assert set(app.ends) <= {"fin"}


def check_output(output: str, answer: Answer) -> None:
    """The kubelet's message. A connection error of the app is a status of ours, and its words."""
    if status_code := re.fullmatch(r"HTTP probe failed with statuscode: (\d+)", output):
        assert answer.status == int(status_code[1])
    elif output.startswith("Probe terminated redirects"):
        assert answer.body.decode() == output.removeprefix(
            "Probe terminated redirects, Response body: "
        )
    elif output.startswith('Get "<url>": '):
        assert answer.status == 502
        assert output.rpartition(": ")[2] in answer.body.decode()
    else:
        assert answer.body.decode() == output


def test_the_vectors_are_whole() -> None:
    """A vector with an expectation that no test knows would pass in silence."""
    known = {
        "url": {"url"},
        "request_target": {"requestTarget", "result", "output", "url", "errorContains"},
        "headers": set(HEADER_CHECKS),
        "http": {
            *("result", "output", "outputBytes", "proxyUsed"),
            *("error", "countsTowardThreshold", "attempts"),
        },
    }
    for group, names in known.items():
        found = vectors.kubelet(group)
        assert found
        for vector in found.values():
            assert set(vector["expect"]) <= names, json.dumps(vector)
