"""Answers that were broken at random, from a fixed seed."""

import random
from collections.abc import Iterator

from tests.differential.case import Case, reply

SEED, COUNT = 9, 5000
SEEDS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n"
        b"4;x=y\r\nbody\r\n0\r\nA: b\r\n\r\n"
    ),
    b"HTTP/1.1 302 Found\r\nLocation: http://other/\r\nContent-Length: 4\r\n\r\nbody",
    b"HTTP/1.0 500 Oops\r\nServer: x\r\n folded\r\nA:\tb\r\n\r\nbody",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nA: b\r\n\r\n",
]
TOKENS = [
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\x00", b"\x7f", b"\xff", b";", b",", b"0", b"-"),
    *(
        b"\r\n\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"HTTP/1.1 ",
        b"200",
    ),
]


def cases() -> Iterator[Case]:
    """`COUNT` of them."""
    choose = random.Random(SEED)
    for number in range(COUNT):
        yield Case("fuzz", f"{number}", reply(_broken(choose)))


def _broken(choose: random.Random) -> bytes:
    data = choose.choice(SEEDS)
    for _ in range(choose.randint(1, 4)):
        at = choose.randint(0, len(data))
        match choose.randrange(5):
            case 0:
                data = data[:at] + data[at + choose.randint(1, 4) :]
            case 1:
                data = data[:at] + choose.choice(TOKENS) + data[at:]
            case 2:
                data = data[:at] + bytes([choose.randrange(256)]) + data[at + 1 :]
            case 3:
                data = data[:at] if at > len(data) // 2 else data
            case 4:
                end = min(at + choose.randint(1, 20), len(data))
                data = data[:end] + data[at:end] + data[end:]
    return data
