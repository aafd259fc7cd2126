"""A probe as it stands in a manifest, not yet read: what it is, what it asks, how to name it."""

from collections.abc import Mapping
from typing import Any, cast

from osm_healthcheck.probes.constants import (
    ORIGINAL_GRPC_PORT,
    ORIGINAL_GRPC_SERVICE,
    ORIGINAL_TCP_PORT,
)
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.probes.probe import HANDLERS
from osm_healthcheck.probes.quote import quoted

Manifest = dict[str, object]
_ORIGINAL_HEADERS = (ORIGINAL_TCP_PORT, ORIGINAL_GRPC_PORT, ORIGINAL_GRPC_SERVICE)


def handler_name(probe: object) -> str:
    """Which handler a probe of a manifest has; empty where that cannot be said."""
    if not isinstance(probe, dict):
        return ""
    given = ""
    for name in HANDLERS:
        if isinstance(probe.get(name), dict):
            if given:
                return ""
            given = name
    return given


def uses_the_network(probe: object) -> bool:
    """Whether a probe of a manifest is an ``httpGet``, ``tcpSocket`` or ``grpc``."""
    return handler_name(probe) not in ("", "exec")


def asks_the_pod(probe: object) -> bool:
    """Whether a probe of a manifest goes over the network to its own pod."""
    name = handler_name(probe)
    if not name or name == "exec":
        return False
    return not cast("Mapping[str, Mapping[str, object]]", probe)[name].get("host")


def own_port_of(probe: object, own: OwnPorts) -> int | None:
    """The port of ours that a probe of a manifest is aimed at; ``None`` where it is not."""
    name = handler_name(probe)
    if not name or name == "exec":
        return None
    port = cast("Mapping[str, Mapping[str, object]]", probe)[name].get("port")
    return port if type(port) is int and port in own else None


def path_of(probe: Mapping[str, object]) -> str:
    """The path of an ``httpGet``; empty where there is none."""
    action = probe.get("httpGet")
    path = action.get("path") if isinstance(action, dict) else None
    return path if isinstance(path, str) else ""


def request_of(probe: object, any_value: str = "") -> tuple[object, ...]:
    """What a rewritten probe sends, however much of it is left to defaults.

    Of the header ``any_value`` the value is left out.
    """
    action: Any = cast("dict[str, Any]", probe).get("httpGet")
    if not isinstance(action, dict):
        return ("nothing",)
    listed = action.get("httpHeaders") or []
    headers = [
        (one.get("name"), one.get("value") if one.get("name") != any_value else None)
        if isinstance(one, dict)
        else one
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
    port = port if isinstance(port, str | int) else quoted(port)
    if name == "tcpSocket":
        return f"tcp://:{port}"
    if name == "grpc":
        return f"grpc://:{port}/{action.get('service') or ''}"
    scheme = str(action.get("scheme") or "HTTP").lower()
    path = str(action.get("path") or "/")
    return f"{scheme}://:{port}{path if path.startswith('/') else f'/{path}'}"


def described_request(probe: object) -> str:
    """``described`` with the headers of an ``httpGet``; values of those that inject writes."""
    action: Any = cast("dict[str, Any]", probe).get("httpGet")
    listed = action.get("httpHeaders") if isinstance(action, dict) else None
    headers = [
        f"{one.get('name')}: {one.get('value')}"
        if one.get("name") in _ORIGINAL_HEADERS
        else str(one.get("name"))  # another one's value may be a secret
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, dict)
    ]
    return f"{described(probe)} with {', '.join(headers)}" if headers else described(probe)
