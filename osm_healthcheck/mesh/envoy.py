"""Envoy's part: clusters and listeners that serve a pod's HTTP and HTTPS probes on 15901-15903.

The names and the shape are OSM's (``pkg/envoy/bootstrap/envoy_config_health_probes.go``). Unlike
OSM's, a route matches the whole path, so that ``app`` is not ``app-2``, and what reaches the app
is the path and query that the kubelet would have asked for.
"""

from collections.abc import Sequence
from typing import cast

from osm_healthcheck.injection.original import OriginalProbe
from osm_healthcheck.injection.pods import Manifest
from osm_healthcheck.injection.rewrite import HTTPSMode, rewritten
from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.probes.targets import ANSWER_MARGIN
from osm_healthcheck.probes.url import probe_url

_LOOPBACK = "127.0.0.1"
_FILTERS = "type.googleapis.com/envoy.extensions.filters"
_LOG = {
    "name": "envoy.access_loggers.stream",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
    },
}
# as the kubelet does it: no verification, TLS 1.2 or newer
_TLS_TO_APP = {
    "name": "envoy.transport_sockets.tls",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {"tls_params": {"tls_minimum_protocol_version": "TLSv1_2"}},
    },
}


def envoy_resources(originals: Sequence[OriginalProbe], https: HTTPSMode) -> Manifest:
    """The ``clusters`` and ``listeners`` for the HTTP and HTTPS probes among ``originals``."""
    changed = rewritten(originals, https)
    pairs = [
        _Route(one, cast("Manifest", after["httpGet"]), several=False)
        for one, after in zip(originals, changed, strict=True)
        if one.scheme
    ]
    if len({pair.original.container for pair in pairs}) > 1:
        pairs = [_Route(pair.original, pair.action, several=True) for pair in pairs]
    by_kind = {kind: [pair for pair in pairs if pair.original.kind is kind] for kind in ProbeKind}
    listeners = [_listener(kind, routes) for kind, routes in by_kind.items() if routes]
    return {"clusters": [pair.cluster() for pair in pairs], "listeners": listeners}


def envoy_bootstrap(resources: Manifest) -> Manifest:
    """A whole configuration that Envoy starts with."""
    node = {"id": "osm-healthcheck", "cluster": "osm-healthcheck"}
    return {"node": node, "static_resources": resources}


class _Route:
    """From a rewritten probe's ``httpGet``, ``action``, to the app that ``original`` asks."""

    def __init__(self, original: OriginalProbe, action: Manifest, *, several: bool) -> None:
        self.original = original
        self.action = action
        prefix = f"{original.container}_" if several else ""
        self.name = f"{prefix}{original.kind.value}_cluster"
        self.is_tls = action.get("scheme") == "HTTPS"

    def cluster(self) -> Manifest:
        address = {"address": _LOOPBACK, "port_value": self.original.handler.port}
        endpoint = {"endpoint": {"address": {"socket_address": address}}}
        asks_tls = self.original.scheme == "HTTPS" and not self.is_tls
        return {
            "name": self.name,
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": {
                "cluster_name": self.name,
                "endpoints": [{"lb_endpoints": [endpoint]}],
            },
            **({"transport_socket": _TLS_TO_APP} if asks_tls else {}),
        }

    def route(self) -> Manifest:
        probe = self.original.declared.probe
        action = self.original.handler
        path = getattr(action, "path", "/")
        target = probe_url("http", _LOOPBACK, int(action.port), path).request_target
        return {
            "match": {"path": self.action["path"]},
            "route": {
                "cluster": self.name,
                "prefix_rewrite": target,
                "timeout": f"{probe.timeout_seconds - ANSWER_MARGIN:.2f}s",
            },
        }


def _listener(kind: ProbeKind, routes: Sequence[_Route]) -> Manifest:
    plain = [route for route in routes if not route.is_tls]
    secure = [route for route in routes if route.is_tls]
    chains = [_tls_chain(route) for route in secure]
    if plain:
        chains.append(_http_chain(plain))
    listener: Manifest = {
        "name": f"{kind.value}_listener",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": kind.port}},
        "filter_chains": chains,
    }
    if plain and secure:
        chains[0]["filter_chain_match"] = {"transport_protocol": "tls"}
        listener["listener_filters"] = [
            {
                "name": "envoy.filters.listener.tls_inspector",
                "typed_config": {"@type": f"{_FILTERS}.listener.tls_inspector.v3.TlsInspector"},
            }
        ]
    return listener


def _tls_chain(route: _Route) -> Manifest:
    return _chain(
        "tcp_proxy",
        {
            "@type": f"{_FILTERS}.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "health_probes",
            "cluster": route.name,
            "access_log": [_LOG],
        },
    )


def _http_chain(routes: Sequence[_Route]) -> Manifest:
    host = {
        "name": "local_service",
        "domains": ["*"],
        "routes": [route.route() for route in routes],
    }
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{_FILTERS}.http.router.v3.Router"},
    }
    return _chain(
        "http_connection_manager",
        {
            "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "health_probes_http",
            "route_config": {"name": "local_route", "virtual_hosts": [host]},
            "http_filters": [router],
            "access_log": [_LOG],
        },
    )


def _chain(name: str, config: Manifest) -> Manifest:
    return {"filters": [{"name": f"envoy.filters.network.{name}", "typed_config": config}]}
