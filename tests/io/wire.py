"""A caller that sees what is really on the wire: raw sockets, raw bytes."""

import contextlib
import itertools
import os
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

TIMEOUT = 20.0
_numbers = itertools.count(1)


def own_address() -> str:
    """A loopback address that nobody else on this machine uses: all ports are free there."""
    number = next(_numbers)
    process = os.getpid() % 250 + 2
    return f"127.{process}.{number // 250 % 250 + 1}.{number % 250 + 1}"


@dataclass
class Answer:
    """An HTTP/1.1 answer as it came. ``whole`` is false where it was broken off."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes
    whole: bool
    raw: bytes = field(repr=False)

    def header(self, name: str) -> str | None:
        """The first header called ``name``."""
        return next((v for n, v in self.headers if n.lower() == name.lower()), None)


def connect(address: str, port: int) -> socket.socket:
    """A connection with a timeout that no test should meet."""
    return socket.create_connection((address, port), timeout=TIMEOUT)


def read_to_end(sock: socket.socket) -> tuple[bytes, bool]:
    """All that comes, and whether it ended in an orderly way (FIN, not reset)."""
    data = b""
    while True:
        try:
            piece = sock.recv(65536)
        except ConnectionResetError:
            return data, False
        if not piece:
            return data, True
        data += piece


def exchange(address: str, port: int, request: bytes) -> Answer:
    """Send ``request``, read to the end, take the answer apart."""
    with connect(address, port) as sock:
        sock.sendall(request)
        raw, orderly = read_to_end(sock)
    return parse(raw, orderly, head_only=request.startswith(b"HEAD"))


def get(
    address: str,
    port: int,
    path: str,
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    method: str = "GET",
    user_agent: str = "kube-probe/1.34",
) -> Answer:
    """Ask as the kubelet does."""
    given = list(headers.items() if isinstance(headers, dict) else headers or [])
    names = {name.lower() for name, _ in given}
    lines = [f"{method} {path} HTTP/1.1"]
    if "host" not in names:
        lines.append(f"Host: {address}:{port}")
    if "user-agent" not in names:
        lines.append(f"User-Agent: {user_agent}")
    if "accept" not in names:
        lines.append("Accept: */*")
    lines += [f"{name}: {value}" for name, value in given]
    lines += ["Connection: close", "", ""]
    return exchange(address, port, "\r\n".join(lines).encode())


def parse(raw: bytes, orderly: bool, *, head_only: bool = False) -> Answer:
    """Take an answer apart, as strictly as a client that wants the truth."""
    head, found, rest = raw.partition(b"\r\n\r\n")
    assert found, f"no answer: {raw!r}"
    first, *lines = head.decode("latin-1").split("\r\n")
    _, status, reason = [*first.split(" ", 2), ""][:3]
    pairs = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    lower = {name.lower(): value for name, value in pairs}
    body, whole = rest, orderly
    if not head_only and lower.get("transfer-encoding") == "chunked":
        body, whole = _unchunk(rest)
    elif not head_only and "content-length" in lower:
        whole = len(rest) == int(lower["content-length"])
    return Answer(int(status), reason, pairs, body, whole, raw)


def _unchunk(data: bytes) -> tuple[bytes, bool]:
    body = b""
    while True:
        size, found, data = data.partition(b"\r\n")
        if not found:
            return body, False
        length = int(size, 16)
        if length == 0:
            return body, data == b"\r\n"
        if len(data) < length + 2:
            return body + data[:length], False
        body, data = body + data[:length], data[length + 2 :]


@contextlib.contextmanager
def black_hole(address: str = "127.0.0.1") -> Iterator[int]:
    """A port whose SYNs are dropped: the kernel's answer to a full accept queue."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((address, 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((address, port))
        while not _waiting(listener):  # on a busy machine the kernel delivers them later
            time.sleep(0.001)
        yield port


def _waiting(listener: socket.socket) -> int:
    """How many connections wait to be accepted: ``tcpi_unacked`` of a socket that listens."""
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 28)
    return int.from_bytes(info[24:28], sys.byteorder)


@contextlib.contextmanager
def closed_port(address: str = "127.0.0.1") -> Iterator[int]:
    """A port that is bound, so that nobody else gets it, and refuses connections."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind((address, 0))
        yield sock.getsockname()[1]
