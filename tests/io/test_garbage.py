"""Bytes that are no request, or two requests in one: refused, and no app hears of them."""

from collections.abc import Iterator

import pytest

from tests.io.apps import header_lines
from tests.io.attacked_pod import AttackedPod
from tests.io.sidecar import HEALTHCHECK, LIVENESS, READINESS
from tests.io.wire import Answer, parse

PATH = b"/osm-liveness-probe/web"
GET = b"GET " + PATH + b" HTTP/1.1\r\nHost: x\r\n"
SECOND = b"GET " + PATH + b"?smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LENGTH = b"Content-Length: 5\r\n"


@pytest.fixture
def attacked(attacked: AttackedPod) -> Iterator[AttackedPod]:
    """That pod, whose apps have heard no request that was hidden in another one."""
    yield attacked
    assert not any(b"smuggled" in request for request in attacked.web.requests)


def refused(attacked: AttackedPod, data: bytes, status: int = 400) -> None:
    """Every port refuses ``data`` with ``status``, whole and without a reset."""
    for port in (HEALTHCHECK, LIVENESS, READINESS):
        raw, orderly = attacked.send(data, port)
        answer = parse(raw, orderly)
        assert (answer.status, answer.whole, orderly) == (status, True, True), answer
        assert answer.raw.count(b"HTTP/1.1 ") == 1 or b"not an HTTP/1.1" in answer.body


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"\xff" * 100,
        b"\r\n\r\nhello\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"EHLO x\r\n",
        b"\x05\x01\x00",  # SOCKS
        b"\x80\x2e\x01\x00\x02",  # SSL 2
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + SECOND,
        b"\r\n\r\n\0\r\nQUIT\n" + SECOND,  # PROXY protocol, version 2
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET  HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET " + PATH + b" HTTP/1.1\r\n\r\n",  # no Host
        b"GET " + PATH + b" HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET " + PATH + b" HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET " + PATH + b" HTTP/1.1 \r\nHost: x\r\n\r\n",
        b"GET " + PATH + b" HTTP/1.10\r\nHost: x\r\n\r\n",
        b"GET " + PATH + b" http/1.1\r\nHost: x\r\n\r\n",
        b"GET osm-liveness-probe/web HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET \0 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET " + PATH + b"\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        GET + b": no name\r\n\r\n",
        GET + b"no colon\r\n\r\n",
        GET + b"sp ace: x\r\n\r\n",
        GET + b"X : blank before the colon\r\n\r\n",
        GET + b"X: nul\0\r\n\r\n",
        GET + b"X\0: nul\r\n\r\n",
        GET + b"X: bare\rreturn\r\n\r\n",
        GET + b"X: bare\nfeed: y\r\n\r\n",
        GET + b"X: y\n\n",
        GET + b"X: folded\r\n more\r\n\r\n",
        GET + b" begins with a blank: x\r\n\r\n",
        b"GET " + PATH + b" HTTP/1.1\nHost: x\n\n",
    ],
    ids=repr,
)
def test_garbage_is_400(attacked: AttackedPod, data: bytes) -> None:
    refused(attacked, data)


@pytest.mark.parametrize(
    "head",
    [
        LENGTH + CHUNKED,
        CHUNKED + LENGTH,
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5\r\ncontent-length: 5\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: 5, 6\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: 5 5\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Content-Length: \xd9\xa5\r\n",
        b"Content-Length:\r\n",
        b"Content-Length : 5\r\n",
        b"Content-Length: 5\r\n 6\r\n",
        b"Content-Length: 5\n",
        b"Transfer-Encoding: identity\r\n" + LENGTH,
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
        b"Transfer-Encoding: chunked\r\n x\r\n",
        b"X: y\rTransfer-Encoding: chunked\r\n",
        b"X: y\nTransfer-Encoding: chunked\r\n",
    ],
    ids=repr,
)
def test_a_request_with_an_unclear_end_is_400(attacked: AttackedPod, head: bytes) -> None:
    refused(attacked, GET + head + b"\r\n0\r\n\r\n" + SECOND)


@pytest.mark.parametrize(
    "body",
    [b"this is no chunk\r\n", b"5\nhello\r\n0\r\n\r\n", b"-5\r\nhello", b"5\r\nhello0\r\n\r\n"],
)
def test_broken_chunks_are_not_even_looked_at(attacked: AttackedPod, body: bytes) -> None:
    raw, orderly = attacked.send(GET + CHUNKED + b"\r\n" + body + SECOND, LIVENESS)
    assert (parse(raw, orderly).body, orderly) == (b"alive", True)
    assert raw.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "head", [LENGTH, CHUNKED, b"Connection: Content-Length\r\n" + LENGTH, b"Content-Length: 0\r\n"]
)
def test_what_follows_a_request_is_not_one(attacked: AttackedPod, head: bytes) -> None:
    body = b"5\r\nhello\r\n0\r\n\r\n" if head is CHUNKED else b"hello"
    raw, orderly = attacked.send(
        GET + b"User-Agent: smuggler\r\n" + head + b"\r\n" + body + SECOND, LIVENESS
    )
    assert (parse(raw, orderly).body, orderly) == (b"alive", True)
    request = next(r for r in attacked.web.requests if b"smuggler" in r)
    attacked.web.requests.remove(request)
    names = [line.partition(":")[0].lower() for line in header_lines(request)]
    assert not {"content-length", "transfer-encoding"} & set(names)


@pytest.mark.parametrize("version", [b"", b" HTTP/0.9", b" HTTP/2.0"])
def test_other_versions_of_http_are_505(attacked: AttackedPod, version: bytes) -> None:
    before = len([r for r in attacked.web.requests if b"old" in r])
    refused(attacked, b"GET " + PATH + b"?old" + version + b"\r\nHost: x\r\n\r\n", 505)
    assert len([r for r in attacked.web.requests if b"old" in r]) == before


def test_connect_opens_nothing(attacked: AttackedPod) -> None:
    for app in (attacked.undeclared, attacked.web):
        for own in (HEALTHCHECK, LIVENESS):
            ask = b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % app.port
            assert parse(*attacked.send(ask + SECOND, own)).status == 404
    assert not any(b"CONNECT" in request for request in attacked.web.requests)


def test_a_target_in_absolute_form_is_a_path_and_no_address(attacked: AttackedPod) -> None:
    at = b"127.0.0.1:%d" % attacked.undeclared.port
    assert _get(attacked, b"http://" + at + PATH).body == b"alive"
    assert _get(attacked, b"http://" + at + b"/live").status == 404
    assert _get(attacked, b"http://user:pass@" + at + PATH).body == b"alive"
    assert _get(attacked, b"//" + at + PATH).status == 404
    check = b"X: y\r\nOriginal-Tcp-Port: %d\r\n" % attacked.undeclared.port
    assert _get(attacked, b"http://" + at + b"/osm-healthcheck", check, HEALTHCHECK).status == 403


def test_a_host_header_is_no_address(attacked: AttackedPod) -> None:
    at = b"127.0.0.1:%d" % attacked.undeclared.port
    raw = attacked.send(b"GET " + PATH + b" HTTP/1.1\r\nHost: " + at + b"\r\n\r\n", LIVENESS)
    assert parse(*raw).body == b"alive"


def test_options_for_everything_is_404(attacked: AttackedPod) -> None:
    refused(attacked, b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404)


@pytest.mark.parametrize(
    "path",
    [
        b"/osm-liveness-probe/web/",
        b"/osm-liveness-probe/web/../web",
        b"/osm-liveness-probe/./web",
        b"/osm-liveness-probe//web",
        b"/osm-liveness-probe/we%62",
        b"/osm-liveness-probe%2Fweb",
        b"/osm-liveness-probe/web;x",
        b"/osm-liveness-probe/w",
        b"/osm-liveness-probe/web-2",
        b"/osm-readiness-probe/web",
        b"/live",
        b"/",
    ],
)
def test_a_path_is_matched_as_it_is_written(attacked: AttackedPod, path: bytes) -> None:
    assert _get(attacked, path).status == 404


def _get(attacked: AttackedPod, target: bytes, more: bytes = b"", port: int = LIVENESS) -> Answer:
    return parse(
        *attacked.send(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n" + more + b"\r\n", port)
    )
