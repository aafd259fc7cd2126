"""Differences that are meant, or not worth mending, each with its reason."""

import re
from dataclasses import dataclass

from tests.differential.compare import Difference


@dataclass(frozen=True, slots=True)
class Known:
    """A class of differences: patterns that both sides of its `Difference.pair` match."""

    aspect: str
    kubernetes: str
    ours: str
    reason: str
    group: str = ""


KNOWN = (
    Known(
        "text",
        r"request canceled|context deadline exceeded$",
        r"context deadline exceeded \(Client.Timeout [a-z ]+\)$",
        "Go has several words for its timeout, by which of its goroutines saw it first",
    ),
    Known(
        "text",
        r"tls: received unexpected handshake message of type \*tls.helloRequestMsg",
        r"unexpected EOF$|connection reset by peer$|context deadline exceeded",
        "a HelloRequest in front of the hello: OpenSSL passes over it",
    ),
    Known(
        "verdict",
        r"^failure: .*remote error: tls: handshake failure$",
        r"^success: body$",
        "an app that has X448 alone: before Python 3.15 ssl cannot be told the groups",
        group="tls",
    ),
    Known(
        "request",
        r"^0 requests$",
        r"^1 requests$",
        "an app that has X448 alone: before Python 3.15 ssl cannot be told the groups",
        group="tls",
    ),
    Known(
        "text",
        r'net/http: invalid header field value for "',
        r'net/http: invalid header field value for "',
        "of two headers with an invalid value, Go names one at random",
    ),
    Known(
        "text",
        r'"(?:[^"\\]|\\.){200,}"',
        r'"(?:[^"\\]|\\.){200,}"',
        "what an app sent is quoted up to 200 bytes: an event is cut at 1,024",
    ),
    Known(
        "verdict",
        r"^failure: HTTP probe failed with statuscode: 101$",
        r"^no verdict: ",
        "an app that switches protocols and is silent: Go waits for it past its timeout",
    ),
    Known(
        "text",
        r"invalid host: ParseAddr\(",
        r"invalid host: ParseAddr\(.*: unable to parse IP$",
        "why a bracketed host is no IPv6 address: Go's netip has a dozen reasons",
    ),
    Known(
        "text",
        r"dial tcp: lookup \S*[^\x00-\x7f]\S*: no such host$",
        r"dial tcp: lookup xn--",
        "a host name beyond ASCII: Python knows IDNA of 2003, Go that of 2008",
    ),
    Known(
        "text",
        r"^dial tcp: address \[\[",
        r"^dial tcp: lookup \[",
        "a host in brackets is no host in either",
    ),
    Known(
        "text",
        r"dial tcp \[::1%lo\]",
        r"dial tcp \[::1%lo\]\S+ connect: invalid argument$",
        "a zone with an address that has none: Go takes it, the C library does not",
    ),
    Known(
        "verdict",
        r"^no verdict: unexpected EOF$",
        r"^failure: HTTP probe failed with statuscode: 502$",
        "a 204 or 304 over HTTP/2 that breaks off: HTTP/1 has no body there that could",
        group="h2",
    ),
    Known("varies", "", "", "Kubernetes' prober comes to either verdict when it asks directly"),
)


def reason_for(difference: Difference) -> str:
    """Why this difference stands; ``""`` where nobody has said so."""
    theirs, own = difference.pair
    for known in KNOWN:
        if (
            known.aspect == difference.aspect
            and known.group in ("", difference.case.group)
            and re.search(known.kubernetes, theirs)
            and re.search(known.ours, own)
        ):
            return known.reason
    return ""
