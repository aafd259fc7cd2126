"""What a probe's headers come to: on their way to the app, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osm_healthcheck.core.probes import HTTPHeader
from osm_healthcheck.core.request import (
    Headers,
    ProbeHeaders,
    end_to_end,
    forwarded_headers,
    is_upgrade,
    probe_headers,
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


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "TRAILER"])
def test_what_is_never_sent(name: str) -> None:
    assert made_of((name, "5")) == ProbeHeaders()


@pytest.mark.parametrize("name", ["User-Agent", "accept"])
def test_an_empty_one_of_these_is_not_sent(name: str) -> None:
    assert made_of((name, "")).lines == ()
    assert made_of((name, "x")).lines != ()


@pytest.mark.parametrize("name", ["User-Agent", "Accept"])
def test_their_first_value_counts_as_it_was_declared(name: str) -> None:
    assert made_of((name, ""), (name, "b")).lines == ()
    assert made_of((name, " ")).lines == lines((name, ""))


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
    assert made == ProbeHeaders("", lines(("X-N", "a\tb"), ("X-E", "é")))


# -- towards the app


def test_the_callers_headers_go_on_as_they_came() -> None:
    received = lines(("x-A", "1"), ("X-a", "2"), ("User-Agent", "curl"))
    assert forwarded_headers(received, ProbeHeaders()) == (*received, CLOSE)


@pytest.mark.parametrize("name", [*HOP_BY_HOP, "Host", "Content-Length", "Expect", "x-named"])
def test_what_concerns_the_callers_connection_stays_here(name: str) -> None:
    received = lines((name, "v"), ("CONNECTION", "close, X-Named"), ("X-Kept", "v"))
    assert forwarded_headers(received, ProbeHeaders()) == (*lines(("X-Kept", "v")), CLOSE)


def test_declared_headers_fill_in_for_a_caller_that_sends_none() -> None:
    declared = made_of(("X-A", "declared"), ("X-B", "1"), ("x-b", "2"))
    received = lines(("x-a", "sent"))
    expected = (*received, *lines(("X-B", "1"), ("X-B", "2")), CLOSE)
    assert forwarded_headers(received, declared) == expected


def test_an_upgrade_keeps_the_connection() -> None:
    declared = made_of(("Connection", "Upgrade"), ("Upgrade", "websocket"))
    assert forwarded_headers((), declared) == declared.lines


@pytest.mark.parametrize(
    "pairs", [[("Connection", "Upgrade")], [("Upgrade", "x")], [("Connection", "keep-alive")]]
)
def test_half_an_upgrade_is_none(pairs: list[tuple[str, str]]) -> None:
    declared = made_of(*pairs)
    assert forwarded_headers((), declared) == (*declared.lines, CLOSE)
    assert not is_upgrade(declared.lines)


def test_close_is_not_sent_twice() -> None:
    declared = made_of(("Connection", "x, close"))
    assert forwarded_headers((), declared) == declared.lines


# -- and back


@pytest.mark.parametrize("name", [*HOP_BY_HOP, "x-Named"])
def test_an_answer_loses_what_concerns_the_apps_connection(name: str) -> None:
    received = lines((name, "v"), ("Connection", "X-Named"), ("Date", "d"), ("Content-Length", "1"))
    assert end_to_end(received) == list(lines(("Date", "d"), ("Content-Length", "1")))


HEADERS = st.lists(
    st.tuples(
        st.sampled_from([name.encode() for name in [*HOP_BY_HOP, "Host", "X-A", "x-a", "Accept"]]),
        st.sampled_from([b"", b"close", b"upgrade", b"x-a", b"close, accept", b"v"]),
    ),
    max_size=6,
).map(tuple)


@given(HEADERS, HEADERS)
def test_no_caller_can_speak_to_the_apps_connection(received: Headers, declared: Headers) -> None:
    """Only the probe's own headers say anything about it, and it always ends with one answer."""
    probe = ProbeHeaders(lines=tuple(line for line in declared if line[0] != b"Host"))
    names = {name.lower() for name, _ in probe.lines}
    for name, value in forwarded_headers(received, probe):
        lower = name.lower()
        if lower in {n.lower().encode() for n in HOP_BY_HOP} and (name, value) != CLOSE:
            assert lower in names
        assert lower != b"host"
