"""HTTP/1 answers: heads, framing, bodies, and how a connection ends."""

import itertools
from collections.abc import Iterator

from tests.differential.case import Case, End, Reply, http_get

OK = b"HTTP/1.1 200 OK\r\n"
SHORT = 0.4

STATUS_LINES = [
    *(f"HTTP/1.1 {code} X".encode() for code in (99, 100, 101, 102, 103, 199, 200, 204, 205, 206)),
    *(f"HTTP/1.1 {code} X".encode() for code in (299, 300, 301, 304, 305, 306, 399, 400, 404, 418)),
    *(f"HTTP/1.1 {code} X".encode() for code in (499, 500, 503, 599, 600, 700, 999, 1000, 20)),
    *(f"HTTP/1.1 {code} X".encode() for code in ("099", "000", "+20", "-00", "-20", "2x0", "0x2")),
    *(
        f"HTTP/1.1 {code} X".encode()
        for code in (" 200", "  200", "\t200", "200\t", "\uff12\uff10\uff10", "\u0661\u0662\u0663")
    ),
    *(f"{version} 200 OK".encode() for version in ("HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9")),
    *(f"{version} 200 OK".encode() for version in ("HTTP/1", "HTTP/1.", "HTTP/.1", "HTTP/11.1")),
    *(
        f"{version} 200 OK".encode()
        for version in ("HTTP/1.10", "HTTP/3.0", "HTTP/9.9", "HTTP/01.1")
    ),
    *(f"{version} 200 OK".encode() for version in ("http/1.1", "Http/1.1", "HTTPS/1.1", "ICY", "")),
    *(f"{version} 200 OK".encode() for version in ("HTTP/+.1", "HTTP/1.x", "HTTP/1,1", "HTTP 1.1")),
    b"HTTP/1.1 200",
    b"HTTP/1.1 200 ",
    b"HTTP/1.1\t200 OK",
    b"HTTP/1.1  200  OK",
    b"HTTP/1.1200 OK",
    b"HTTP/1.1",
    b"HTTP/1.1 ",
    b" HTTP/1.1 200 OK",
    b"\r\nHTTP/1.1 200 OK",
    b"\nHTTP/1.1 200 OK",
    b"HTTP/1.1 200 \xff\xfe",
    b"HTTP/1.1 200 \x00",
    b"HTTP/1.1 200 O\rK",
    b"HTTP/1.1 200 OK\r",
    b"\x00HTTP/1.1 200 OK",
    "HTTP/1.1 200 \u0451\u200b\u2028".encode(),
    b"GET / HTTP/1.1",
    b"",
    b"\x15\x03\x01\x00\x02\x02\x16",
    b"\x16\x03\x01\x00\x02\x02\x16",
    b"SSH-2.0-OpenSSH_9.6",
    b"220 mail.example ESMTP",
    b"+PONG",
    b"-ERR wrong number of arguments",
    b"* OK IMAP4rev1",
    b"\x4a\x00\x00\x00\x0a8.0.36",
    b"<html><body>hello</body></html>",
    b'{"status": "ok"}',
]
HEADER_LINES = [
    b"A: b",
    b"A:b",
    b"A :b",
    b"A\t: b",
    b"A b: c",
    b" A: b",
    b"\tA: b",
    b": b",
    b":",
    b"A",
    b"A: b\r\n c",
    b"A: b\r\n\tc",
    b"A: b\r\n c\r\n d",
    b"A: b\r\n ",
    b"A: b\r\n \r\n c",
    b"A:\r\n b",
    b"A: b\n c",
    b"A: b\nC: d",
    b"A: b\rC: d",
    b"A: b\r\rC: d",
    b"A: \x00",
    b"A: \x01b",
    b"A: b\x7f",
    b"A: \xff\xfe",
    b"A: \xc3\xa9",
    b"\xc3\xa9: b",
    b"\x00: b",
    b"A\x00: b",
    b"A(: b",
    b"A: b\x0b",
    b"A: b\x0c",
    b"A: b \t ",
    b"A: b\t\x01 ",
    b"no colon",
    b"no colon \t",
    b"A: b\r\nno colon",
    b"no colon\r\n: b",
    b": b\r\nno colon",
    b"A: \x01\r\nno colon",
    b"A: \x01\r\n: b",
    b"A: \x01 \r\nB: \x02",
    b"A(: b\r\nB: \x02",
    b'A: "b"',
    b"A: " + b"b" * 5000,
    b"A" * 5000 + b": b",
    b"A" * 500,
    b"A: b\r\n" * 200 + b"A: c",
    b"Set-Cookie: a=b; Path=/; HttpOnly",
    b"Content-Type: text/html; charset=nonsense",
    b"Content-Encoding: gzip",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: close, upgrade\r\nUpgrade: h2c",
    b"Upgrade: websocket\r\nConnection: Upgrade",
    b"Location: http://[::1",
    b"Date: yesterday",
    b"Trailer: X",
    b"Trailer: Content-Length",
    b"Trailer: X, Transfer-Encoding",
    b"Trailer: Trailer",
]
LENGTHS = [
    *(b"4 4, 4 +4 -4 04 0004 4.0 4a 0x4 5 3 0 00 9223372036854775807 9223372036854775808".split()),
    b"18446744073709551616",
    b"0" * 40 + b"4",
    b"",
    b" 4",
    b"4 ",
    b"4\t",
    b"\t4",
    b"4, 4",
    b"4,5",
    b"4 4",
    b"four",
    b"\xb2",
    "\uff14".encode(),
    b"4\x00",
    b"-0",
]
CODINGS = [
    b"chunked",
    b"Chunked",
    b"CHUNKED",
    b"chunked ",
    b" chunked",
    b"chunked,",
    b"chunked, chunked",
    b"gzip, chunked",
    b"chunked, gzip",
    b"gzip",
    b"identity",
    b"",
    b"chunked\x0b",
    b"\x0bchunked",
    b'"chunked"',
    b"xchunked",
    b"chunked;q=1",
    b"chunked\r\n ",
    b"chunked\r\n x",
    b"\r\n chunked",
]
CHUNKED_BODIES = [
    b"4\r\nbody\r\n0\r\n\r\n",
    b"4\r\nbody\r\n0\r\n",
    b"4\r\nbody\r\n0\r\n\r",
    b"4\r\nbody\r\n0",
    b"4\r\nbody\r\n0\r",
    b"4\r\nbody\r\n",
    b"4\r\nbody\r",
    b"4\r\nbody",
    b"4\r\nbod",
    b"4\r\n",
    b"4\r",
    b"4",
    b"",
    b"4\nbody\n0\n\n",
    b"4\nbody\r\n0\r\n\r\n",
    b"4\r\nbody\n0\r\n\r\n",
    b"4\r\nbody\r\n0\n\r\n",
    b"4\r\nbody\r\n0\r\n\n",
    b"4\r\nbody\r\n0\n\n",
    b"4\r\r\nbody\r\n0\r\n\r\n",
    b"4\rx\nbody\r\n0\r\n\r\n",
    b"4;\r\nbody\r\n0\r\n\r\n",
    b"4;a=b\r\nbody\r\n0\r\n\r\n",
    b'4;a="b\r\nbody\r\n0\r\n\r\n',
    b"4 ;a=b\r\nbody\r\n0\r\n\r\n",
    b"4 \r\nbody\r\n0\r\n\r\n",
    b"4\t\r\nbody\r\n0\r\n\r\n",
    b" 4\r\nbody\r\n0\r\n\r\n",
    b"+4\r\nbody\r\n0\r\n\r\n",
    b"-4\r\nbody\r\n0\r\n\r\n",
    b"0x4\r\nbody\r\n0\r\n\r\n",
    b"04\r\nbody\r\n0\r\n\r\n",
    b"0000000000000004\r\nbody\r\n0\r\n\r\n",
    b"00000000000000004\r\nbody\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\nbody\r\n0\r\n\r\n",
    b"fffffffffffffffff\r\nbody\r\n0\r\n\r\n",
    b"7fffffffffffffff\r\nbody\r\n0\r\n\r\n",
    b"8000000000000000\r\nbody\r\n0\r\n\r\n",
    b"a\r\n0123456789\r\n0\r\n\r\n",
    b"A\r\n0123456789\r\n0\r\n\r\n",
    b"g\r\nbody\r\n0\r\n\r\n",
    b"\r\nbody\r\n0\r\n\r\n",
    b"\nbody\r\n0\r\n\r\n",
    b";a\r\nbody\r\n0\r\n\r\n",
    b"4\r\nbodyXX0\r\n\r\n",
    b"4\r\nbodyX\n0\r\n\r\n",
    b"4\r\nbody\rX0\r\n\r\n",
    b"4\r\nbodylonger\r\n0\r\n\r\n",
    b"4\r\nbody\r\n4\r\nbody\r\n0\r\n\r\n",
    b"4\r\nbody\r\n00\r\n\r\n",
    b"4\r\nbody\r\n0\r\nA: b\r\n\r\n",
    b"4\r\nbody\r\n0\r\nA: b\r\n",
    b"4\r\nbody\r\n0\r\nA: b",
    b"4\r\nbody\r\n0\r\nA\r\n\r\n",
    b"4\r\nbody\r\n0\r\n: b\r\n\r\n",
    b"4\r\nbody\r\n0\r\n A: b\r\n\r\n",
    b"4\r\nbody\r\n0\r\nA: b\r\n c\r\n\r\n",
    b"4\r\nbody\r\n0\r\nA: b\n\n",
    b"4\r\nbody\r\n0\r\nA: b\r\n\n",
    b"4\r\nbody\r\n0\r\n\nA: b\r\n\r\n",
    b"4\r\nbody\r\n0\r\n\n\r\n\r\n",
    b"4\r\nbody\r\n0\r\nA: \x01\r\n\r\n",
    b"4\r\nbody\r\n0\r\nContent-Length: 9\r\n\r\n",
    b"4\r\nbody\r\n0\r\nA: " + b"b" * 4000 + b"\r\n\r\n",
    b"4\r\nbody\r\n0\r\nA: " + b"b" * 4090 + b"\r\n\r\n",
    b"4\r\nbody\r\n0\r\nA: " + b"b" * 9000 + b"\r\n\r\n",
    b"4;" + b"x" * 4000 + b"\r\nbody\r\n0\r\n\r\n",
    b"4;" + b"x" * 4092 + b"\r\nbody\r\n0\r\n\r\n",
    b"4;" + b"x" * 4093 + b"\r\nbody\r\n0\r\n\r\n",
    b"4;" + b"x" * 4094 + b"\r\nbody\r\n0\r\n\r\n",
    b"4;" + b"x" * 4095 + b"\r\nbody\r\n0\r\n\r\n",
    b"4;" + b"x" * 9000 + b"\r\nbody\r\n0\r\n\r\n",
    b"1\r\nx\r\n" * 2000 + b"0\r\n\r\n",
    b"1\r\nx\r\n" * 6000 + b"0\r\n\r\n",
    b"0001\r\nx\r\n" * 2000 + b"0\r\n\r\n",
    (b"1;" + b"e" * 200 + b"\r\nx\r\n") * 60 + b"0\r\n\r\n",
    (b"1;" + b"e" * 200 + b"\r\nx\r\n") * 90 + b"0\r\n\r\n",
    (b"1;" + b"e" * 2000 + b"\r\nx\r\n") * 8 + b"0\r\n\r\n",
    (b"1;" + b"e" * 2000 + b"\r\nx\r\n") * 9 + b"0\r\n\r\n",
    (b"40;" + b"e" * 2000 + b"\r\n" + b"x" * 64 + b"\r\n") * 12 + b"0\r\n\r\n",
    b"2800\r\n" + b"x" * 10240 + b"\r\n0\r\n\r\n",
    b"2800\r\n" + b"x" * 10240 + b"XX0\r\n\r\n",
    b"2800\r\n" + b"x" * 10240 + b"\r\n",
    b"2800\r\n" + b"x" * 10240,
    b"27ff\r\n" + b"x" * 10239 + b"XX0\r\n\r\n",
    b"2801\r\n" + b"x" * 10241 + b"XX0\r\n\r\n",
    b"2801\r\n" + b"x" * 10240,
    b"10000\r\n" + b"x" * 65536 + b"\r\n0\r\n\r\n",
    b"0\r\n\r\n",
    b"0\r\n\r\nextra",
    b"4\r\nbody\r\n0\r\n\r\nextra",
]
BODIES = [b"", b"b", b"body", b"bodyX", b"\xff\xfe", b"\x00", "\u0442\u0435".encode(), b"x" * 10239]
LONG_BODIES = [b"x" * count for count in (10240, 10241, 65536, 300_000)]


def cases() -> Iterator[Case]:
    """All of them, each over plain TCP."""
    for number, (name, reply, short) in enumerate(answers()):
        time_limit = SHORT if short else 10.0
        yield Case("http1", f"{number} {name}", (reply,), http_get(), time_limit=time_limit)


def answers() -> Iterator[tuple[str, Reply, bool]]:
    """A name, the app's reply, and whether it makes a caller wait for its timeout."""
    for line in STATUS_LINES:
        for rest in (
            b"\r\nContent-Length: 4\r\n\r\nbody",
            b"\r\n\r\nbody",
            b"\n\nbody",
            b"\r\n",
            b"",
        ):
            yield "status line", Reply((line + rest,)), False
    for line, status in itertools.product(HEADER_LINES, (b"200", b"301", b"503")):
        head = b"HTTP/1.1 " + status + b" X\r\n" + line
        yield "header line", Reply((head + b"\r\nContent-Length: 4\r\n\r\nbody",)), False
        yield "header line", Reply((head + b"\r\n\r\nbody",)), False
        yield "unfinished header line", Reply((head + b"\r\n",)), False
        yield "unfinished header line", Reply((head,)), False
    yield from _framed()
    yield from _ends()
    yield from _informational()


def _framed() -> Iterator[tuple[str, Reply, bool]]:
    for version, length in itertools.product((b"HTTP/1.0", b"HTTP/1.1"), LENGTHS):
        head = version + b" 200 OK\r\nContent-Length: " + length
        yield "length", Reply((head + b"\r\n\r\nbody",)), False
        yield "two lengths", Reply((head + b"\r\nContent-Length: 4\r\n\r\nbody",)), False
        chunks = b"\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
        yield "length and chunked", Reply((head + chunks,)), False
    for version, coding in itertools.product((b"HTTP/1.0", b"HTTP/1.1"), CODINGS):
        head = version + b" 200 OK\r\nTransfer-Encoding: " + coding
        yield "coding", Reply((head + b"\r\n\r\n4\r\nbody\r\n0\r\n\r\n",)), False
        yield "coding", Reply((head + b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",)), False
        yield "coding", Reply((head + b"\r\nContent-Length: 4\r\n\r\nbody",)), False
    for status, body in itertools.product((b"200", b"204", b"302", b"304", b"500"), CHUNKED_BODIES):
        head = b"HTTP/1.1 " + status + b" X\r\nTransfer-Encoding: chunked\r\n"
        yield "chunks", Reply((head + b"\r\n" + body,)), False
        if status in (b"200", b"302"):
            yield "chunks, in pieces", Reply((head + b"\r\n", 0.01, body)), False
            yield "chunks, reset", Reply((head + b"\r\n" + body, 0.05), "reset"), False
            yield "chunks, Trailer", Reply((head + b"Trailer: A\r\n\r\n" + body,)), False
    for status, body in itertools.product((b"200", b"204", b"304", b"404"), BODIES + LONG_BODIES):
        head = b"HTTP/1.1 " + status + b" X\r\n"
        for count in (len(body), len(body) + 1, max(len(body) - 1, 0)):
            framed = head + b"Content-Length: %d\r\n\r\n" % count
            yield "body", Reply((framed + body,)), False
            yield "body, in pieces", Reply((framed, 0.01, body)), False
            yield "body, reset", Reply((framed + body, 0.05), "reset"), False
        yield "body to the end", Reply((head + b"\r\n" + body,)), False
        yield "body to a reset", Reply((head + b"\r\n" + body, 0.05), "reset"), False


def _ends() -> Iterator[tuple[str, Reply, bool]]:
    whole = OK + b"A: b\r\nContent-Length: 4\r\n\r\nbody"
    ends: tuple[End, ...] = ("close", "reset", "hang")
    for cut, end in itertools.product(range(len(whole) + 1), ends):
        pause = (0.05,) if end == "reset" else ()
        yield f"cut at {cut}, {end}", Reply((whole[:cut], *pause), end), end == "hang"
    in_pieces: tuple[tuple[bytes | float, ...], ...] = (
        (b"HTTP", 0.02, b"/1.1 200 OK\r", 0.02, b"\n\r", 0.02, b"\nbody"),
        (OK + b"A: b\r\n", 0.02, b" c\r\n\r\n"),
        tuple(bytes([byte]) for byte in whole),
        (OK + b"\r\nbo", 0.02, b"dy"),
    )
    for pieces in in_pieces:
        yield "in pieces", Reply(pieces), False
    for hanging in (b"no colon\r\n", b": b\r\n", b"A: \x01\r\n", b"nonsense\r\n\r\n", b"\r\n"):
        yield "hangs", Reply((OK + hanging,), "hang"), True
        yield "hangs", Reply((hanging,), "hang"), True
    for body in CHUNKED_BODIES[:60]:
        head = OK + b"Transfer-Encoding: chunked\r\n\r\n"
        yield "chunks, hangs", Reply((head + body,), "hang"), True


def _informational() -> Iterator[tuple[str, Reply, bool]]:
    for code in (100, 101, 102, 103, 150, 199):
        for middle in (
            b"",
            b"A: b\r\n",
            b"Content-Length: 4\r\n",
            b"Transfer-Encoding: chunked\r\n",
        ):
            head = b"HTTP/1.1 %d X\r\n" % code + middle + b"\r\n"
            final = OK + b"Content-Length: 4\r\n\r\nbody"
            yield "informational", Reply((head + final,)), False
            yield "informational only", Reply((head,)), False
            yield "informational twice", Reply((head + head + final,)), False
            yield "informational, then silence", Reply((head,), "hang"), True
    for count in (4, 5, 6, 10, 100):
        early = b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" * count
        yield f"{count} informational", Reply((early + OK + b"\r\nbody",)), False
    upgrade = b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    yield "switched", Reply((upgrade + b"frames",)), False
    yield "switched, then silence", Reply((upgrade,), "hang"), True
