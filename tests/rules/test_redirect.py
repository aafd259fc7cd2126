"""The kubelet's rule for redirects: ``RedirectChecker(false)`` on top of Go's ``Client.do``."""

import pytest

from osm_healthcheck.probes.redirect import (
    MAX_URL_BYTES,
    Hop,
    RedirectError,
    location_of,
    next_hop,
)
from osm_healthcheck.probes.request import CLOSE, GZIP, Headers
from osm_healthcheck.probes.url import parse

START = "http://10.0.0.1:8080/a/b?c=d"


def hop(url: str = START, host: str = "", headers: Headers = (), referer: str = "") -> Hop:
    return Hop(parse(url), host, headers, referer)


def followed(location: str, start: Hop | None = None, status: int = 302) -> Hop:
    found = next_hop(status, location, [start or hop()])
    assert found is not None
    return found


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_location_is_looked_at(status: int) -> None:
    headers = ((b"LOCATION", b"/x"), (b"Location", b"/y"))
    assert location_of(status, headers) == "/x"
    assert location_of(status, ()) == ""


@pytest.mark.parametrize("status", [200, 300, 304, 305, 306, 399, 404, 500])
def test_with_any_other_status_it_is_not(status: int) -> None:
    assert location_of(status, ((b"Location", b"/x"),)) == ""


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/x", "http://10.0.0.1:8080/x"),
        ("x", "http://10.0.0.1:8080/a/x"),
        ("?q", "http://10.0.0.1:8080/a/b?q"),
        ("../../../x", "http://10.0.0.1:8080/x"),
        ("http://10.0.0.1/x", "http://10.0.0.1/x"),
        ("https://10.0.0.1:1/x", "https://10.0.0.1:1/x"),
        ("//10.0.0.1:99/x", "http://10.0.0.1:99/x"),
        ("/é", "http://10.0.0.1:8080/%C3%A9"),
    ],
)
def test_followed_while_the_host_name_stays(location: str, url: str) -> None:
    assert str(followed(location).url) == url


@pytest.mark.parametrize(
    "location",
    [
        "http://example.com/x",
        "//other/x",
        "http://localhost:8080/x",
        "http://10.0.0.1.:8080/",
        "http:///x",
        "mailto:x",
        "http://[::1]/",
        "http://10.0.0.1@evil/",
        "http://0x0a000001/",
    ],
)
def test_anybody_else_is_left_to_the_kubelet(location: str) -> None:
    assert next_hop(302, location, [hop()]) is None


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("http://[::1", "failed to parse Location header"),
        ("/%zz", "invalid URL escape"),
        ("/\x7f", "invalid control character"),
        ("ftp://10.0.0.1/", 'unsupported protocol scheme "ftp"'),
        ("http://10.0.0.1:65536/", "address 65536: invalid port"),
        ("http://10.0.0.1:099999999999/", "address 099999999999: invalid port"),
        ("http://10.0.0.1:x/", "invalid port"),
    ],
)
def test_a_redirect_to_nowhere_fails(location: str, words: str) -> None:
    with pytest.raises(RedirectError, match=words):
        next_hop(302, location, [hop()])


def test_port_0_is_one_to_dial() -> None:
    assert followed("http://10.0.0.1:0/").url.port == 0


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("/a\tb#c", r'parse "/a\tb": net/url: invalid control character in URL'),
        ("/a#%zz", r'parse "/a#%zz": invalid URL escape "%zz"'),
        ("\udcff:x", r'parse "\xff:x": first path segment in URL cannot contain colon'),
        ("http://[10.0.0.1]/", 'parse "http://[10.0.0.1]/": invalid IP-literal'),
        ("http://a:\udcff/", r'parse "http://a:\xff/": invalid port ":\xff" after host'),
    ],
)
def test_a_location_that_is_none_is_named_as_go_names_it(location: str, message: str) -> None:
    with pytest.raises(RedirectError) as caught:
        next_hop(302, location, [hop()])
    assert str(caught.value).endswith(f": {message}")


def test_ten_requests_and_no_more() -> None:
    hops = [hop()]
    for _ in range(9):
        following = next_hop(302, "/x", hops)
        assert following is not None
        hops.append(following)
    with pytest.raises(RedirectError, match='Get "/x": stopped after 10 redirects'):
        next_hop(302, "/x", hops)
    assert next_hop(302, "http://elsewhere/", hops) is None  # that comes first


ROOM = MAX_URL_BYTES - len("http://10.0.0.1:8080/")


def test_a_url_is_followed_as_long_as_it_may_be() -> None:
    assert len(str(followed("/" + "a" * ROOM).url)) == MAX_URL_BYTES


@pytest.mark.parametrize(
    "location",
    [
        "/" + "a" * (ROOM + 1),
        "/" + "é" * (ROOM // 6 + 1),  # six bytes each, once they are escaped
        "x" * ROOM,  # beside /a/
        "?" + "q" * 60_000,
        "#" + "f" * 60_000,
        "http://10.0.0.1/" + "a/../" * 12_000,
        "http://" + "u" * 60_000 + "@10.0.0.1/",
        "http://" + "[" * 60_000,
    ],
    ids=lambda location: location[:20],
)
def test_a_longer_one_is_not(location: str) -> None:
    with pytest.raises(RedirectError) as caught:
        next_hop(302, location, [hop()])
    assert str(caught.value) == "redirect to a URL of more than 8192 bytes"


@pytest.mark.parametrize("location", ["//elsewhere/", "http://elsewhere?", "mailto:"])
def test_to_another_host_it_may_be_of_any_length(location: str) -> None:
    assert next_hop(302, location + "a" * 60_000, [hop()]) is None


def test_of_several_requests_the_first_and_the_last_count() -> None:
    hops = [hop(), hop("http://10.0.0.1:1/"), hop("http://10.0.0.1:2/x")]
    assert next_hop(302, "y", hops) == next_hop(302, "y", [hops[0], hops[0], hops[2]])


def test_the_host_header_ends_with_the_first_absolute_location() -> None:
    first = hop(host="my.example")
    assert followed("/x", first).host == "my.example"
    assert followed("//10.0.0.1:9/x", first).host == "my.example"
    absolute = followed("http://10.0.0.1:9/x", first)
    assert absolute.host == ""
    again = next_hop(302, "/y", [first, absolute])
    assert again is not None
    assert again.host == ""


BODY: Headers = (
    (b"content-type", b"t"),
    (b"Content-Encoding", b"e"),
    (b"Content-Language", b"l"),
    (b"Content-Location", b"c"),
)


@pytest.mark.parametrize(("status", "kept"), [(301, False), (303, False), (307, True), (308, True)])
def test_headers_of_a_body_end_with_a_redirect_that_drops_it(status: int, kept: bool) -> None:
    first = hop(headers=((b"X-A", b"1"), *BODY))
    second = followed("/x", first, status)
    assert second.headers == (((b"X-A", b"1"), *BODY) if kept else ((b"X-A", b"1"),))
    third = next_hop(308, "/y", [first, second])
    assert third is not None
    assert third.headers == second.headers


# -- header lines that the URLs call for


def test_referer() -> None:
    second = followed("/x", hop("http://u:p@10.0.0.1:8080/a?é"))
    assert dict(second.lines)[b"Referer"] == "http://10.0.0.1:8080/a?é".encode()
    assert dict(followed("https://10.0.0.1/", hop()).lines)[b"Referer"] == START.encode()
    assert followed("http://10.0.0.1/", hop("https://10.0.0.1/")).lines == ()
    own: Headers = ((b"referer", b"mine"),)
    assert dict(followed("/x", hop(headers=own)).lines) == {b"Referer": b"mine"}


@pytest.mark.parametrize("of_the_transport", [CLOSE, GZIP])
def test_what_the_transport_adds_stays_the_last(of_the_transport: tuple[bytes, bytes]) -> None:
    own = (b"A", b"1"), (b"Z", b"2")
    sent = followed("/x", hop("http://u:p@10.0.0.1/", headers=(*own[:1], of_the_transport))).lines
    assert [name for name, _ in sent] == [b"A", b"Authorization", b"Referer", of_the_transport[0]]
    sent = followed("/x", hop(headers=(*own, of_the_transport))).lines
    assert [name for name, _ in sent] == [b"A", b"Referer", b"Z", of_the_transport[0]]


def test_a_user_in_the_url_is_basic_authentication() -> None:
    assert hop("http://u:p@10.0.0.1/").lines == ((b"Authorization", b"Basic dTpw"),)
    assert hop("http://u@10.0.0.1/").lines == ((b"Authorization", b"Basic dTo="),)
    own: Headers = ((b"authorization", b"Bearer x"),)
    assert hop("http://u:p@10.0.0.1/", headers=own).lines == own
    assert hop("http://10.0.0.1/").lines == ()


@pytest.mark.parametrize(
    ("host", "authority"),
    [
        ("", "10.0.0.1:8080"),
        ("my.example", "my.example"),
        ("a b", ""),
        ("a/b", ""),
        ("user@h", ""),
        ("[fe80::1%eth0]:80", "[fe80::1]:80"),
    ],
)
def test_the_host_header_is_one_or_empty(host: str, authority: str) -> None:
    assert hop(host=host).authority == authority
