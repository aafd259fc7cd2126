"""The cases, a module for each kind of app or probe."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from tests.differential.case import Case
from tests.differential.zoo import fuzz, http1, http2, redirects, requests, tcp, tls

GROUPS: Mapping[str, Callable[[], Iterator[Case]]] = {
    "http1": http1.cases,
    "redirects": redirects.cases,
    "requests": requests.cases,
    "tcp": tcp.cases,
    "tls": tls.cases,
    "fuzz": fuzz.cases,
    "http1-tls": lambda: tls.over_tls(http1.cases()),
    "redirects-tls": lambda: tls.over_tls(redirects.cases()),
    "fuzz-tls": lambda: islice(tls.over_tls(fuzz.cases()), 1000),
}
# and those of which go-http2.json has what Kubernetes makes of them
SIDECAR_GROUPS = {**GROUPS, "h2": http2.https, "grpc": http2.grpc}
