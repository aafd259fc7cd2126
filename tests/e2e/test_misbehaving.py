"""`osm-healthcheck probe` beside the real kubelet: the same apps, the same words.

The apps listen on the node, and each probe names it as its ``host``: one app for both.
"""

import contextlib
import json
import re
import socket
import ssl
from collections.abc import Callable, Iterator

import pytest

from tests.io.apps import app, hold, read_head, reset, response
from tests.io.tls import server_context

from .command import osm_healthcheck
from .control_plane import ControlPlane
from .node import PAUSE
from .pods import Manifest, pod
from .process import NotYetError, until
from .verdicts import READY, Pod

pytestmark = pytest.mark.e2e

_OK = b"HTTP/1.1 200 OK\r\n"
Serve = Callable[[socket.socket], None]


def _says(answer: bytes) -> Serve:
    def serve(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(answer)

    return serve


def _says_at_once(answer: bytes) -> Serve:
    def serve(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(answer)

    return serve


def _hangs_after(answer: bytes) -> Serve:
    def serve(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(answer)
        hold(sock)

    return serve


def _resets(sock: socket.socket) -> None:
    read_head(sock)
    reset(sock)


def _wants_a_certificate(sock: socket.socket) -> None:
    context = server_context(client_certificate=True)
    with contextlib.suppress(ssl.SSLError), context.wrap_socket(sock, server_side=True) as secure:
        read_head(secure)


APPS: dict[str, Serve] = {
    "status-404": _says(response("404 Not Found")),
    "status-503": _says(response("503 Service Unavailable", b"ill")),
    "status-400": _says(response("400 Bad Request")),
    "redirect-without-location": _says(response("302 Found")),
    "redirect-for-ever": _says(response("302 Found", b"", "Location: /again")),
    "redirect-to-nowhere": _says(response("302 Found", b"", "Location: http://:0:0/")),
    "no-http": _says(b"hello\r\n\r\n"),
    "no-status": _says(b"HTTP/1.1 abc OK\r\n\r\n"),
    "no-colon": _says(_OK + b"nonsense\r\n\r\n"),
    "no-such-version": _says(b"HTTP/1.x 200 OK\r\n\r\n"),
    "bad-length": _says(_OK + b"Content-Length: -1\r\n\r\n"),
    "two-lengths": _says(_OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"),
    "bad-encoding": _says(_OK + b"Transfer-Encoding: gzip\r\n\r\n"),
    "head-cut-off": _says(_OK + b"Content-"),
    "body-cut-off": _says(b"HTTP/1.1 503 Ill\r\nContent-Length: 9\r\n\r\nill"),
    "nothing": _says(b""),
    "reset": _resets,
    "hangs": hold,
    "hangs-in-the-head": _hangs_after(_OK),
    "hangs-in-the-body": _hangs_after(b"HTTP/1.1 503 Ill\r\nContent-Length: 9\r\n\r\nill"),
    "https-hangs": hold,
    "https-no-tls": _says_at_once(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "https-wants-a-certificate": _wants_a_certificate,
    "refused": hold,
    "tcp-refused": hold,
}
"""Each app's name says how it misbehaves."""


def _probe(name: str, port: int) -> Manifest:
    times = {"periodSeconds": 1, "failureThreshold": 1}
    if name.startswith("tcp-"):
        return {"tcpSocket": {"host": "127.0.0.1", "port": port}, **times}
    scheme = "HTTPS" if name.startswith("https-") else "HTTP"
    path = "/healthz?name=" + name
    return {"httpGet": {"host": "127.0.0.1", "port": port, "path": path, "scheme": scheme}, **times}


_EVENT = re.compile(r"  (\w+) +(Started|Unhealthy|Killing) .*(spec\.\w+\{\w+\}: .*)")
"""A line of `kubectl describe`, and of `probe`: type, reason, and the message."""


def _container(name: str, port: int) -> Manifest:
    return {"name": name, "image": PAUSE, "readinessProbe": _probe(name, port)}


_HANG = re.compile(
    r"(net/http: request canceled while waiting for connection|context deadline exceeded)"
    r"( \(Client\.Timeout exceeded while awaiting headers\))?$"
)


def _named(message: str) -> str:
    """A message without what is left to chance.

    That is the port that a client is given, and, when an app says nothing before there is a TLS
    connection, which of the timers of Go's client is first: the request's, that of its context, or
    that of the connection (net/http, client.go, setRequestCancel; the same kubelet has all three
    texts for the same app).
    """
    if 'Get "https://' in message:
        message = _HANG.sub("<no answer>", message)
    return re.sub(r"127\.0\.0\.1:\d+->", "127.0.0.1:<ephemeral>->", message)


@contextlib.contextmanager
def _serving() -> Iterator[dict[str, int]]:
    """The apps, each on a port."""
    with contextlib.ExitStack() as stack:
        running = {name: stack.enter_context(app(serve)) for name, serve in APPS.items()}
        for name in running:
            if name.endswith("refused"):
                running[name].close()
        yield {name: one.port for name, one in running.items()}


def _said_here(ports: dict[str, int]) -> dict[str, set[str]]:
    """What `osm-healthcheck probe` says of each app, watching them for a while."""
    pods = [pod(name, _container(name, port)) for name, port in ports.items()]
    manifest = {"apiVersion": "v1", "kind": "List", "items": pods}
    watch = ("probe", "--for", "6s", "-o", "json")
    said: dict[str, set[str]] = {name: set() for name in ports}
    for line in osm_healthcheck(*watch, stdin=json.dumps(manifest), status=1).splitlines():
        event = json.loads(line)
        if event.get("type") == "Warning":
            said[event["pod"]].add(_named(event["message"]))
    return said


def _said_by_kubelet(one: Pod, here: set[str]) -> set[str]:
    """What the kubelet says of an app, in its pod's events; nothing, where the pod is Ready.

    What is slow may have another text now and then, on a busy machine: it is given time to say
    something of what was said ``here``.
    """

    def said() -> set[str]:
        events = one.messages("Unhealthy") + one.messages("ProbeWarning")
        return {_named(message) for _, message in events}

    until(lambda: said() or one.verdict() == READY, f"the kubelet's word on {one.name}")
    with contextlib.suppress(NotYetError):
        until(lambda: said() == here or said() & here, "the same words", 30)
    return said()


def test_the_same_words(kube: ControlPlane) -> None:
    namespace = kube.namespace("misbehaving")
    with _serving() as ports:
        # A pod for each: the kubelet keeps to itself what would be too many events about one.
        pods = [pod(name, _container(name, port)) for name, port in ports.items()]
        kube.kubectl.apply(*pods, namespace=namespace)
        here = _said_here(ports)
        differences = {}
        for name in ports:
            there = _said_by_kubelet(Pod(kube, namespace, name), here[name])
            if here[name] != there and not here[name] & there:
                differences[name] = {"kubelet": there, "probe": here[name]}
    kube.kubectl("delete", "namespace", namespace, "--wait=false")
    assert not differences


def test_the_same_lines_as_kubectl_describe(kube: ControlPlane) -> None:
    """Of a container and of a native sidecar, which kubectl names in different ways."""
    namespace = kube.namespace("described")
    with app(APPS["status-503"]) as served:
        probe = _probe("status-503", served.port)
        containers = [{"name": "app", "image": PAUSE, "readinessProbe": probe}]
        helper = {"name": "helper", "image": PAUSE, "restartPolicy": "Always"}
        sidecars = [helper | {"livenessProbe": probe}]
        manifest = pod("described", *containers, initContainers=sidecars)
        kube.kubectl.apply(manifest, namespace=namespace)
        text = osm_healthcheck("probe", "--for", "3s", stdin=json.dumps(manifest), status=1)
        here = set(_EVENT.findall(text))
        described = Pod(kube, namespace, "described").describe
        with contextlib.suppress(NotYetError):  # then the difference is told
            until(lambda: here <= set(_EVENT.findall(described())), "the same events", 30)
        there = set(_EVENT.findall(described()))
    kube.kubectl("delete", "namespace", namespace, "--wait=false")
    assert {(kind, reason) for kind, reason, _ in here} == {
        ("Normal", "Started"),
        ("Warning", "Unhealthy"),
        ("Normal", "Killing"),
    }
    assert here == there
