"""URLs: Go's own answers as a table, the kubelet's vectors, and what holds for every text."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osm_healthcheck.probes.url import URL, URLError, parse, probe_url
from tests.io import vectors

GO: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "go-url.json").read_text(encoding="utf-8")
)
Answers = dict[str, dict[str, str] | None]
# what the difference is made of: the marks of a URL, escapes, letters, bytes that are no text
PIECES = st.sampled_from(
    [
        *"/:?#[]@%.*!$&'()+,;= \"<>\\^`{|}~-_aZ09é",
        "%2F",
        "%zz",
        "..",
        "//",
        "http:",
        "\x00",
        "[::1]",
    ]
)
TEXTS = st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=20)


def fields(url: URL) -> dict[str, str]:
    """Texts of a URL as Go has them; they stand for bytes."""
    found = {
        "scheme": url.scheme,
        "opaque": url.opaque,
        "user": url.user or "",
        "host": url.host,
        "hostname": url.hostname,
        "path": url.path,
        "query": url.query,
        "fragment": url.fragment,
        "target": url.request_target,
        "str": str(url),
    }
    return {
        name: text.encode("latin-1").decode("utf-8", "surrogateescape")
        for name, text in found.items()
        if text
    }


def answers(make: Callable[[str], URL], texts: Iterable[str]) -> Answers:
    found: Answers = {}
    for text in texts:
        try:
            found[text] = fields(make(text))
        except URLError:
            found[text] = None
    return found


def test_parse() -> None:
    assert answers(parse, GO["parse"]) == GO["parse"]


def test_join() -> None:
    base = parse(GO["base"])
    assert shortened(answers(base.join, GO["join"])) == GO["join"]


def test_probe_url() -> None:
    def make(path: str) -> URL:
        return probe_url("HTTP", GO["host"], GO["port"], path)

    assert shortened(answers(make, GO["probe"])) == GO["probe"]


def shortened(found: Answers) -> Answers:
    names = ("str", "target", "hostname")
    return {
        text: one if one is None else {name: one[name] for name in names if name in one}
        for text, one in found.items()
    }


@pytest.mark.parametrize("vector", vectors.kubelet("url").values(), ids=lambda v: v["id"])
def test_the_kubelets_urls(vector: dict[str, Any]) -> None:
    one = vector["given"]
    url = probe_url(one["scheme"], one["host"], one["port"], one["path"])
    assert str(url) == vector["expect"]["url"]


@pytest.mark.parametrize(
    "vector", vectors.kubelet("request_target").values(), ids=lambda v: v["id"]
)
def test_the_kubelets_request_targets(vector: dict[str, Any]) -> None:
    one, expect = vector["given"], vector["expect"]
    host = one.get("host") or one["podIP"]
    if "errorContains" in expect:
        with pytest.raises(URLError, match=expect["errorContains"]):
            probe_url("http", host, one["port"], one["path"])
        return
    url = probe_url("http", host, one["port"], one["path"])
    if "url" in expect:
        assert str(url) == expect["url"]
    elif "requestTarget" in expect:
        assert url.request_target == expect["requestTarget"]
    else:
        assert url.host == ""
        assert f'"{url}"' in expect["output"]


@given(TEXTS)
def test_every_text_is_a_url_or_an_error(text: str) -> None:
    try:
        url = parse(text)
    except URLError:
        return
    assert url.port >= 0
    assert url.userinfo is None or ":" in url.userinfo
    assert url.hostname in url.host


@given(TEXTS)
def test_a_probe_never_leaves_its_host(text: str) -> None:
    """Whatever the path says, the request goes to the app, or nowhere."""
    url = probe_url("http", "10.0.0.1", 8080, text)
    assert (url.scheme, url.host) in (("http", "10.0.0.1:8080"), ("http", ""))
    if url.host:
        assert url.request_target.startswith("/")
        assert not {"\r", "\n"} & set(url.request_target)


@given(TEXTS)
def test_what_is_printed_is_parsed_again(text: str) -> None:
    url = probe_url("http", "10.0.0.1", 8080, text)
    assert str(url) == str(parse(str(url).encode("latin-1").decode("utf-8", "surrogateescape")))


@given(TEXTS, TEXTS)
def test_a_relative_reference_stays_on_its_host(base: str, reference: str) -> None:
    url = probe_url("http", "10.0.0.1", 8080, base)
    try:
        ref = parse(reference)
        joined = url.join(reference)
    except URLError:
        return
    if not ref.scheme and not ref.host and ref.user is None and url.host:
        assert joined.host == url.host


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("h", 80),
        ("h:", 80),
        ("h:8080", 8080),
        ("h:0080", 80),
        ("[::1]", 80),
        ("[::1]:81", 81),
        ("h:0", 0),
        ("h:99999", 99999),
        ("h:" + "9" * 5000, 65536),
    ],
)
def test_port(host: str, port: int) -> None:
    assert parse(f"http://{host}/").port == port


def test_port_of_https_and_of_neither() -> None:
    assert parse("https://h/").port == 443
    assert parse("ftp://h/").port == 0


def test_userinfo_is_unescaped() -> None:
    assert parse("http://u%40:p%3A@h/").userinfo == "u@:p:"
    assert parse("http://u@h/").userinfo == "u:"
    assert parse("http://h/").userinfo is None


@pytest.mark.parametrize("user", ["u:secret@", "u:@", "u@", ""])
def test_an_error_shows_no_password(user: str) -> None:
    shown = user.replace(":secret@", ":***@").replace(":@", ":***@")
    assert parse(f"http://{user}10.0.0.1/x").quoted == f'"http://{shown}10.0.0.1/x"'
