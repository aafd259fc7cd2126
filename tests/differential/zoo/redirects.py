"""Redirects: every kind of ``Location``, loops, chains, and bodies that come before they end."""

import itertools
from collections.abc import Iterator

from tests.differential.case import Case, Reply, http_get

FINAL = Reply((b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone",))
SHORT = 0.4

LOCATIONS = [
    *(
        "/ /next next ./next ../next ../../next //next ///next".split()
        + "? ?a=b #f /a#f /a?b#c . .. ;a=b".split()
    ),
    *("http://<ip>:<port>/ http://<ip>:<port> HTTP://<ip>:<port>/a http://<ip>:<port>?q".split()),
    *("//<ip>:<port>/a http:/a http:a http: http:// http:/// https: /%zz /%2f /%41 /a%".split()),
    *("http://<ip>:0/ http://<ip>:00/ http://<ip>:65536/ http://<ip>:99999999999/".split()),
    *("http://<ip>:-1/ http://<ip>:+1/ http://<ip>:x/ http://<ip>:/ http://<ip>:1/".split()),
    *(
        "http://other/ http://localhost:<port>/".split()
        + "http://<ip>.:<port>/ http://<ip>@<ip>:<port>/".split()
    ),
    *("http://u@<ip>:<port>/ http://u:p@<ip>:<port>/ http://u:p:q@<ip>:<port>/".split()),
    *(
        "http://%31<ip>:<port>/ http://[::1]:<port>/".split()
        + "http://[::1 http://::1/ http://[::1%25lo]/".split()
    ),
    *(
        "ftp://<ip>:<port>/ file:///etc/passwd".split()
        + "javascript:alert(1) data:text/plain,x mailto:a@b".split()
    ),
    *("ws://<ip>:<port>/ http+unix://<ip>/ 1http://x/ a:b :a /a:b a/b:c //".split()),
    *(
        "//user@/x http://@<ip>:<port>/ http://:@<ip>:<port>/".split()
        + "http://?a http://#a /a//b /a/./b".split()
    ),
    *("/a/../b /a/b/.. /a/b/. /.. /../../a %2e%2e/a /%2e%2e/a /a\\b \\a http:\\\\<ip>\\ *".split()),
    *("/a|b /a^b /a`b /a{b} /a<b> /a\"b /a'b /a[b] /a!b /a$b&c=d+e,f;g@h:i".split()),
    "/a b",
    " /a",
    "/a ",
    "\t/a",
    "/a\tb",
    "/a\x7f",
    "/a\x0c",
    "/\xe9",
    "/\xc3\xa9",
    "/\xff",
    "?\xc3\xa9",
    "?a b",
    "?%zz",
    "#%zz",
    "/#a b",
    "/a#\xc3\xa9",
    "http://\xc3\xa9/",
    "http://<ip> :<port>/",
    "http://<ip>:<port> /",
    "http://<ip>:<port>/a#b#c",
    "http://a b/",
    "http://[<ip>]:<port>/",
    "http://[fe80::1%25en0]:<port>/",
    "http://[::ffff:127.0.0.1]:<port>/",
    "http://0x7f.1:<port>/",
    "http://127.1:<port>/",
    "http://2130706433:<port>/",
    "http://<ip>:<port>/" + "a" * 3000,
    "",
]
BODIES: list[tuple[bytes, bytes, str]] = [
    (b"Content-Length: 0\r\n", b"", "close"),
    (b"Content-Length: 4\r\n", b"body", "close"),
    (b"Content-Length: 4\r\n", b"bo", "close"),
    (b"Content-Length: 4\r\n", b"bo", "reset"),
    (b"Content-Length: 4\r\n", b"bo", "hang"),
    (b"Content-Length: 2048\r\n", b"x" * 2047, "hang"),
    (b"Content-Length: 2048\r\n", b"x" * 2048, "hang"),
    (b"Content-Length: 2049\r\n", b"", "hang"),
    (b"", b"", "hang"),
    (b"", b"body", "hang"),
    (b"", b"x" * 2047, "hang"),
    (b"", b"x" * 2048, "hang"),
    (b"", b"body", "reset"),
    (b"", b"body", "close"),
    (b"Transfer-Encoding: chunked\r\n", b"", "hang"),
    (b"Transfer-Encoding: chunked\r\n", b"4\r\nbody\r\n", "hang"),
    (b"Transfer-Encoding: chunked\r\n", b"800\r\n" + b"x" * 2048, "hang"),
    (b"Transfer-Encoding: chunked\r\n", b"7ff\r\n" + b"x" * 2047, "hang"),
    (b"Transfer-Encoding: chunked\r\n", b"4\r\nbody\r\n0\r\n\r\n", "close"),
    (b"Transfer-Encoding: chunked\r\n", b"nonsense\r\n", "close"),
    (b"Transfer-Encoding: chunked\r\n", b"4\r\nbody", "close"),
    (b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"4\r\nbody\r\n", "hang"),
    (b"Content-Length: 9999\r\nTransfer-Encoding: chunked\r\n", b"4\r\nbody\r\n", "hang"),
]


def redirect(location: str, status: int = 302, more: bytes = b"") -> Reply:
    """An answer with this ``Location``, a character a byte."""
    head = b"HTTP/1.1 %d Moved\r\n" % status + b"Location: " + location.encode("latin-1")
    return Reply((head + b"\r\n" + more + b"Content-Length: 0\r\n\r\n",))


def cases() -> Iterator[Case]:
    """All of them, over IPv4 and IPv6."""
    yield from _locations()
    yield from _chains()
    for number, (headers, body, end) in enumerate(BODIES):
        for status in (301, 304, 307):
            head = b"HTTP/1.1 %d Moved\r\nLocation: /next\r\n" % status + headers + b"\r\n"
            pause = (0.05,) if end == "reset" else ()
            first = Reply((head + body, *pause), end)  # type: ignore[arg-type]
            yield Case(
                "redirects",
                f"body {number} of {status}",
                (first, FINAL),
                time_limit=SHORT if end == "hang" else 10.0,
            )


def _locations() -> Iterator[Case]:
    for address, (number, location) in itertools.product(
        ("127.0.0.1", "::1"), enumerate(LOCATIONS)
    ):
        for status in (301, 308) if address == "::1" else (300, 301, 302, 303, 304, 305, 307, 308):
            yield Case(
                "redirects",
                f"location {number} of {status}: {location[:40]!r}",
                (redirect(location, status), FINAL),
                http_get("/a/b?c=d#e"),
                address=address,
            )
    headers = [
        {"name": name, "value": "x"}
        for name in (
            "Content-Type",
            "Content-Length",
            "Authorization",
            "Cookie",
            "Referer",
            "X-Own",
        )
    ]
    for given in (headers, [{"name": "Host", "value": "declared.example"}], [*headers[2:4]]):
        for location in (
            "/next",
            "http://<ip>:<port>/next",
            "//<ip>:<port>/next",
            "?x",
            "//u:p@<ip>:<port>",
        ):
            for status in (302, 307):
                script = (redirect(location, status), redirect("/again"), FINAL)
                handler = http_get("/first", httpHeaders=given)
                yield Case("redirects", f"headers after {status} to {location}", script, handler)


def _chains() -> Iterator[Case]:
    for length in (1, 5, 8, 9, 10, 11):
        script = (*(redirect(f"/{number}") for number in range(length)), FINAL)
        yield Case("redirects", f"chain of {length}", script)
    for location in ("/", "http://<ip>:<port>/", "?x"):
        yield Case("redirects", f"loop to {location}", (redirect(location),))
    twice = redirect("/one", more=b"Location: /two\r\n")
    yield Case("redirects", "two locations", (twice, FINAL))
    yield Case(
        "redirects", "empty, then another", (redirect("", more=b"location: /two\r\n"), FINAL)
    )
    absent = Reply((b"HTTP/1.1 302 Found\r\nContent-Length: 4\r\n\r\nbody",))
    yield Case("redirects", "no location", (absent,))
    refused = (redirect("http://<ip>:1/"), FINAL)
    yield Case("redirects", "to a closed port", refused)
    for broken in (b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nA\r\n\r\n"):
        yield Case("redirects", f"then {broken!r}", (redirect("/next"), Reply((broken,))))
    for secret in ("http://u:secret@<ip>:<port>/", "http://u:secret@<ip>:1/"):
        yield Case("redirects", "a password", (redirect(secret), Reply((b"nonsense\r\n\r\n",))))
