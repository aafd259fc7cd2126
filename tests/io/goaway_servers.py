"""Real servers that say GOAWAY while they answer: Go's, grpc-go's, node's and Envoy."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench import envoy
from tests.io.tls import certificate_files
from tests.io.wire import TIMEOUT
from tests.net.sockets import happens

_HERE = Path(__file__).parent / "goaway"
_TYPES = "type.googleapis.com/envoy.extensions"


@contextlib.contextmanager
def go_https(directory: Path) -> Iterator[int]:
    """Go's ``net/http`` with TLS; the port."""
    program = _build(_HERE, "https.go", directory / "https")
    with certificate_files() as files, _running([program, *files]) as port:
        yield port


@contextlib.contextmanager
def go_grpc(directory: Path, *arguments: str) -> Iterator[int]:
    """grpc-go with its health service; the port."""
    program = _build(_HERE / "grpc", ".", directory / "grpc")
    with _running([program, *arguments]) as port:
        yield port


@contextlib.contextmanager
def node_https() -> Iterator[int]:
    """Node's ``http2``; the port."""
    node = shutil.which("node") or pytest.skip("node is missing")
    with certificate_files() as files, _running([node, str(_HERE / "https.js"), *files]) as port:
        yield port


@contextlib.contextmanager
def envoy_proxy(upstream: int | None = None) -> Iterator[int]:
    """Envoy with ``max_requests_per_connection: 1``; the port.

    It answers by itself over TLS, or passes gRPC on to ``upstream``.
    """
    path = envoy.binary() or pytest.skip(envoy.MISSING)
    with certificate_files() as files, socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        free.close()
        configuration = json.dumps(_envoy(port, files, upstream))
        arguments = ["--config-yaml", configuration, "--concurrency", "1"]
        arguments += ["--disable-hot-restart", "--log-level", "error"]
        with _started([path, *arguments], subprocess.DEVNULL):
            assert happens(lambda: _is_listening(port))
            yield port


def _is_listening(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def _envoy(port: int, files: tuple[str, str], upstream: int | None) -> dict[str, Any]:
    action: dict[str, Any] = {"direct_response": {"status": 200, "body": {"inline_string": "ok"}}}
    if upstream is not None:
        action = {"route": {"cluster": "grpc"}}
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "app",
        "codec_type": "HTTP2",
        "common_http_protocol_options": {"max_requests_per_connection": 1},
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "app",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, **action}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    chain: dict[str, Any] = {"filters": filters}
    if upstream is None:
        chain["transport_socket"] = _downstream_tls(files)
    listener = {"name": "app", "address": _address(port), "filter_chains": [chain]}
    clusters = [] if upstream is None else [_grpc_cluster(upstream)]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def _downstream_tls(files: tuple[str, str]) -> dict[str, Any]:
    chain, key = files
    certificates = [{"certificate_chain": {"filename": chain}, "private_key": {"filename": key}}]
    common = {"tls_certificates": certificates, "alpn_protocols": ["h2"]}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": common,
        },
    }


def _grpc_cluster(port: int) -> dict[str, Any]:
    options = {
        "@type": f"{_TYPES}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]
    return {
        "name": "grpc",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "grpc", "endpoints": endpoints},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
        },
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _build(directory: Path, source: str, program: Path) -> str:
    go = shutil.which("go") or pytest.skip("Go is missing")
    built = subprocess.run(
        [go, "build", "-o", str(program), source],
        cwd=directory,
        capture_output=True,
        text=True,
        env={**os.environ, "GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0"},
    )
    if built.returncode and "dial" in built.stderr:
        pytest.skip("Go's modules cannot be had")
    assert built.returncode == 0, built.stderr
    return str(program)


@contextlib.contextmanager
def _running(command: list[str]) -> Iterator[int]:
    """Run a server whose first line is its port."""
    with _started(command, subprocess.PIPE) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())


@contextlib.contextmanager
def _started(command: list[str], stdout: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=stdout, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait(TIMEOUT)
        if process.stdout is not None:
            process.stdout.close()
