"""The configuration for a mesh's proxy, as its documentation shows it."""

from typing import Any

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.original import OriginalProbe, original_probes
from osm_healthcheck.injection.pods import pods_in
from osm_healthcheck.injection.rewrite import HTTPSMode
from osm_healthcheck.mesh.envoy import envoy_bootstrap, envoy_resources
from osm_healthcheck.mesh.pipy import pipy_config

HTTP = {"path": "/liveness", "port": 14001, "scheme": "HTTP"}
HTTPS = {**HTTP, "scheme": "HTTPS"}


def originals(**containers: dict[str, Any]) -> list[OriginalProbe]:
    spec = {"containers": [{"name": name, **probes} for name, probes in containers.items()]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    validation = Validation()
    found = original_probes(pods_in(pod, validation)[0], validation)
    assert not validation.errors
    return found


def envoy(https: HTTPSMode = "passthrough", **containers: dict[str, Any]) -> Any:
    return envoy_resources(originals(**containers), https)


def test_the_documented_http_listener() -> None:
    config = envoy(bookstore={"livenessProbe": {"httpGet": HTTP}})
    [cluster], [listener] = config["clusters"], config["listeners"]
    address = {"address": "127.0.0.1", "port_value": 14001}
    assert cluster == {
        "name": "liveness_cluster",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": "liveness_cluster",
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": {"socket_address": address}}}]}
            ],
        },
    }
    assert listener["name"] == "liveness_listener"
    assert listener["address"] == {"socket_address": {"address": "0.0.0.0", "port_value": 15901}}
    [chain] = listener["filter_chains"]
    [http] = chain["filters"]
    assert http["name"] == "envoy.filters.network.http_connection_manager"
    manager = http["typed_config"]
    assert manager["stat_prefix"] == "health_probes_http"
    assert manager["route_config"]["name"] == "local_route"
    [host] = manager["route_config"]["virtual_hosts"]
    assert (host["name"], host["domains"]) == ("local_service", ["*"])
    assert host["routes"] == [
        {
            "match": {"path": "/osm-liveness-probe"},
            "route": {
                "cluster": "liveness_cluster",
                "prefix_rewrite": "/liveness",
                "timeout": "0.95s",
            },
        }
    ]
    assert [one["name"] for one in manager["http_filters"]] == ["envoy.filters.http.router"]
    assert [one["name"] for one in manager["access_log"]] == ["envoy.access_loggers.stream"]
    assert envoy_bootstrap(config)["static_resources"] == config


def test_the_documented_https_listener() -> None:
    config = envoy(bookstore={"livenessProbe": {"httpGet": HTTPS}})
    assert [one["name"] for one in config["clusters"]] == ["liveness_cluster"]
    [listener] = config["listeners"]
    assert "listener_filters" not in listener
    [chain] = listener["filter_chains"]
    [tcp] = chain["filters"]
    assert tcp["name"] == "envoy.filters.network.tcp_proxy"
    assert tcp["typed_config"]["stat_prefix"] == "health_probes"
    assert tcp["typed_config"]["cluster"] == "liveness_cluster"


def test_both_on_one_listener_and_several_containers() -> None:
    config = envoy(
        web={"livenessProbe": {"httpGet": HTTP}},
        tls={"livenessProbe": {"httpGet": HTTPS}},
        db={"readinessProbe": {"tcpSocket": {"port": 5432}}},
    )
    assert [one["name"] for one in config["clusters"]] == [
        "web_liveness_cluster",
        "tls_liveness_cluster",
    ]
    [listener] = config["listeners"]
    assert listener["listener_filters"][0]["name"] == "envoy.filters.listener.tls_inspector"
    first, second = listener["filter_chains"]
    assert first["filter_chain_match"] == {"transport_protocol": "tls"}
    assert "filter_chain_match" not in second


def test_a_probes_own_timeout_is_the_routes() -> None:
    config = envoy(a={"startupProbe": {"httpGet": HTTP, "timeoutSeconds": 30}})
    [chain] = config["listeners"][0]["filter_chains"]
    [host] = chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    assert host["routes"][0]["route"]["timeout"] == "29.95s"


def test_pipy_with_the_defaults_filled_in() -> None:
    probe = {"httpGet": {"path": "/", "port": 80}}
    assert pipy_config(originals(a={"livenessProbe": probe}), "passthrough") == {
        "Spec": {
            "Probes": {
                "LivenessProbes": [
                    {
                        "httpGet": {"path": "/osm-liveness-probe", "port": 15901, "scheme": "HTTP"},
                        "timeoutSeconds": 1,
                        "periodSeconds": 10,
                        "successThreshold": 1,
                        "failureThreshold": 3,
                    }
                ],
                "ReadinessProbes": None,
                "StartupProbes": None,
            }
        }
    }


def test_pipy_is_told_where_the_app_is() -> None:
    """By the headers that its script reads; a check comes last: Pipy serves the first."""
    config: Any = pipy_config(
        originals(
            db={"readinessProbe": {"tcpSocket": {"port": 5432}}},
            web={"readinessProbe": {"httpGet": {"path": "ready?a=b", "port": 8080}}},
            tls={"startupProbe": {"httpGet": HTTPS, "initialDelaySeconds": 3}},
        ),
        "passthrough",
    )
    first, last = config["Spec"]["Probes"]["ReadinessProbes"]
    assert first["httpGet"] == {
        "path": "/osm-readiness-probe",
        "port": 15902,
        "scheme": "HTTP",
        "httpHeaders": [
            {"name": "Original-Http-Port", "value": "8080"},
            {"name": "Original-Http-Path", "value": "/ready?a=b"},
        ],
    }
    assert last["httpGet"]["httpHeaders"] == [{"name": "Original-Tcp-Port", "value": "5432"}]
    [startup] = config["Spec"]["Probes"]["StartupProbes"]
    assert startup["initialDelaySeconds"] == 3
    assert startup["httpGet"] == {
        "path": "/liveness",
        "port": 15903,
        "scheme": "HTTPS",
        "httpHeaders": [{"name": "Original-Http-Port", "value": "14001"}],
    }
