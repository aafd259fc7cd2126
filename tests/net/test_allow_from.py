"""``--allow-from`` on all four ports, over a real wire: who is answered, plain and by TLS."""

import json
import socket
import sys
from collections.abc import Iterator

import pytest

from .namespaces import PATIENCE, Namespace, pod_and_node
from .program import Program

PLAIN, TLS = 8080, 8443
HEALTHCHECK, LIVENESS, READINESS, STARTUP = 15904, 15901, 15902, 15903
CLIENT_HELLO = b"\x16\x03\x01\x00\x05hello"
# what the app says on its port for TLS: the sidecar passes bytes through without a look at them
SERVER_BYTES = "server-hello"
HTTP_ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
PROBES = {
    "app": {
        f"{kind}Probe": {"httpGet": {"path": "/", "port": PLAIN}, "timeoutSeconds": PATIENCE}
        for kind in ("liveness", "readiness", "startup")
    },
    "secure": {
        f"{kind}Probe": {
            "httpGet": {"path": "/", "port": TLS, "scheme": "HTTPS"},
            "timeoutSeconds": PATIENCE,
        }
        for kind in ("liveness", "readiness", "startup")
    },
    "hooked": {"lifecycle": {"preStop": {"httpGet": {"path": "/", "port": PLAIN}}}},
    "database": {"livenessProbe": {"tcpSocket": {"port": PLAIN}, "timeoutSeconds": PATIENCE}},
}
REQUESTS = {
    LIVENESS: b"GET /osm-liveness-probe HTTP/1.1\r\nHost: a\r\n\r\n",
    READINESS: b"GET /osm-readiness-probe HTTP/1.1\r\nHost: a\r\n\r\n",
    STARTUP: b"GET /osm-startup-probe HTTP/1.1\r\nHost: a\r\n\r\n",
    HEALTHCHECK: f"GET /osm-healthcheck HTTP/1.1\r\nHost: a\r\nOriginal-Tcp-Port: {PLAIN}\r\n\r\n"
    "".encode(),
}


@pytest.fixture(scope="module")
def wired() -> Iterator[tuple[Namespace, Namespace]]:
    with (
        pod_and_node() as (pod, node),
        pod.serving({PLAIN: HTTP_ANSWER, TLS: SERVER_BYTES}),
    ):
        yield pod, node


@pytest.fixture(
    scope="module",
    params=[
        ("10.15.9.1,fd00:15:9::1", True),
        ("10.15.0.0/16,fd00:15::/32", True),
        ("::ffff:10.15.9.0/120,fd00:15:9::/64", True),
        ("10.15.9.2,fd00:15:9::2", False),
        ("192.0.2.0/24,2001:db8::/32", False),
        ("::ffff:192.0.2.0/120", False),
    ],
    ids=lambda param: param[0],
)
def permitted(wired: tuple[Namespace, Namespace], request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether the node is, by the networks that a running sidecar was given."""
    pod, _ = wired
    networks, expected = request.param
    program = Program(
        pod.start(
            *(sys.executable, "-m", "osm_healthcheck", "--probes", json.dumps(PROBES)),
            *("--allow-from", networks),
        )
    )
    try:
        program.wait_for('"ready"')
        yield expected
    finally:
        program.end()


def said(caller: Namespace, address: str, port: int, request: bytes) -> bytes:
    """All that the sidecar answers; a reset ends it as well."""
    with caller.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as connection:
        connection.settimeout(PATIENCE)
        connection.connect((address, port))
        connection.sendall(request)
        answer = b""
        try:
            while data := connection.recv(4096):
                answer += data
        except ConnectionResetError:
            pass
        return answer


@pytest.mark.parametrize("port", REQUESTS)
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_plain(wired: tuple[Namespace, Namespace], permitted: bool, family: str, port: int) -> None:
    pod, node = wired
    request = REQUESTS[port]
    address = getattr(pod, family)
    status = b"HTTP/1.1 200 " if permitted else b"HTTP/1.1 403 "
    for _ in range(2):  # what was answered once is answered so again
        assert said(node, address, port, request).startswith(status)
    # the pod itself comes by loopback, as kubectl port-forward does, and is always answered
    loopback = "127.0.0.1" if family == "ipv4" else "::1"
    assert said(pod, loopback, port, request).startswith(b"HTTP/1.1 200 ")
    assert said(node, address, port, request).startswith(status)


@pytest.mark.parametrize("port", [LIVENESS, READINESS, STARTUP])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_tls(wired: tuple[Namespace, Namespace], permitted: bool, family: str, port: int) -> None:
    pod, node = wired
    answer = said(node, getattr(pod, family), port, CLIENT_HELLO)
    assert answer == (SERVER_BYTES.encode() if permitted else b"")


def test_tls_where_there_is_none(wired: tuple[Namespace, Namespace], permitted: bool) -> None:
    pod, node = wired
    answer = said(node, pod.ipv4, HEALTHCHECK, CLIENT_HELLO)
    assert answer.startswith(b"HTTP/1.1 400 ") if permitted else answer == b""


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_hook(wired: tuple[Namespace, Namespace], permitted: bool, family: str) -> None:
    """A 403 would be a success for the kubelet: a hook that nobody ran."""
    pod, node = wired
    request = b"GET /osm-pre-stop-hook/hooked HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = said(node, getattr(pod, family), HEALTHCHECK, request)
    assert answer.startswith(b"HTTP/1.1 200 ") if permitted else answer == b""
    refused = said(node, getattr(pod, family), HEALTHCHECK, request.replace(b"GET", b"HEAD"))
    assert refused.startswith(b"HTTP/1.1 405 " if permitted else b"HTTP/1.1 403 ")


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/nothing"])
def test_no_path_is_left_out(
    wired: tuple[Namespace, Namespace], permitted: bool, path: str
) -> None:
    pod, node = wired
    answer = said(node, pod.ipv4, HEALTHCHECK, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 403 ") is not permitted


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_the_status_page_is_for_loopback_alone(
    wired: tuple[Namespace, Namespace], permitted: bool, family: str
) -> None:
    pod, node = wired
    own, loopback = getattr(pod, family), "127.0.0.1" if family == "ipv4" else "::1"
    page = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert said(pod, loopback, HEALTHCHECK, page).startswith(b"HTTP/1.1 200 ")
    refused = b"HTTP/1.1 404 " if permitted else b"HTTP/1.1 403 "
    nothing = said(node, own, HEALTHCHECK, page.replace(b"GET /", b"GET /nothing"))
    assert nothing.startswith(refused)
    for method in (b"GET", b"POST"):
        # to the byte what any unknown path gets
        assert said(node, own, HEALTHCHECK, page.replace(b"GET", method)) == nothing


def test_a_proxy_that_hands_on_from_loopback_gets_no_status_page(
    wired: tuple[Namespace, Namespace], permitted: bool
) -> None:
    """Istio's does so, from 127.0.0.6 to the pod's own address (``InboundPassthroughCluster``)."""
    pod, _ = wired
    with pod.socket(socket.AF_INET) as connection:
        connection.settimeout(PATIENCE)
        connection.bind(("127.0.0.6", 0))
        connection.connect((pod.ipv4, HEALTHCHECK))
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 404 ")
