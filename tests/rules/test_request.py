"""What a probe's headers come to: on their way to the app, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osm_healthcheck.probes.probe import HTTPHeader
from osm_healthcheck.probes.request import (
    MAX_CALLER_VALUE_BYTES,
    Headers,
    ProbeHeaders,
    end_to_end,
    hook_headers,
    http1_lines,
    is_upgrade,
    probe_headers,
    proxied_headers,
    request_headers,
    requires_http1,
)
from tests.io import vectors

HOP_BY_HOP = (
    "Connection Keep-Alive Proxy-Authenticate Proxy-Authorization Proxy-Connection TE Trailer "
    "Transfer-Encoding Upgrade"
).split()
CLOSE = (b"Connection", b"close")


def made_of(*pairs: tuple[str, str]) -> ProbeHeaders:
    return probe_headers(HTTPHeader(name, value) for name, value in pairs)


def lines(*pairs: tuple[str, str]) -> Headers:
    return tuple((name.encode(), value.encode()) for name, value in pairs)


@pytest.mark.parametrize(
    "vector",
    [v for v in vectors.kubelet("headers").values() if "headerMap" in v["expect"]],
    ids=lambda v: v["id"],
)
def test_the_kubelets_header_map(vector: vectors.Vector) -> None:
    made = made_of(*((h["name"], h["value"]) for h in vector["given"]["httpHeaders"]))
    found: dict[str, list[str]] = {"Host": [made.host]} if made.host else {}
    for name, value in made.lines:
        found.setdefault(name.decode(), []).append(value.decode())
    assert found == vector["expect"]["headerMap"]


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("x-a", "X-A"),
        ("X--A", "X--A"),
        ("-", "-"),
        ("1a", "1a"),
        ("ETAG", "Etag"),
        ("x-FORWARDED-for", "X-Forwarded-For"),
    ],
)
def test_names_are_canonical(name: str, canonical: str) -> None:
    assert made_of((name, "v")).lines == lines((canonical, "v"))


@pytest.mark.parametrize(
    ("pairs", "host"),
    [
        ([("Host", "a"), ("host", "b")], "a"),
        ([("Host", ""), ("Host", "b")], ""),
        ([("Host", "Example.COM:80")], "Example.COM:80"),
        ([("Host", "bücher.de")], "xn--bcher-kva.de"),
        ([("Host", "bücher.de:80")], "xn--bcher-kva.de:80"),
        ([("Host", "bücher:")], "xn--bcher-kva"),
        ([("Host", "[bücher]:80")], "xn--bcher-kva:80"),
        ([("Host", "bücher:80:90")], "xn--bcher:80:90-thb"),
        ([("Host", "[::bücher]:80")], "[xn--::bcher-p2a]:80"),
        ([("Host", " a ")], " a "),  # which is no host: nothing is sent then
    ],
)
def test_host(pairs: list[tuple[str, str]], host: str) -> None:
    assert made_of(*pairs) == ProbeHeaders(host)


def test_what_is_never_sent() -> None:
    assert made_of(("content-LENGTH", "5")) == ProbeHeaders()


@pytest.mark.parametrize("name", ["transfer-encoding", "TRAILER"])
def test_what_http_1_does_not_send(name: str) -> None:
    made = made_of((name, "5"), ("x-a", " b\t"))
    assert made.lines == lines((name.title(), "5"), ("X-A", " b\t"))
    assert http1_lines(made.lines) == lines(("X-A", "b"))


@pytest.mark.parametrize(
    ("pairs", "required"),
    [
        ([("Connection", "upgrade"), ("Upgrade", "websocket")], True),
        ([("Connection", "a,\tUPGRADE b"), ("Upgrade", "WebSocket"), ("Upgrade", "x")], True),
        ([("Connection", "upgrade"), ("Upgrade", "h2c"), ("Upgrade", "websocket")], False),
        ([("Connection", "a"), ("Connection", "upgrade"), ("Upgrade", "websocket")], False),
        ([("Connection", "upgraded"), ("Upgrade", "websocket")], False),
        ([("Connection", "upgrade")], False),
        ([("Upgrade", "websocket")], False),
    ],
)
def test_what_takes_http_1(pairs: list[tuple[str, str]], required: bool) -> None:
    assert requires_http1(made_of(*pairs).lines) is required


@pytest.mark.parametrize("name", ["User-Agent", "accept"])
def test_an_empty_one_of_these_is_not_sent(name: str) -> None:
    assert made_of((name, "")).lines == ()
    assert made_of((name, "x")).lines != ()


@pytest.mark.parametrize("name", ["User-Agent", "Accept"])
def test_their_first_value_counts_as_it_was_declared(name: str) -> None:
    assert made_of((name, ""), (name, "b")).lines == ()
    assert http1_lines(made_of((name, " ")).lines) == lines((name, ""))


def test_there_is_one_user_agent_and_any_number_of_accepts() -> None:
    assert made_of(("User-Agent", "a"), ("user-agent", "b")).lines == lines(("User-Agent", "a"))
    accepts = lines(("Accept", "a"), ("Accept", ""))
    assert made_of(("Accept", "a"), ("Accept", "")).lines == accepts


def test_any_other_empty_one_is_sent() -> None:
    assert made_of(("x-a", "")).lines == lines(("X-A", ""))


@pytest.mark.parametrize("value", ["a\nb", "a\r", "\x00", "\x7f", "a\x1b"])
@pytest.mark.parametrize("name", ["X-N", "Host", "Content-Length"])
def test_a_control_character_stops_the_whole_request(name: str, value: str) -> None:
    made = made_of(("X-A", "a"), (name, value))
    assert made.refusal == f'net/http: invalid header field value for "{name}"'


def test_a_tab_and_other_letters_do_not() -> None:
    made = made_of(("X-N", " a\tb "), ("X-E", "é"))
    assert made == ProbeHeaders("", lines(("X-N", " a\tb "), ("X-E", "é")))
    assert http1_lines(made.lines) == lines(("X-N", "a\tb"), ("X-E", "é"))


# -- towards the app


def declare(*pairs: tuple[str, str]) -> list[HTTPHeader]:
    return [HTTPHeader(name, value) for name, value in pairs]


def test_it_is_the_kubelets_request_with_the_callers_name_and_wish() -> None:
    declared = declare(("x-b", "2"), ("X-A", "1"))
    expected = lines(("User-Agent", "curl"), ("Accept", "a/b"), ("X-A", "1"), ("X-B", "2"))
    assert proxied_headers(declared, "curl", "a/b") == (*expected, CLOSE)


@pytest.mark.parametrize("name", ["User-Agent", "accept"])
def test_a_declared_one_wins_and_a_declared_empty_one_is_none(name: str) -> None:
    canonical = name.title().encode()
    sent = dict(proxied_headers(declare((name, "declared")), "caller", "caller"))
    assert sent[canonical] == b"declared"
    assert canonical not in dict(proxied_headers(declare((name, "")), "caller", "caller"))


def test_a_caller_without_a_name_has_none() -> None:
    assert proxied_headers((), "", "") == (CLOSE,)


@pytest.mark.parametrize("value", ["x" * (MAX_CALLER_VALUE_BYTES + 1), "a\x01", "a\x7f", "\x00"])
def test_what_the_kubelet_cannot_have_sent_is_left_out(value: str) -> None:
    assert proxied_headers((), value, value) == (CLOSE,)


def test_a_callers_name_may_have_512_bytes() -> None:
    assert proxied_headers((), "x" * 512, "")[0] == (b"User-Agent", b"x" * 512)


def test_bytes_that_are_no_utf_8_go_on_as_they_came() -> None:
    agent = b"\xff\xc3\xa9".decode("utf-8", "surrogateescape")
    assert proxied_headers((), agent, "")[0] == (b"User-Agent", b"\xff\xc3\xa9")


def test_an_upgrade_keeps_the_connection() -> None:
    declared = declare(("Connection", "Upgrade"), ("Upgrade", "websocket"))
    assert proxied_headers(declared, "", "") == probe_headers(declared).lines


@pytest.mark.parametrize(
    "pairs", [[("Connection", "Upgrade")], [("Upgrade", "x")], [("Connection", "keep-alive")]]
)
def test_half_an_upgrade_is_none(pairs: list[tuple[str, str]]) -> None:
    declared = declare(*pairs)
    assert proxied_headers(declared, "", "") == (*probe_headers(declared).lines, CLOSE)
    assert not is_upgrade(probe_headers(declared).lines)


def test_close_is_not_sent_twice() -> None:
    declared = declare(("Connection", "x, close"))
    assert proxied_headers(declared, "", "") == probe_headers(declared).lines


# -- and back


@pytest.mark.parametrize("name", [*HOP_BY_HOP, "x-Named"])
def test_an_answer_loses_what_concerns_the_apps_connection(name: str) -> None:
    received = lines((name, "v"), ("Connection", "X-Named"), ("Date", "d"), ("Content-Length", "1"))
    assert end_to_end(received) == list(lines(("Date", "d"), ("Content-Length", "1")))


DECLARED = st.lists(
    st.builds(
        HTTPHeader,
        st.sampled_from([*HOP_BY_HOP, "Host", "X-A", "x-a", "Accept", "user-agent", "Expect"]),
        st.sampled_from(["", "close", "upgrade", "x-a", "close, accept", "v"]),
    ),
    max_size=6,
)
TEXT = st.text(st.characters(codec="latin-1"), max_size=20)


@given(DECLARED, TEXT, TEXT)
def test_the_caller_says_who_it_is_and_what_it_takes_and_no_more(
    declared: list[HTTPHeader], user_agent: str, accept: str
) -> None:
    of_the_kubelet = request_headers(declared, "kube-probe/1.36")
    named = {header.name.lower() for header in declared}
    free = {name for name in (b"User-Agent", b"Accept") if name.decode().lower() not in named}
    sent = proxied_headers(declared, user_agent, accept)
    assert [line for line in sent if line[0] not in free] == [
        line for line in of_the_kubelet if line[0] not in free
    ]
    assert len([line for line in sent if line[0] in free]) <= len(free)


@pytest.mark.parametrize(
    ("declared", "sent"),
    [
        ([], [("Accept-Encoding", "gzip")]),
        ([("X", "1")], [("X", "1"), ("Accept-Encoding", "gzip")]),
        ([("accept-encoding", "br")], [("Accept-Encoding", "br")]),
        ([("Accept-Encoding", "")], [("Accept-Encoding", ""), ("Accept-Encoding", "gzip")]),
        ([("Range", "bytes=0-1")], [("Range", "bytes=0-1")]),
        ([("Connection", "close")], [("Connection", "close"), ("Accept-Encoding", "gzip")]),
    ],
)
def test_what_the_kubelets_other_client_sends_for_a_hook(
    declared: list[tuple[str, str]], sent: list[tuple[str, str]]
) -> None:
    """As a Go client with that transport was seen to send it (go1.26)."""
    headers = [HTTPHeader(*pair) for pair in declared]
    own = lines(("User-Agent", "kube-lifecycle/1.36"), ("Accept", "*/*"))
    assert hook_headers(headers, "kube-lifecycle/1.36", "*/*") == own + lines(*sent)
    long = "x" * (MAX_CALLER_VALUE_BYTES + 1)
    assert hook_headers(headers, long, long) == lines(*sent)
