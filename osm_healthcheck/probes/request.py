"""The request that the kubelet sends for an ``httpGet`` probe, down to its header lines.

From ``pkg/probe/http/request.go`` and Go's ``net/http`` (``Request.write``, ``Transport``):
names are put into canonical form, ``Host`` names the host, an empty ``User-Agent`` or ``Accept``
is not sent, ``Content-Length`` never is.

Header lines are pairs of bytes, with the value as it was declared; `http1_lines` has them as they
stand on the wire of HTTP/1.1. HTTP/2 takes them in another way (``wire/http2.py``).
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from osm_healthcheck.probes.probe import HTTPHeader

Headers = tuple[tuple[bytes, bytes], ...]

# Browsers stay below this; the kubelet's own have 16 and 3 bytes.
MAX_CALLER_VALUE_BYTES = 512

_HOST_AND_PORT = r"(?:\[([^\[\]]*)\]|([^:\[\]]*)):([^:\[\]]*)"
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 9110 section 7.6.1, and the two that clients use without asking anyone
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# reqWriteExcludeHeader, but for those that are never lines here
_NOT_BY_HTTP1 = frozenset({b"Transfer-Encoding", b"Trailer"})
# hasToken of net/http/header.go
_UPGRADE = re.compile(rb"(?:^|[ ,\t])upgrade(?:$|[ ,\t])", re.IGNORECASE)
# newProbeRequest and Request.write: it is the first value that counts, as it was declared
_NOT_SENT_EMPTY = frozenset({"User-Agent", "Accept"})
# the two that Go's transport adds on its own, after all others
CLOSE = (b"Connection", b"close")
GZIP = (b"Accept-Encoding", b"gzip")


class ProbeHeaders(NamedTuple):
    """What a probe's ``httpHeaders`` come to on the wire.

    ``host`` is what they make of the ``Host`` header (``""``: nothing); ``lines`` are all others;
    ``refusal`` says, in Go's words, why the kubelet would send nothing at all.
    """

    host: str = ""
    lines: Headers = ()
    refusal: str = ""


def probe_headers(declared: Iterable[HTTPHeader]) -> ProbeHeaders:
    """Turn a probe's ``httpHeaders`` into what the kubelet sends for them."""
    host: str | None = None
    lines: list[tuple[bytes, bytes]] = []
    first: dict[str, str] = {}
    refusal = ""
    for header in declared:
        name = _canonical(header.name)
        if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", header.value):
            refusal = f'net/http: invalid header field value for "{name}"'
        elif name == "Host":
            host = _punycode(header.value) if host is None else host
        elif name != "Content-Length":
            again = name in first
            empty = not first.setdefault(name, header.value)
            if not ((empty and name in _NOT_SENT_EMPTY) or (again and name == "User-Agent")):
                value = header.value.encode("utf-8", "surrogateescape")
                lines.append((name.encode("latin-1"), value))
    return ProbeHeaders(host or "", tuple(lines), refusal)


def http1_lines(lines: Iterable[tuple[bytes, bytes]]) -> Headers:
    """What of a request's header lines goes out by HTTP/1.1 (``Header.writeSubset``)."""
    return tuple((name, value.strip(b" \t")) for name, value in lines if name not in _NOT_BY_HTTP1)


def requires_http1(lines: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request is by HTTP/1.1 whatever the app prefers (``Request.requiresHTTP1``)."""
    first: dict[bytes, bytes] = {}
    for name, value in lines:
        first.setdefault(name, value)
    return (
        first.get(b"Upgrade", b"").lower() == b"websocket"
        and _UPGRADE.search(first.get(b"Connection", b"")) is not None
    )


def request_headers(
    declared: Iterable[HTTPHeader], user_agent: str, accept: str = "*/*"
) -> Headers:
    """The header lines, ``Host`` aside, that the kubelet itself sends, in Go's order.

    ``user_agent`` and ``accept`` go out where the probe does not declare those names, and are not
    empty.
    """
    lines = _kubelets_own(declared, user_agent, accept)
    if not (is_upgrade(lines) or _closes(lines)):
        lines.append(CLOSE)
    return tuple(lines)


def _kubelets_own(
    declared: Iterable[HTTPHeader], user_agent: str, accept: str
) -> list[tuple[bytes, bytes]]:
    headers = list(declared)
    given = {_canonical(header.name) for header in headers}
    for name, value in (("User-Agent", user_agent), ("Accept", accept)):
        if name not in given:
            headers.append(HTTPHeader(name, value))
    sent = probe_headers(headers).lines
    agents = [line for line in sent if line[0] == b"User-Agent"]
    others = sorted((line for line in sent if line[0] != b"User-Agent"), key=lambda line: line[0])
    return agents[:1] + others


def proxied_headers(declared: Iterable[HTTPHeader], user_agent: str, accept: str) -> Headers:
    """The header lines, ``Host`` aside, for an app that is asked on behalf of a caller.

    They are the kubelet's for the declared probe, and nothing else of the caller's ever reaches
    the app, which might build redirects from it: only its ``User-Agent`` and ``Accept``, where the
    probe declares none of that name (a declared empty one means none), up to
    `MAX_CALLER_VALUE_BYTES`. A longer one is left out.
    """
    return request_headers(declared, short(user_agent), short(accept))


def hook_headers(declared: Iterable[HTTPHeader], user_agent: str, accept: str) -> Headers:
    """The same for a lifecycle hook, for which the kubelet has a client of its own.

    That one (``insecureContainerLifecycleHTTPClient`` of ``pkg/kubelet/kubelet.go``) does not close
    its connections, and takes gzip where neither ``Accept-Encoding`` nor ``Range`` is declared
    (``persistConn.roundTrip`` of ``net/http``).
    """
    lines = _kubelets_own(declared, short(user_agent), short(accept))
    if not any(value for name, value in lines if name in (b"Accept-Encoding", b"Range")):
        lines.append(GZIP)
    return tuple(lines)


def end_to_end(received: Headers) -> list[tuple[bytes, bytes]]:
    """An app's response headers without those that concern its connection to us only."""
    nominated = _nominated(received)
    return [
        line
        for line in received
        if (name := line[0].lower()) not in _HOP_BY_HOP and name not in nominated
    ]


def is_upgrade(lines: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether these headers ask for, or grant, another protocol on the connection.

    It takes both, as in Go's ``isProtocolSwitchHeader``: ``Connection: upgrade`` and ``Upgrade``.
    """
    lines = tuple(lines)
    named = any(value and name.lower() == b"upgrade" for name, value in lines)
    return named and b"upgrade" in _nominated(lines)


def short(value: str) -> str:
    """What a caller says of itself, or ``""`` where it says too much for an app to hear."""
    size = len(value.encode("utf-8", "surrogateescape"))
    return value if size <= MAX_CALLER_VALUE_BYTES else ""


def _closes(lines: Iterable[tuple[bytes, bytes]]) -> bool:
    return b"close" in _nominated(lines)


def _nominated(lines: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    found: list[bytes] = []
    for name, value in lines:
        if len(name) == 10 and name.lower() == b"connection":
            found += value.lower().split(b",")
    # tens of thousands fit into a head, most of them the same
    return frozenset([token.strip() for token in set(found)])


def _punycode(text: str) -> str:
    """``httpguts.PunycodeHostPort``: a name in letters that ASCII does not have."""
    if text.isascii():
        return text
    host, port = text, ""
    if match := re.fullmatch(_HOST_AND_PORT, text):  # what net.SplitHostPort takes apart
        host, port = match[1] if match[1] is not None else match[2], match[3]
    host = ".".join(
        label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii")
        for label in host.split(".")
    )
    if not port:
        return host
    return f"[{host}]:{port}" if ":" in host or "%" in host else f"{host}:{port}"


def _canonical(name: str) -> str:
    """``textproto.CanonicalMIMEHeaderKey``: ``foo-bAR`` becomes ``Foo-Bar``."""
    if not _TOKEN.fullmatch(name):
        return name
    return "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))
