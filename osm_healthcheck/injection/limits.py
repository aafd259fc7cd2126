"""What is too much for the sidecar, for its environment and for the API server."""

import functools
from collections import Counter
from collections.abc import Iterable
from typing import cast

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.containers import PROBES_VARIABLE
from osm_healthcheck.injection.manifest_probe import handler_name, own_port_of
from osm_healthcheck.injection.original import OriginalProbe
from osm_healthcheck.injection.pods import Manifest, Pod
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.probes.probe import FieldReader, HTTPHeader, read_http_headers
from osm_healthcheck.probes.quote import quoted
from osm_healthcheck.probes.request import http1_lines, probe_headers, request_headers

# What the sidecar takes; a longer head is answered with 431.
HEAD_BYTES = 8 * 1024
# RFC 9110 section 5.5: a header of which a request has one. The sidecar's parser refuses a second
# one with 400; the kubelet itself sends no second Host, User-Agent, Content-Length or the like.
_SINGLE_HEADERS = (
    b"Content-Location",
    b"Content-Range",
    b"Content-Type",
    b"Etag",
    b"Max-Forwards",
    b"Server",
)
# of a draft of WebSocket; the same parser refuses it
_REFUSED_HEADER = b"Sec-Websocket-Key1"
# What may stand for the pod's address and the kubelet's version.
_LONGEST_HOST = "[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:15901"
_LONGEST_USER_AGENT = "kube-probe/1.100+".ljust(32, "x")
# Linux: MAX_ARG_STRLEN, for NAME=VALUE and the byte that ends it
_VARIABLE_BYTES = 128 * 1024
# k8s.io/apimachinery/pkg/api/validation: TotalAnnotationSizeLimitB
_ANNOTATION_BYTES = 256 * 1024


def check_requests(
    pod: Pod, rewritten: Iterable[tuple[OriginalProbe, Manifest]], validation: Validation
) -> None:
    """What the kubelet sends for each rewritten probe must be a request that the sidecar takes."""
    for one, value in rewritten:
        name = handler_name(one.value)
        field = {"httpGet": "httpGet.httpHeaders", "grpc": "grpc.service"}.get(name, name)
        check_request(value, f"{pod.where}: {one.container}.{one.kind.field}.{field}", validation)


def check_variable(pod: Pod, value: str, validation: Validation) -> None:
    """The declared probes must fit into an environment variable, or the container cannot start."""
    if len(PROBES_VARIABLE) + len(value.encode("utf-8", "surrogatepass")) + 2 > _VARIABLE_BYTES:
        validation.error(
            pod.where,
            f"Too long: its probes do not fit into the sidecar's environment variable "
            f"{PROBES_VARIABLE}: may not be more than {_VARIABLE_BYTES} bytes; shorten their "
            "httpHeaders",
        )


def check_annotations(pod: Pod, validation: Validation) -> None:
    """The annotations of the pod, the originals of its probes among them, must be accepted."""
    size = sum(
        len(f"{name}{value}".encode("utf-8", "surrogatepass"))
        for name, value in pod.annotations.items()
    )
    if size > _ANNOTATION_BYTES:
        validation.error(
            f"{pod.where}: metadata.annotations",
            f"Too long: may not be more than {_ANNOTATION_BYTES} bytes, and with the original "
            f"probes they have {size}; shorten the probes' httpHeaders, or other annotations",
        )


def check_request(value: Manifest, where: str, validation: Validation) -> None:
    """What the kubelet sends for a rewritten probe or hook; ``where`` is what makes it so long."""
    action = FieldReader(cast("Manifest", value["httpGet"]), "")
    if own_port_of(value, OwnPorts()) is None or action.text("scheme", "HTTP") != "HTTP":
        return  # TLS is passed through
    host, of_headers, problems = _longest_headers(read_http_headers(action))
    start = f"GET {action.text('path', '/')} HTTP/1.1\r\nHost: {host}\r\n"
    size = len(start.encode("utf-8", "surrogatepass")) + of_headers + len(b"\r\n")
    if size > HEAD_BYTES:
        validation.error(
            where,
            f"Too long: the head of the request would have {size} bytes, and the sidecar takes no "
            f"more than {HEAD_BYTES}",
        )
    for problem in problems:
        validation.error(where, problem)


@functools.lru_cache(maxsize=64)  # most probes of a cluster have one of a few lists of headers
def _longest_headers(declared: tuple[HTTPHeader, ...]) -> tuple[str, int, tuple[str, ...]]:
    """Of a request at its longest: the host, the bytes of all other headers, what is refused."""
    lines = http1_lines(request_headers(declared, _LONGEST_USER_AGENT))
    counts = Counter(name for name, _ in lines)
    problems = [
        f"Duplicate value: {quoted(name.decode())}: HTTP has this header once, and the "
        "sidecar would refuse the request"
        for name in _SINGLE_HEADERS
        if counts[name] > 1
    ]
    if counts[_REFUSED_HEADER]:
        problems.append(
            f"Forbidden: {quoted(_REFUSED_HEADER.decode())}: of an obsolete WebSocket protocol, "
            "which the sidecar refuses"
        )
    size = sum(len(name) + len(value) + len(b": \r\n") for name, value in lines)
    return probe_headers(declared).host or _LONGEST_HOST, size, tuple(problems)
