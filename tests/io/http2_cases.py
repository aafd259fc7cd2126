"""What an app can say by HTTP/2, frame by frame, for a probe over TLS and for one of gRPC.

What Go's clients make of each is in ``tests/vectors/go-http2.json``, by the same names.
"""

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from hpack import Encoder

from tests.io.apps import App, read_until_gone, reset

Pairs = list[tuple[bytes, bytes]]

END, ACK, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 32
DATA, HEADERS, PRIO, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
UNKNOWN = 0x42
NO, PROTOCOL, REFUSED, CANCEL, CALM = 0, 1, 7, 8, 11
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 1) -> bytes:
    """Any frame, be it right or wrong."""
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes([kind, flags])
        + struct.pack(">I", stream)
        + payload
    )


def settings(*pairs: tuple[int, int], flags: int = 0, stream: int = 0) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, b"".join(struct.pack(">HI", *pair) for pair in pairs), flags, stream)


def block(pairs: Pairs) -> bytes:
    """A header block whose fields are all written out."""
    out = b""
    for name, value in pairs:
        out += b"\0" + length(name) + name + length(value) + value
    return out


def length(text: bytes) -> bytes:
    """A string's length, without Huffman's code (RFC 7541 section 5.1)."""
    number = len(text)
    if number < 127:
        return bytes([number])
    out, number = b"\x7f", number - 127
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def zeros(size: int) -> bytes:
    """A string of ``size`` bytes in Huffman's code, a multiple of 5: each zero has five bits."""
    first, *rest = length(bytes(size))
    return bytes([first | 0x80, *rest]) + bytes(size)


def headers(pairs: Pairs, flags: int = 0, stream: int = 1) -> bytes:
    """HEADERS, and CONTINUATION where one frame does not hold them."""
    return cut(block(pairs), flags, stream)


def sized(pairs: Pairs, size: int) -> bytes:
    """A header block whose list has ``size`` bytes (RFC 9113 section 6.5.2), and is no longer.

    Besides ``pairs`` it has one field of the table again and again.
    """
    field = (b"x", b"v" * 3900)
    field_bytes = _list_bytes([field])
    count, rest = divmod(size - _list_bytes([*pairs, (b"y", b"")]), field_bytes)
    indexed = b"\x40" + block([field])[1:] + b"\xbe" * (count - 1)
    return block(pairs) + indexed + block([(b"y", b"v" * rest)])


def _list_bytes(pairs: Pairs) -> int:
    return sum(len(name) + len(value) + 32 for name, value in pairs)


def cut(data: bytes, flags: int = 0, stream: int = 1, size: int = 16384) -> bytes:
    """A header block in frames of ``size``."""
    pieces = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
    out = b""
    for number, piece in enumerate(pieces):
        last = END_HEADERS if number == len(pieces) - 1 else 0
        if number == 0:
            out += frame(HEADERS, piece, flags | last, stream)
        else:
            out += frame(CONTINUATION, piece, last, stream)
    return out


def goaway(last: int, code: int = NO, debug: bytes = b"") -> bytes:
    """GOAWAY."""
    return frame(GOAWAY, struct.pack(">II", last, code) + debug, stream=0)


def rst(code: int, stream: int = 1) -> bytes:
    """RST_STREAM."""
    return frame(RST, struct.pack(">I", code), stream=stream)


def ping() -> bytes:
    """PING."""
    return frame(PING, b"12345678", stream=0)


def huffman(pairs: Pairs) -> bytes:
    """A header block as ``hpack`` encodes it, with its table and Huffman's code."""
    return bytes(Encoder().encode(pairs))


def on_stream(data: bytes, stream: int) -> bytes:
    """The frames of ``data`` on another stream."""
    out = b""
    while data:
        size = 9 + int.from_bytes(data[:3], "big")
        out += data[:5] + struct.pack(">I", stream) + data[9:size]
        data = data[size:]
    return out


@dataclass
class Talk:
    """What an app says on one connection: ``first`` unasked, ``then`` when the request is there.

    ``again`` is for a second request. ``end`` is ``fin``, ``reset`` or ``hold``: the caller has to
    end it.
    """

    then: bytes = b""
    again: bytes = b""
    first: bytes = field(default_factory=settings)
    end: str = "hold"


Case = list[Talk]  # on one connection after another, the last one on all that follow


def one(then: bytes = b"", **more: object) -> Case:
    """An app that says the same on every connection."""
    return [Talk(then, **more)]  # type: ignore[arg-type]


class Talker(App):
    """An app that plays a case at a time."""

    left: Case

    def play(self, case: Case) -> None:
        """Be this case's app from now on."""
        self.left = list(case)


@contextlib.contextmanager
def talker(tls: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> Iterator[Talker]:
    """Run an app that can play cases; over TLS, where it has a context."""

    def serve(plain: socket.socket) -> None:
        left = running.left
        talk = left.pop(0) if len(left) > 1 else left[0]
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.ExitStack() as stack:
            sock: socket.socket = plain
            if tls is not None:
                sock = stack.enter_context(tls.wrap_socket(plain, server_side=True))
            sock.sendall(talk.first)
            if talk.then or talk.end == "hold":
                request = read_request(sock)
                with running.changed:
                    running.requests.append(request)
                    running.changed.notify_all()
                sock.sendall(talk.then)
                if talk.again and read_request(sock):
                    sock.sendall(talk.again)
            if talk.end == "reset":
                reset(sock)
                return
            if talk.end == "fin":
                sock.shutdown(socket.SHUT_WR)
            read_until_gone(sock)

    running = Talker(serve, address)
    try:
        yield running
    finally:
        running.close()


def read_request(sock: socket.socket) -> bytes:
    """Read until the caller has ended its stream; what has come."""
    data = b""
    while piece := sock.recv(65536):
        data += piece
        at = len(PREFACE) if data.startswith(PREFACE) else 0
        while len(data) >= at + 9:
            size = int.from_bytes(data[at : at + 3], "big")
            if len(data) < at + 9 + size:
                break
            if data[at + 3] in (HEADERS, DATA) and data[at + 4] & END:
                return data
            at += 9 + size
    return b""


OK: Pairs = [(b":status", b"200")]
PSEUDO_HEADERS: Pairs = [
    (name, b"x") for name in (b":method", b":path", b":scheme", b":authority", b":protocol")
]
BODY = frame(DATA, b"body", END)
FINE = headers(OK) + BODY


def status(code: bytes, *more: tuple[bytes, bytes]) -> Pairs:
    """A header list with this status."""
    return [(b":status", code), *more]


def many(size: int, count: int = 1) -> Pairs:
    """A header list that is ``count`` fields of ``size`` bytes longer."""
    return [*OK, *((b"x-%d" % number, b"v" * size) for number in range(count))]


def informational(size: int) -> bytes:
    """Answers of 103 whose header lists have ``size`` bytes together."""
    lists = [*[80_000] * (size // 80_000), size % 80_000]
    return b"".join(cut(sized(status(b"103"), one)) for one in lists)


def opened(more: int, stream: int = 0) -> bytes:
    """WINDOW_UPDATE."""
    return frame(WINDOW, struct.pack(">I", more), stream=stream)


# -- an HTTPS app that has settled on h2

HTTPS: dict[str, Case] = {
    "an answer": one(FINE),
    "an answer in a table and in Huffman's code": one(
        cut(huffman([*OK, (b"server", b"x"), (b"date", b"Thu, 01 Jan 1970 00:00:00 GMT")])) + BODY
    ),
    "an answer in frames of one byte": one(cut(block([*OK, (b"a", b"b")]), size=1) + BODY),
    "an answer without a body": one(headers(OK, END)),
    "a padded answer": one(
        frame(HEADERS, b"\x03" + block(OK) + b"\0\0\0", END_HEADERS | PADDED)
        + frame(DATA, b"\x02body\0\0", END | PADDED)
    ),
    "an answer with a priority": one(
        frame(HEADERS, b"\0\0\0\0\x10" + block(OK), END_HEADERS | PRIORITY) + BODY
    ),
    "an answer with flags that nobody knows": one(
        frame(HEADERS, block(OK), END_HEADERS | 0xD2) + frame(DATA, b"body", END | 0xF6)
    ),
    "trailers": one(headers(OK) + frame(DATA, b"body") + headers([(b"x", b"y")], END)),
    "103, then an answer": one(headers(status(b"103", (b"link", b"x"))) + FINE),
    "199, then an answer": one(headers(status(b"199")) + FINE),
    "100, then 101, then an answer": one(headers(status(b"100")) + headers(status(b"101")) + FINE),
    "103 with END_STREAM": one(headers(status(b"103"), END)),
    "a status of 204": one(headers(status(b"204"), END)),
    "a status of 204 that does not end": one(headers(status(b"204")), end="fin"),
    "a status of 503": one(headers(status(b"503")) + BODY),
    "a redirect to another host": one(
        headers(status(b"302", (b"location", b"https://192.0.2.1/"))) + BODY
    ),
    # settings
    "ENABLE_PUSH=1": one(FINE, first=settings((2, 1))),
    "ENABLE_PUSH=2": one(FINE, first=settings((2, 2))),
    "MAX_FRAME_SIZE=1": one(FINE, first=settings((5, 1))),
    "INITIAL_WINDOW_SIZE too large": one(FINE, first=settings((4, 2**31))),
    "INITIAL_WINDOW_SIZE=2**31 - 1": one(FINE, first=settings((4, 2**31 - 1))),
    "INITIAL_WINDOW_SIZE=0": one(FINE, first=settings((4, 0))),
    "HEADER_TABLE_SIZE=0": one(FINE, first=settings((1, 0))),
    "ENABLE_CONNECT_PROTOCOL=2": one(FINE, first=settings((8, 2))),
    "an unknown setting": one(FINE, first=settings((0xFFFF, 7))),
    "settings that are only an acknowledgement": one(FINE, first=settings(flags=ACK)),
    "two acknowledgements": one(FINE, first=settings() + settings(flags=ACK) * 2),
    "an acknowledgement with a payload": one(FINE, first=settings() + settings((1, 1), flags=ACK)),
    "settings on a stream": one(FINE, first=settings(stream=1)),
    "settings of five bytes": one(FINE, first=frame(SETTINGS, b"12345", stream=0)),
    "settings again": one(settings((3, 1)) + FINE),
    "no settings": one(FINE, first=b""),
    "a bad header before settings": one(FINE, first=headers([(b"X", b"y")], stream=3) + settings()),
    "PING before settings": one(FINE, first=ping() + settings()),
    "nothing": one(first=b"", end="fin"),
    "settings, then the end": one(end="fin"),
    "settings, then a reset": one(end="reset"),
    # GOAWAY and what is asked again
    "GOAWAY, then the answer": one(goaway(1) + FINE),
    "GOAWAY in the middle of the answer": one(headers(OK) + goaway(1) + BODY),
    "GOAWAY of a graceful shutdown, then the answer": one(goaway(2**31 - 1) + FINE + goaway(1)),
    "GOAWAY with an error, then the answer": one(goaway(1, CALM, b"debug") + FINE),
    "GOAWAY, then the end": one(goaway(1), end="fin"),
    "GOAWAY of a graceful shutdown, then the end": one(goaway(2**31 - 1), end="fin"),
    "GOAWAY with words, then the end": one(goaway(1, CALM, b"too_many\n"), end="fin"),
    "GOAWAY with a lower stream, then an answer": ([Talk(goaway(0)), Talk(FINE)]),
    "GOAWAY with a lower stream unasked": ([Talk(first=settings() + goaway(0)), Talk(FINE)]),
    "GOAWAY with a lower stream and an error": ([Talk(goaway(0, CALM)), Talk(FINE)]),
    "GOAWAY with a lower stream, five times": ([Talk(goaway(0))] * 5 + [Talk(FINE)]),
    "GOAWAY with a lower stream for ever": one(goaway(0)),
    "GOAWAY twice, the second lower": ([Talk(goaway(2**31 - 1) + goaway(0)), Talk(FINE)]),
    "GOAWAY twice, then the end": one(
        goaway(2**31 - 1, CALM, b"first") + goaway(1, NO, b"second"), end="fin"
    ),
    "GOAWAY twice, the second with an error, then the end": one(
        goaway(2**31 - 1) + goaway(1, CALM, b"second"), end="fin"
    ),
    "GOAWAY and the end unasked": ([Talk(first=settings() + goaway(0), end="fin"), Talk(FINE)]),
    "GOAWAY on a stream": one(frame(GOAWAY, b"\0" * 8) + FINE),
    "GOAWAY of four bytes": one(frame(GOAWAY, b"\0" * 4, stream=0) + FINE),
    "REFUSED_STREAM, then an answer": ([Talk(rst(REFUSED)), Talk(FINE)]),
    "REFUSED_STREAM twice, then an answer": ([Talk(rst(REFUSED))] * 2 + [Talk(FINE)]),
    "REFUSED_STREAM for ever": one(rst(REFUSED)),
    "PROTOCOL_ERROR, then an answer": ([Talk(rst(PROTOCOL)), Talk(FINE)]),
    "CANCEL, then an answer": ([Talk(rst(CANCEL)), Talk(FINE)]),
    "an unknown error, then an answer": ([Talk(rst(0x77)), Talk(FINE)]),
    "REFUSED_STREAM in the answer": one(headers(OK) + rst(REFUSED)),
    "NO_ERROR in the answer": one(headers(OK) + frame(DATA, b"b") + rst(NO)),
    "NO_ERROR after the answer": one(FINE + rst(NO)),
    "RST_STREAM of another stream": one(rst(CANCEL, 3) + FINE),
    "RST_STREAM of no stream": one(rst(CANCEL, 0) + FINE),
    "RST_STREAM of three bytes": one(frame(RST, b"123") + FINE),
    "the end before the answer": one(ping(), end="fin"),
    "the end in a frame": one(FINE[:5], end="fin"),
    "the end in the body": one(headers(OK) + frame(DATA, b"b"), end="fin"),
    "a reset in the body": one(headers(OK) + frame(DATA, b"b"), end="reset"),
    # other frames
    "WINDOW_UPDATE of an idle stream": one(frame(WINDOW, b"\0\0\0\1", stream=3) + FINE),
    "WINDOW_UPDATE of nothing": one(frame(WINDOW, b"\0\0\0\0", stream=0) + FINE),
    "WINDOW_UPDATE of nothing for the stream": one(frame(WINDOW, b"\0\0\0\0") + FINE),
    "WINDOW_UPDATE of nothing for another": one(frame(WINDOW, b"\0\0\0\0", stream=3) + FINE),
    "WINDOW_UPDATE past the limit": one(frame(WINDOW, b"\x7f\xff\xff\xff", stream=0) + FINE),
    "WINDOW_UPDATE to the limit": one(opened(2**31 - 1 - 65535) + FINE),
    "WINDOW_UPDATE a byte past the limit": one(opened(2**31 - 65535) + FINE),
    "WINDOW_UPDATE of the stream to the limit": one(opened(2**31 - 1 - 65535, 1) + FINE),
    # nothing a byte past it: there Go's client waits for itself for ever (processWindowUpdate)
    "WINDOW_UPDATE of two bytes": one(frame(WINDOW, b"\0\0", stream=0) + FINE),
    "PUSH_PROMISE": one(frame(PUSH, b"\0\0\0\2" + block(OK), END_HEADERS) + FINE),
    "PRIORITY": one(frame(PRIO, b"\0\0\0\0\x10") + FINE),
    "PRIORITY of four bytes": one(frame(PRIO, b"\0\0\0\0") + FINE),
    "a frame that nobody knows": one(frame(UNKNOWN, b"x" * 99) + FINE),
    "PING": one(ping() + FINE),
    "PING of seven bytes": one(frame(PING, b"1234567", stream=0) + FINE),
    "PING on a stream": one(frame(PING, b"12345678") + FINE),
    "CONTINUATION of nothing": one(frame(CONTINUATION, b"") + FINE),
    "PING within a header block": one(frame(HEADERS, block(OK)) + ping() + FINE),
    "a frame that is too large": one(headers(OK) + frame(DATA, b"x" * 16385, END)),
    "HTTP/1 in h2": one(first=b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", end="fin"),
    "DATA before HEADERS": one(BODY),
    "DATA of no stream": one(frame(DATA, b"x", stream=0) + FINE),
    "DATA of another stream": one(frame(DATA, b"x", stream=3) + FINE),
    "HEADERS of another stream": one(headers(OK, stream=3) + FINE),
    "HEADERS of no stream": one(headers(OK, stream=0) + FINE),
    "more padding than there is": one(headers(OK) + frame(DATA, b"\x09body", END | PADDED)),
    "HEADERS with more padding than there is": one(
        frame(HEADERS, b"\xff" + block(OK), END_HEADERS | PADDED) + FINE
    ),
    "empty DATA": one(headers(OK) + frame(DATA) * 100 + BODY),
    "HEADERS in the middle": one(headers(OK) + headers(OK) + BODY),
    "trailers with a status": one(headers(OK) + headers(OK, END)),
    "trailers in capitals": one(headers(OK) + headers([(b"X", b"y")], END)),
    # header lists
    "a name in capitals": one(headers([*OK, (b"X-Upper", b"y")]) + BODY),
    "a name with a blank": one(headers([*OK, (b"x y", b"y")]) + BODY),
    "a name with a colon": one(headers([*OK, (b"x:", b"y")]) + BODY),
    "an empty name": one(headers([*OK, (b"", b"y")]) + BODY),
    "a name that is not ASCII": one(headers([*OK, (b"x\xc3\xa9", b"y")]) + BODY),
    "CR LF in a value": one(headers([*OK, (b"x", b"y\r\nSet-Cookie: z")]) + BODY),
    "CR LF in a name": one(headers([*OK, (b"x\r\ny", b"z")]) + BODY),
    "LF in a value": one(headers([*OK, (b"x", b"y\nz")]) + BODY),
    "NUL in a value": one(headers([*OK, (b"x", b"y\0z")]) + BODY),
    "DEL in a value": one(headers([*OK, (b"x", b"y\x7fz")]) + BODY),
    "a tab, and letters that are not ASCII, in a value": one(
        headers([*OK, (b"x", b"y\tz\xc3\xa9\xff")]) + BODY
    ),
    "a value with blanks around it": one(headers([*OK, (b"x", b"  y  ")]) + BODY),
    "CR LF in the status": one(headers(status(b"200\r\nx: y")) + BODY),
    "connection headers": one(
        headers([*OK, (b"connection", b"content-length"), (b"transfer-encoding", b"chunked")])
        + BODY
    ),
    "upgrade": one(headers([*OK, (b"upgrade", b"x"), (b"connection", b"upgrade")]) + BODY),
    "no status": one(headers([(b"x", b"y")]) + BODY),
    "no header at all": one(headers([]) + BODY),
    "a status twice": one(headers([*OK, *OK]) + BODY),
    "a late status": one(headers([(b"x", b"y"), *OK]) + BODY),
    "a status of letters": one(headers(status(b"ok")) + BODY),
    "a status of two digits": one(headers(status(b"20")) + BODY),
    "a status with a sign": one(headers(status(b"+200")) + BODY),
    "a negative status": one(headers(status(b"-200")) + BODY),
    "a status with a zero": one(headers(status(b"0200")) + BODY),
    "a status of many zeros": one(headers(status(b"200".zfill(40))) + BODY),
    "a status of 2**63 - 1": one(headers(status(b"%d" % (2**63 - 1))) + BODY),
    "a status of 2**63": one(headers(status(b"%d" % 2**63)) + BODY),
    "a status of -2**63": one(headers(status(b"%d" % -(2**63))) + BODY),
    "a status of four digits": one(headers(status(b"2000")) + BODY),
    "a status with a blank": one(headers(status(b"200 ")) + BODY),
    "an empty status": one(headers(status(b"")) + BODY),
    "a path in an answer": one(headers([*OK, (b":path", b"/")]) + BODY),
    "every pseudo-header, and one twice": one(
        headers([*OK, *PSEUDO_HEADERS, PSEUDO_HEADERS[0]]) + BODY
    ),
    "an unknown pseudo-header": one(headers([*OK, (b":x", b"/")]) + BODY),
    "a header list of 70 kB": one(headers(many(70_000)) + BODY),
    "a header list of 80 kB": one(headers(many(1000, 80)) + BODY),
    "a bad index": one(frame(HEADERS, b"\xff\xff\x01", END_HEADERS) + BODY),
    "half a header": one(frame(HEADERS, block(OK)[:-1], END_HEADERS) + BODY),
    "bad Huffman": one(frame(HEADERS, b"\x88\x00\x01x\x84\xff\xff\xff\xff", END_HEADERS) + BODY),
    "a table too large": one(frame(HEADERS, b"\x3f\xe2\x1f" + block(OK), END_HEADERS) + BODY),
    "a table emptied in the middle": one(
        frame(HEADERS, b"\x88\x40\x01x\x01y\x20", END_HEADERS) + BODY
    ),
    "a table emptied in the middle that is empty": one(
        frame(HEADERS, b"\x88\x20", END_HEADERS) + BODY
    ),
    "a table emptied before the trailers": one(
        frame(HEADERS, b"\x88\x40\x01x\x01y", END_HEADERS)
        + frame(DATA, b"body")
        + frame(HEADERS, b"\x20" + block([(b"x", b"y")]), END_HEADERS | END)
    ),
    "a table of nothing": one(frame(HEADERS, b"\x20" + block(OK), END_HEADERS) + BODY),
    "an integer without end": one(frame(HEADERS, b"\x0f" + b"\xff" * 12, END_HEADERS) + BODY),
    # lengths
    "the right length": one(headers([*OK, (b"content-length", b"4")]) + BODY),
    "a length too small": one(headers([*OK, (b"content-length", b"3")]) + BODY),
    "a length too large": one(headers([*OK, (b"content-length", b"5")]) + BODY),
    "a length and no body": one(headers([*OK, (b"content-length", b"5")], END)),
    "a length of nothing": one(headers([*OK, (b"content-length", b"0")], END)),
    "a length of nothing, and a body": one(headers([*OK, (b"content-length", b"0")]) + BODY),
    "a length of letters": one(headers([*OK, (b"content-length", b"four")]) + BODY),
    "a length with a sign": one(headers([*OK, (b"content-length", b"+4")]) + BODY),
    "a length with a zero": one(headers([*OK, (b"content-length", b"004")]) + BODY),
    "an empty length": one(headers([*OK, (b"content-length", b"")]) + BODY),
    "a length past all limits": one(headers([*OK, (b"content-length", b"9" * 30)]) + BODY),
    "a length of 2**63 - 1": one(headers([*OK, (b"content-length", b"%d" % (2**63 - 1))]) + BODY),
    "a length of 2**63": one(headers([*OK, (b"content-length", b"%d" % 2**63)]) + BODY),
    "two lengths": one(headers([*OK, (b"content-length", b"4"), (b"content-length", b"5")]) + BODY),
    "a length, and a stream that ends later": one(
        headers([*OK, (b"content-length", b"4")]) + frame(DATA, b"body") + frame(DATA, b"", END)
    ),
    "a length, and a stream that does not end": one(
        headers([*OK, (b"content-length", b"4")]) + frame(DATA, b"body"), end="fin"
    ),
    "a length in pieces": one(
        headers([*OK, (b"content-length", b"8")]) + frame(DATA, b"body") + BODY
    ),
    "a length, and more of it later": one(
        headers([*OK, (b"content-length", b"4")]) + frame(DATA, b"body") + BODY
    ),
    "a long body that does not end": one(
        headers([*OK, (b"content-length", b"20000")]) + frame(DATA, b"x" * 16000), end="fin"
    ),
    "a long body": one(headers(OK) + frame(DATA, b"x" * 16000) + frame(DATA, b"x" * 16000, END)),
    # floods that end
    "a thousand PINGs": one(ping() * 1000 + FINE),
    "a thousand SETTINGS": one(settings() * 1000 + FINE),
    "a thousand answers of 103": one(headers(status(b"103")) * 1000 + FINE),
    "answers of 103 of 10 MiB": one(informational(10 * 1024 * 1024) + FINE),
    "answers of 103 of 10 MiB and a byte": one(informational(10 * 1024 * 1024 + 1) + FINE),
    "a thousand empty DATA": one(headers(OK) + frame(DATA) * 1000 + BODY),
    "a thousand frames that nobody knows": one(frame(UNKNOWN, b"x" * 1000) * 1000 + FINE),
}

# -- an app that speaks gRPC

GRPC_OK: Pairs = [*OK, (b"content-type", b"application/grpc")]
TRAILERS: Pairs = [(b"grpc-status", b"0")]
SERVING = frame(DATA, b"\0\0\0\0\x02\x08\x01")
HEALTHY = headers(GRPC_OK) + SERVING + headers(TRAILERS, END)


def reply(head: Pairs, trailers: Pairs = TRAILERS, data: bytes = SERVING) -> bytes:
    """A reply with this head and these trailers."""
    return headers(head) + data + headers(trailers, END)


def typed(content_type: bytes) -> bytes:
    """A reply with this content type."""
    return reply([*OK, (b"content-type", content_type)])


def coded(code: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """A reply with this ``:status``."""
    return reply([(b":status", code), (b"content-type", b"application/grpc"), *more])


def message(data: bytes) -> bytes:
    """A reply with this message."""
    framed = b"\0" + struct.pack(">I", len(data)) + data
    return reply(GRPC_OK, data=frame(DATA, framed))


GRPC: dict[str, Case] = {
    "SERVING": one(HEALTHY),
    "NOT_SERVING": one(message(b"\x08\x02")),
    "an unknown status": one(message(b"\x08\x07")),
    "a negative status": one(message(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")),
    "SERVING in 32 bits": one(message(b"\x08\x81\x80\x80\x80\x10")),
    "SERVING, and a group": one(message(b"\x08\x01\x13\x18\x05\x14")),
    "SERVING, and half a group": one(message(b"\x08\x01\x13\x18\x05")),
    "SERVING, and field 0": one(message(b"\x08\x01\x00\x05")),
    "SERVING as bytes": one(message(b"\x0a\x01\x01")),
    "a varint too long": one(message(b"\x08" + b"\xff" * 10 + b"\x01")),
    "an empty message": one(message(b"")),
    "no message": one(headers(GRPC_OK) + headers(TRAILERS, END)),
    "two messages": one(headers(GRPC_OK) + SERVING * 2 + headers(TRAILERS, END)),
    "a message and a half": one(
        headers(GRPC_OK) + SERVING + frame(DATA, b"\0\0\0\0\x02\x08") + headers(TRAILERS, END)
    ),
    "half a compressed message": one(
        headers(GRPC_OK) + frame(DATA, b"\1\0\0\0\x02\x08") + headers(TRAILERS, END)
    ),
    "half a message": one(headers(GRPC_OK) + SERVING[:-1] + b"\x01", end="fin"),
    "a half message that ends": one(
        headers(GRPC_OK) + frame(DATA, b"\0\0\0\0\x02\x08") + headers(TRAILERS, END)
    ),
    "a message too large": one(headers(GRPC_OK) + frame(DATA, b"\0\0\x50\0\0")),
    "a compressed message": one(headers(GRPC_OK) + frame(DATA, b"\1\0\0\0\x02\x08\x01")),
    "an odd message": one(headers(GRPC_OK) + frame(DATA, b"\7\0\0\0\x02\x08\x01")),
    "gzip": one(
        headers([*GRPC_OK, (b"grpc-encoding", b"gzip")]) + frame(DATA, b"\1\0\0\0\x02\x08\x01")
    ),
    "no trailers": one(headers(GRPC_OK) + frame(DATA, b"\0\0\0\0\x02\x08\x01", END)),
    "trailers without a status": one(reply(GRPC_OK, [(b"x", b"y")])),
    "trailers only": one(headers([*GRPC_OK, (b"grpc-status", b"5")], END)),
    "trailers only and OK": one(headers([*GRPC_OK, (b"grpc-status", b"0")], END)),
    "a status of 7": one(reply(GRPC_OK, [(b"grpc-status", b"7"), (b"grpc-message", b"no%20%zz")])),
    "a status of 12": one(reply(GRPC_OK, [(b"grpc-status", b"12"), (b"grpc-message", b"x")])),
    "a status of 4": one(reply(GRPC_OK, [(b"grpc-status", b"4")])),
    "a status of 99": one(reply(GRPC_OK, [(b"grpc-status", b"99")])),
    "a status of +0": one(reply(GRPC_OK, [(b"grpc-status", b"+0")])),
    "a status of 000": one(reply(GRPC_OK, [(b"grpc-status", b"000")])),
    "a status of many zeros": one(reply(GRPC_OK, [(b"grpc-status", b"0" * 40)])),
    "a status of -1": one(reply(GRPC_OK, [(b"grpc-status", b"-1")])),
    "a status of letters": one(reply(GRPC_OK, [(b"grpc-status", b"ok")])),
    "an empty status": one(reply(GRPC_OK, [(b"grpc-status", b"")])),
    "a status of 2**31 - 1": one(reply(GRPC_OK, [(b"grpc-status", b"%d" % (2**31 - 1))])),
    "a status of 2**31": one(reply(GRPC_OK, [(b"grpc-status", b"%d" % 2**31)])),
    "a status of -2**31": one(reply(GRPC_OK, [(b"grpc-status", b"%d" % -(2**31))])),
    "a status of -2**31 - 1": one(reply(GRPC_OK, [(b"grpc-status", b"%d" % (-(2**31) - 1))])),
    "a status past all limits": one(reply(GRPC_OK, [(b"grpc-status", b"9" * 20)])),
    "a status twice": one(reply(GRPC_OK, [(b"grpc-status", b"5"), (b"grpc-status", b"0")])),
    "details that agree": one(
        reply(GRPC_OK, [(b"grpc-status", b"0"), (b"grpc-status-details-bin", b"CAA")])
    ),
    "details that do not agree": one(
        reply(GRPC_OK, [(b"grpc-status", b"0"), (b"grpc-status-details-bin", b"CAU")])
    ),
    # content types
    "application/grpc+proto": one(typed(b"application/grpc+proto")),
    "application/grpc;x": one(typed(b"application/grpc;charset=x")),
    "application/grpcx": one(typed(b"application/grpcx")),
    "application/grpc-web": one(typed(b"application/grpc-web")),
    "Application/gRPC": one(typed(b"Application/gRPC")),
    "text/html": one(typed(b"text/html")),
    "no content type": one(reply(OK)),
    "two content types": one(reply([*GRPC_OK, (b"content-type", b"text/html")])),
    # HTTP's status
    "302 and gRPC": one(coded(b"302")),
    "404 and gRPC": one(coded(b"404")),
    "503 and gRPC": one(coded(b"503")),
    "103 and gRPC": one(coded(b"103")),
    "letters and gRPC": one(coded(b"ok")),
    "no :status and gRPC": one(reply([(b"content-type", b"application/grpc")])),
    "503": one(headers(status(b"503", (b"content-type", b"text/html")), END)),
    "404": one(headers(status(b"404", (b"content-type", b"text/html")), END)),
    "200 and text": one(
        headers(status(b"200", (b"content-type", b"text/html"))) + frame(DATA, b"hello", END)
    ),
    "letters": one(headers(status(b"ok"), END)),
    "a :status of 2**63 - 1": one(headers(status(b"%d" % (2**63 - 1)), END)),
    "a :status of 2**63": one(headers(status(b"%d" % 2**63), END)),
    "a :status of 40 digits": one(headers(status(b"1" * 40), END)),
    "a :status of many zeros": one(headers(status(b"503".zfill(40)), END)),
    "no head": one(headers([(b"x", b"y")], END)),
    "103, then SERVING": one(headers(status(b"103")) + HEALTHY),
    "103 with END_STREAM": one(headers(status(b"103"), END)),
    # metadata
    "metadata in capitals": one(reply([*GRPC_OK, (b"X-Upper", b"y")])),
    "trailers in capitals": one(reply(GRPC_OK, [*TRAILERS, (b"X-Upper", b"y")])),
    "metadata with LF": one(reply([*GRPC_OK, (b"x", b"y\nz")])),
    "good -bin metadata": one(reply([*GRPC_OK, (b"x-bin", b"AAEC"), (b"y-bin", b"AA==")])),
    "good -bin metadata without padding": one(reply([*GRPC_OK, (b"x-bin", b"AA")])),
    "bad -bin metadata": one(reply([*GRPC_OK, (b"x-bin", b"!!!!")])),
    "short -bin metadata": one(reply([*GRPC_OK, (b"x-bin", b"A")])),
    "-bin metadata of another alphabet": one(reply([*GRPC_OK, (b"x-bin", b"-_-_")])),
    "bad -bin metadata in trailers": one(reply(GRPC_OK, [*TRAILERS, (b"x-bin", b"!!!!")])),
    "metadata of 160 kB": one(
        reply([*GRPC_OK, *((b"x-%d" % number, b"v" * 1600) for number in range(100))])
    ),
    "metadata of 16 MiB": one(
        cut(sized(GRPC_OK, 16 * 1024 * 1024)) + SERVING + headers(TRAILERS, END)
    ),
    "metadata of 16 MiB and a byte": one(
        cut(sized(GRPC_OK, 16 * 1024 * 1024 + 1)) + SERVING + headers(TRAILERS, END)
    ),
    "metadata of 90 kB in one": one(reply([*GRPC_OK, (b"x", b"v" * 90_000)])),
    "trailers of 160 kB": one(
        reply(GRPC_OK, [*TRAILERS, *((b"x-%d" % n, b"v" * 1600) for n in range(100))])
    ),
    "three header lists": one(headers(GRPC_OK) + headers(GRPC_OK) + headers(TRAILERS, END)),
    "a status in trailers": one(reply(GRPC_OK, [*OK, *TRAILERS])),
    # settings
    "ENABLE_PUSH=1": one(HEALTHY, first=settings((2, 1))),
    "ENABLE_PUSH=2": one(HEALTHY, first=settings((2, 2))),
    "MAX_FRAME_SIZE=1": one(HEALTHY, first=settings((5, 1))),
    "INITIAL_WINDOW_SIZE too large": one(HEALTHY, first=settings((4, 2**31))),
    "INITIAL_WINDOW_SIZE=0": ([Talk(HEALTHY, first=settings((4, 0)))]),
    "INITIAL_WINDOW_SIZE=0, opened": one(
        HEALTHY, first=settings((4, 0)) + frame(WINDOW, b"\0\0\0\x09", stream=1)
    ),
    "INITIAL_WINDOW_SIZE=0, then more": one(HEALTHY, first=settings((4, 0)) + settings((4, 99))),
    "MAX_CONCURRENT_STREAMS=0": one(HEALTHY, first=settings((3, 0))),
    "MAX_CONCURRENT_STREAMS=0, then 1": one(HEALTHY, first=settings((3, 0)) + settings((3, 1))),
    "settings, and more at once": one(
        HEALTHY,
        first=settings() + settings(flags=ACK) + frame(WINDOW, b"\0\0\0\1", stream=0) + ping(),
    ),
    "settings and half a frame, then the rest": one(
        frame(UNKNOWN, b"x" * 20)[15:] + HEALTHY, first=settings() + frame(UNKNOWN, b"x" * 20)[:15]
    ),
    "MAX_HEADER_LIST_SIZE=10": one(HEALTHY, first=settings((6, 10))),
    "settings that are only an acknowledgement": one(HEALTHY, first=settings(flags=ACK)),
    "two acknowledgements": one(HEALTHY, first=settings() + settings(flags=ACK) * 2),
    "settings on a stream": one(HEALTHY, first=settings(stream=1)),
    "no settings": one(HEALTHY, first=b""),
    "a bad header before settings": one(HEALTHY, first=headers([(b"X", b"y")]) + settings()),
    "PING before settings": one(HEALTHY, first=ping() + settings()),
    # GOAWAY and what is asked again
    "GOAWAY, then the reply": one(goaway(1) + HEALTHY),
    "GOAWAY in the middle of the reply": one(
        headers(GRPC_OK) + goaway(1) + SERVING + headers(TRAILERS, END)
    ),
    "GOAWAY of a graceful shutdown": one(goaway(2**31 - 1) + goaway(1) + HEALTHY),
    "GOAWAY with an error, then the reply": one(goaway(1, CALM, b"debug") + HEALTHY),
    "GOAWAY, then the end": one(settings(flags=ACK) + goaway(1), end="fin"),
    "GOAWAY with words, then the end": one(
        settings(flags=ACK) + goaway(1, CALM, b"too_many"), end="fin"
    ),
    "GOAWAY twice, then the end": one(
        settings(flags=ACK) + goaway(2**31 - 1, CALM, b"first") + goaway(1, NO, b"second"),
        end="fin",
    ),
    "GOAWAY with an even stream": one(goaway(2) + HEALTHY),
    "GOAWAY with an even stream, then the end": one(settings(flags=ACK) + goaway(2), end="fin"),
    "GOAWAY with a lower stream, then a reply": ([Talk(goaway(0)), Talk(HEALTHY)]),
    "GOAWAY with a lower stream unasked": ([Talk(first=settings() + goaway(0)), Talk(HEALTHY)]),
    "GOAWAY with a lower stream unasked, three times": Case(
        [Talk(first=settings() + goaway(0), end="fin")] * 3 + [Talk(HEALTHY)]
    ),
    "GOAWAY with a lower stream, twice": ([Talk(goaway(0))] * 2 + [Talk(HEALTHY)]),
    "GOAWAY with a lower stream and an error": ([Talk(goaway(0, CALM)), Talk(HEALTHY)]),
    "REFUSED_STREAM, then a reply": one(rst(REFUSED), again=on_stream(HEALTHY, 3)),
    "REFUSED_STREAM twice": one(rst(REFUSED), again=rst(REFUSED, 3)),
    "REFUSED_STREAM, then GOAWAY": ([Talk(rst(REFUSED), again=goaway(1)), Talk(HEALTHY)]),
    "REFUSED_STREAM, then frames of the first stream": one(
        rst(REFUSED), again=SERVING + on_stream(HEALTHY, 3)
    ),
    "PROTOCOL_ERROR, then a reply": ([Talk(rst(PROTOCOL)), Talk(HEALTHY)]),
    "CANCEL": one(rst(CANCEL)),
    "an unknown error": one(rst(0x77)),
    "NO_ERROR after the message": one(headers(GRPC_OK) + SERVING + rst(NO)),
    "the end before the reply": one(settings(flags=ACK), end="fin"),
    "the end in a frame": one(settings(flags=ACK) + HEALTHY[:5], end="fin"),
    "the end in the reply": one(settings(flags=ACK) + headers(GRPC_OK) + SERVING, end="fin"),
    # other frames
    "PUSH_PROMISE": one(frame(PUSH, b"\0\0\0\2" + block(OK), END_HEADERS) + HEALTHY),
    "WINDOW_UPDATE of an idle stream": one(frame(WINDOW, b"\0\0\0\1", stream=3) + HEALTHY),
    "WINDOW_UPDATE of nothing": one(frame(WINDOW, b"\0\0\0\0", stream=0) + HEALTHY),
    "PRIORITY": one(frame(PRIO, b"\0\0\0\0\x10") + HEALTHY),
    "DATA of another stream": one(frame(DATA, b"x", stream=3) + HEALTHY),
    "DATA before HEADERS": one(SERVING + headers([*GRPC_OK, *TRAILERS], END)),
    "more padding than there is": one(headers(GRPC_OK) + frame(DATA, b"\x09body", PADDED)),
    "a frame that is too large": one(headers(GRPC_OK) + frame(DATA, b"x" * 16385)),
    "a bad index": one(frame(HEADERS, b"\xff\xff\x01", END_HEADERS)),
    "CONTINUATION of nothing": one(frame(CONTINUATION, b"") + HEALTHY),
    "HTTP/1 in HTTP/2": one(first=b"HTTP/1.1 400 Bad Request\r\n\r\n", end="fin"),
    "a thousand PINGs": one(ping() * 1000 + HEALTHY),
    "a thousand answers of 103": one(headers(status(b"103")) * 1000 + HEALTHY),
    "a thousand frames that nobody knows": one(frame(UNKNOWN, b"x" * 1000) * 1000 + HEALTHY),
}

# What becomes of these with grpc-go is a race between the end and the call.
GRPC_RACES: dict[str, tuple[Case, bool]] = {
    "settings, then the end": (one(end="fin"), False),
    "settings, then the end, once": ([Talk(end="fin"), Talk(HEALTHY)], True),
    "settings, then a reset, once": ([Talk(end="reset"), Talk(HEALTHY)], True),
    "GOAWAY unasked, once": ([Talk(first=settings() + goaway(0)), Talk(HEALTHY)], True),
    "GOAWAY and PING unasked, three times": (
        [Talk(first=settings() + goaway(0) + ping())] * 3 + [Talk(HEALTHY)],
        True,
    ),
    "GOAWAY and the end unasked, three times": (
        [Talk(first=settings() + goaway(0), end="fin")] * 3 + [Talk(HEALTHY)],
        True,
    ),
}
