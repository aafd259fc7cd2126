"""A caller that concludes what the kubelet concludes, from raw bytes: ``pkg/probe/http``."""

import contextlib
import socket
import ssl
from collections.abc import Iterable

from tests.io.wire import Answer, connect, parse

# maxRespBodyLength: what comes after that is neither read nor missed
BODY_LIMIT = 10 * 1024
# timeoutSeconds of probes that are not about time: a loaded machine may stall for a second
PATIENCE = 20
NO_VERDICT = "no verdict"
USER_AGENT = "kube-probe/1.34"
_NO_BODY = (204, 304)

HTTPHeaders = Iterable[dict[str, str]]


def request(host: str, path: str, http_headers: HTTPHeaders = ()) -> bytes:
    """The kubelet's request for a probe with these ``httpHeaders`` (`newProbeRequest`)."""
    values: dict[str, list[str]] = {}
    for header in http_headers:
        name = "-".join(part.capitalize() for part in header["name"].split("-"))
        values.setdefault(name, []).append(header["value"])
    agent = values.pop("User-Agent", [USER_AGENT])[0]
    accept = values.pop("Accept", ["*/*"])
    lines = [f"GET {path} HTTP/1.1", f"Host: {values.pop('Host', [''])[0] or host}"]
    lines += [f"User-Agent: {agent}"] if agent else []
    lines += [f"Accept: {value}" for value in accept if value]
    for never_sent in ("Content-Length", "Transfer-Encoding", "Trailer"):
        values.pop(never_sent, None)
    lines += [f"{name}: {value}" for name in sorted(values) for value in values[name]]
    if "Upgrade" not in values:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode()


def ask(
    address: str,
    port: int,
    path: str,
    http_headers: HTTPHeaders = (),
    tls: ssl.SSLContext | None = None,
) -> Answer | None:
    """Probe once, and leave where the kubelet leaves; ``None`` where no answer came."""
    with contextlib.ExitStack() as stack:
        sock: socket.socket = stack.enter_context(connect(address, port))
        try:
            if tls is not None:
                sock = stack.enter_context(tls.wrap_socket(sock))
            sock.sendall(request(f"{address}:{port}", path, http_headers))
            raw, orderly = _read(sock)
        except OSError:  # TLS that fails is one, too
            return None
    if b"\r\n\r\n" not in raw:
        return None
    answer = parse(raw, orderly)
    if answer.status in _NO_BODY:
        answer.whole = orderly
    return answer


def verdict(answer: Answer | None) -> str:
    """What `DoHTTPProbe` makes of it: success, warning, failure, or none."""
    if answer is None:
        return "failure"
    if not answer.whole and len(answer.body) < BODY_LIMIT:
        return NO_VERDICT
    if 200 <= answer.status < 300:
        return "success"
    return "warning" if 300 <= answer.status < 400 else "failure"


def client_context() -> ssl.SSLContext:
    """The kubelet's TLS: no verification, both protocols offered."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _read(sock: socket.socket) -> tuple[bytes, bool]:
    """All that comes, up to what the kubelet reads; and whether it ended in order."""
    data = b""
    while True:
        head, _, body = data.partition(b"\r\n\r\n")
        if len(body) >= BODY_LIMIT and b"chunked" not in head:
            return data, False
        try:
            piece = sock.recv(65536)
        except OSError:
            return data, False
        if not piece:
            return data, True
        data += piece
