"""The container that inject adds, started as the manifest says, answers the rewritten probes."""

import bisect
import contextlib
import json
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from osm_healthcheck.errors import InvalidInputError, Validation
from osm_healthcheck.injection.containers import environment_of
from osm_healthcheck.injection.inject import inject
from osm_healthcheck.injection.pods import SIDECAR, Pod, pods_in
from tests.io.apps import app as listening
from tests.io.apps import hold
from tests.io.named import answering, certificate
from tests.io.probing import ask
from tests.io.sidecar import process
from tests.io.wire import TIMEOUT
from tests.manifests.strategies import injected, injection


@contextlib.contextmanager
def grpc_app(**services: bool) -> Iterator[int]:
    """A gRPC server with the standard health service; its port."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    status = health_pb2.HealthCheckResponse
    for name, serving in services.items():
        servicer.set(name, status.SERVING if serving else status.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


@contextlib.contextmanager
def started(pod: Pod) -> Iterator[str]:
    """Run the command of the pod's sidecar with its environment; the address where it listens."""
    sidecar = pod.container(SIDECAR)
    assert sidecar is not None
    assert sidecar.value["command"] == ["/osm-healthcheck"]
    arguments: Any = sidecar.value["args"]
    declared = str(environment_of(sidecar)["OSM_HEALTHCHECK_PROBES"])
    environ = {"OSM_HEALTHCHECK_PROBES": declared, "POD_IP": "127.0.0.1"}
    with process(*arguments, environ=environ) as running:
        running.wait_for("ready")
        yield running.address


def _probe(port: object, path: str = "/", **more: Any) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": port, **more}, "timeoutSeconds": int(TIMEOUT)}


@pytest.mark.parametrize("https", ["passthrough", "request"])
def test_the_injected_pods_probes_are_answered(https: str) -> None:
    tls = certificate()
    with contextlib.ExitStack() as stack:
        web, web_2 = (stack.enter_context(answering(name)) for name in ("web", "web-2"))
        one, other = (stack.enter_context(answering(name, tls)) for name in ("one", "other"))
        database = stack.enter_context(listening(hold))
        health_port = stack.enter_context(grpc_app(good=True, bad=False))
        headers = [{"name": "Host", "value": "shop.example"}, {"name": "X-A", "value": "$(HOME)é"}]
        containers: list[dict[str, Any]] = [
            {
                "name": "web",
                "ports": [{"name": "http", "containerPort": web.port}],
                "livenessProbe": _probe("http", "/live?x=%20", httpHeaders=headers),
                "readinessProbe": {"tcpSocket": {"port": database.port}},
                "startupProbe": _probe("http", "/start$(HOME)"),
            },
            {
                "name": "web-2",
                "livenessProbe": _probe(web_2.port, "live-2"),
                "readinessProbe": {"grpc": {"port": health_port, "service": "good"}},
            },
            {
                "name": "one",
                "livenessProbe": _probe(one.port, "/one", scheme="HTTPS"),
                "readinessProbe": {"grpc": {"port": health_port, "service": "bad"}},
            },
            {"name": "other", "startupProbe": _probe(other.port, "/other", scheme="HTTPS")},
            {"name": "last", "startupProbe": _probe(other.port, "/last", scheme="HTTPS")},
        ]
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "all"},
            "spec": {"containers": containers},
        }
        [pod] = pods_in(injected(manifest, injection(https=https)), Validation())
        answers = {}
        with started(pod) as address:
            for container in pod.containers:
                for kind, probe in container.probes():
                    action: Any = probe
                    answer = ask(address, action["httpGet"])
                    answers[container.name, kind.value] = (answer.status, answer.body)
    assert answers[SIDECAR, "startup"][0] == answers[SIDECAR, "liveness"][0] == 200
    assert answers["web", "liveness"] == (200, b"web")
    assert answers["web", "startup"] == (200, b"web")
    assert answers["web", "readiness"][0] == 200
    assert answers["web-2", "liveness"] == (200, b"web-2")
    assert answers["web-2", "readiness"][0] == 200
    assert answers["one", "liveness"] == (200, b"one")
    assert answers["one", "readiness"][0] == 503
    assert answers["other", "startup"] == (200, b"other")
    assert answers["last", "startup"] == (200, b"other")
    first = web.requests[0].decode().lower()
    assert first.startswith("get /live?x=%20 http/1.1\r\n")
    assert "host: shop.example\r\n" in first
    assert "x-a: $(home)é\r\n" in first
    assert web.requests[1].startswith(b"GET /start$(HOME) ")
    assert web_2.requests[0].startswith(b"GET /live-2 ")
    paths = [request.split()[1] for request in other.requests]
    assert paths == [b"/other", b"/last"]


def test_what_was_not_declared_cannot_be_asked() -> None:
    with answering("web") as web:
        spec = {"containers": [{"name": "a", "livenessProbe": {"tcpSocket": {"port": 9}}}]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
        [after] = pods_in(injected(json.loads(json.dumps(pod)), injection()), Validation())
        with started(after) as address:
            header = {"name": "Original-Tcp-Port", "value": str(web.port)}
            action = {"path": "/osm-healthcheck", "port": 15904, "httpHeaders": [header]}
            assert ask(address, action).status == 403
    assert web.connections == 0


def test_the_longest_requests_that_inject_accepts_are_answered() -> None:
    """The bounds of ``injection/limits.py`` are those of the sidecar."""

    def manifest(length: int, web: int, health: int) -> dict[str, Any]:
        # with a Host and a User-Agent of its own, all of the head is known
        given = {"Host": "shop.example", "User-Agent": "probe/1", "X-Long": "x" * length}
        long = [{"name": name, "value": value} for name, value in given.items()]
        service = {"grpc": {"port": health, "service": "é" * ((length - 200) // 2)}}
        probes = {"livenessProbe": _probe(web, httpHeaders=long), "readinessProbe": service}
        spec = {"containers": [{"name": "a", **probes}]}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}

    def accepted(length: int) -> bool:
        try:
            inject(manifest(length, 65_535, 65_534), injection())
        except InvalidInputError:
            return False
        return True

    longest = bisect.bisect_left(range(10_000), True, key=lambda length: not accepted(length)) - 1
    assert 7_800 < longest < 8_192
    with answering("web") as web, grpc_app(**{"é" * ((longest - 200) // 2): True}) as health_port:
        [pod] = pods_in(
            inject(manifest(longest, web.port, health_port), injection()).manifest, Validation()
        )
        with started(pod) as address:
            for _, probe in pod.containers[-1].probes():
                action: Any = probe
                assert ask(address, action["httpGet"]).status == 200
