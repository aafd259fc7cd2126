"""Probes in short: as a phrase for a reader, and as what they send, to be compared."""

from typing import Any, cast

from osm_healthcheck.injection.pods import Manifest, Pod
from osm_healthcheck.injection.rewrite import handler_name, uses_the_network


def request_of(probe: object) -> tuple[object, ...]:
    """What a rewritten probe sends, however much of it is left to defaults."""
    action: Any = cast("dict[str, Any]", probe).get("httpGet")
    if not isinstance(action, dict):
        return ("nothing",)
    listed = action.get("httpHeaders") or []
    headers = [
        (one.get("name"), one.get("value")) if isinstance(one, dict) else one
        for one in (listed if isinstance(listed, list) else [listed])
    ]
    scheme = action.get("scheme") or "HTTP"
    return action.get("path") or "/", action.get("port"), scheme, headers


def headers_of(action: Manifest) -> dict[str, str]:
    """The headers of an ``httpGet``, their names in lower case."""
    entries = action.get("httpHeaders")
    return {
        str(one.get("name")).lower(): str(one.get("value"))
        for one in (entries if isinstance(entries, list) else [])
        if isinstance(one, dict)
    }


def described(probe: object) -> str:
    """A probe in one phrase, such as ``http://:8080/healthz``."""
    name = handler_name(probe)
    action = cast("dict[str, Manifest]", probe)[name]
    port = action.get("port")
    if name == "tcpSocket":
        return f"tcp://:{port}"
    if name == "grpc":
        return f"grpc://:{port}/{action.get('service') or ''}"
    scheme = str(action.get("scheme") or "HTTP").lower()
    path = str(action.get("path") or "/")
    return f"{scheme}://:{port}{path if path.startswith('/') else f'/{path}'}"


def why_no_probe_is_ours(pod: Pod) -> str:
    """Why none of the pod's probes is to be rewritten: it has none, or all were left alone."""
    kinds = "httpGet, tcpSocket or grpc probe"
    if any(uses_the_network(probe) for one in pod.containers for _, probe in one.probes()):
        return f"every {kinds} is left alone"
    return f"no {kinds}"
