"""What the probers send: paths, headers, hosts; and random ones of a fixed seed."""

import itertools
import random
from collections.abc import Iterator
from typing import Any

from tests.differential.case import Case, Reply, http_get

ANSWER = (Reply((b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",)),)
SEED, RANDOM_CASES = 21, 1500

PATHS = [
    *(
        "/ /healthz healthz ?a=b /?a=b /a?b?c /a#b".split()
        + "#b /a?b#c //host/a //host //host:1/a ///a :a a:b".split()
    ),
    *(
        "/a:b http://x/y http:/y http:y HTTP://x /%41".split()
        + "/%zz /%2F /a%2fb /a%20b /% /%4 /%zz?x=1".split()
    ),
    *(
        "/a/../b /a/./b /. /.. . .. * /* /a//b".split()
        + "/a;b=c /a,b /a@b /@ //u:p@h/a //u@ // /a[1] /a{b}".split()
    ),
    *(
        '/a|b /a^b /a`b /a\\b \\a /a<b> /a"b'.split()
        + "/a'b /~a /a!$&'()*+,;=:@b ?%zz ?a%20b ?a+b /a?%".split()
    ),
    *(
        "//[::1]/a //[::1 //[::1]x/a //a:b/c //a:/c".split()
        + "//a%41/b //a%c3%a9/b http:// http://a:1:2/ x://a".split()
    ),
    "/a b",
    "/a b?c d",
    "/a?b c",
    " /a",
    "/a ",
    "/a\tb",
    "/a\nb",
    "/a\x00b",
    "/a\x7fb",
    "/\u00e9",
    "/\u20ac?\u20ac#\u20ac",
    "?\u00e9",
    "#\u00e9",
    "/\ufffd",
    "/\U0001f600",
    "//\u00e9/a",
    "//a b/c",
    "/a#b c",
    "/a#%zz",
    "/#",
    "/?",
    "/?#",
    "/a?#b",
    "/" + "a" * 5000,
]
VALUES = [
    "",
    " ",
    "  ",
    "\t",
    "x",
    " x ",
    "a, b",
    "\u00e9",
    "a\tb",
    "a\nb",
    "a\x00b",
    "x\r\n",
    "\x7f",
]
NAMES = [
    *(
        "Host User-Agent Accept Accept-Encoding".split()
        + "Authorization Cookie Referer Connection Upgrade".split()
    ),
    *(
        "Content-Length Transfer-Encoding Trailer Content-Type Expect".split()
        + "TE Range X-Own x-oWN host".split()
    ),
    *("ACCEPT user-agent Keep-Alive Proxy-Connection X-Forwarded-For If-None-Match a A1 -".split()),
]
HOSTS = [
    *(
        "example.com example.com:80 a:b:c [::1] [::1]:80 ::1".split()
        + "[fe80::1%25en0] a/b a b@c a_b *.x".split()
    ),
    *(
        "xn--mnchen-3ya.de EXAMPLE.com . .. a..b -a a- %41".split()
        + "a%20b a?b a#b 'a' (a) a;b a,b <a> a|b".split()
    ),
    "m\u00fcnchen",
    "m\u00fcnchen:80",
    "m\u00fcnchen.example:8080",
    "M\u00dcNCHEN",
    "\u65e5\u672c\u8a9e.\u4e2d\u56fd",
    "\u65e5\u672c\u8a9e\u3002\u4e2d\u56fd",
    "fa\u00df.de",
    "\u00e9\u00e9:",
    "\U0001f600.example",
    "a\u200bb",
    "\u00e9:80:90",
    "[\u00e9]:80",
    "\uff21.example",
    "e\u0301.example",
    "a\tb",
    " example.com",
    "example.com ",
]


def headers(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    """``httpHeaders`` as a manifest has them."""
    return [{"name": name, "value": value} for name, value in pairs]


def cases() -> Iterator[Case]:
    """All of them."""
    for number, path in enumerate(PATHS):
        yield _case(f"path {number}", http_get(path))
        yield _case(f"path {number} with Host", http_get(path, httpHeaders=headers(("Host", "h"))))
    for name, value in itertools.product(NAMES, VALUES):
        yield _case(f"{name}: {value!r}", http_get(httpHeaders=headers((name, value))))
    for name, (one, two) in itertools.product(
        NAMES, itertools.product(["", " ", "a", "b"], repeat=2)
    ):
        given = headers((name, one), (name.swapcase(), two))
        yield _case(f"{name}: {one!r}, {two!r}", http_get(httpHeaders=given))
    for host in HOSTS:
        yield _case(f"Host {host!r}", http_get(httpHeaders=headers(("Host", host))))
    for value in (
        "close",
        "Close",
        "keep-alive",
        "upgrade",
        "close, upgrade",
        "x",
        "",
        "Upgrade, x",
    ):
        for upgrade in ("", "websocket", "h2c"):
            given = headers(("Connection", value), ("Upgrade", upgrade))
            yield _case(f"Connection {value!r}, {upgrade!r}", http_get(httpHeaders=given))
    yield _case(
        "many headers", http_get(httpHeaders=headers(*((f"X-{n}", "y") for n in range(300))))
    )
    yield from _random()


def _random() -> Iterator[Case]:
    choose = random.Random(SEED)
    pieces = [
        *"/?#%:@[]&=+;, .-_~",
        "a",
        "b1",
        "%41",
        "%2f",
        "..",
        "\u00e9",
        "//",
        "http://",
        "\u200b",
    ]
    for number in range(RANDOM_CASES):
        path = "".join(choose.choices(pieces, k=choose.randint(1, 8)))
        pairs = [
            (choose.choice(NAMES), choose.choice([*VALUES, "close", "b", "y"]))
            for _ in range(choose.randint(0, 4))
        ]
        more: dict[str, Any] = {"httpHeaders": headers(*pairs)} if pairs else {}
        yield _case(f"random {number}", http_get(path, **more))


def _case(name: str, handler: dict[str, Any]) -> Case:
    return Case("requests", name, ANSWER, handler)
