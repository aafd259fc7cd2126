"""A probe as it stands in a manifest, not yet read: what it is, what it asks, how to name it."""

from collections.abc import Mapping
from typing import Any, cast

from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.probes.quote import quoted

Manifest = dict[str, object]
HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")


def handler_name(probe: object) -> str:
    """Which handler a probe of a manifest has; empty where that cannot be said."""
    if not isinstance(probe, dict):
        return ""
    given = [name for name in HANDLERS if isinstance(probe.get(name), dict)]
    return given[0] if len(given) == 1 else ""


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
    port = port if isinstance(port, str | int) else quoted(port)
    if name == "tcpSocket":
        return f"tcp://:{port}"
    if name == "grpc":
        return f"grpc://:{port}/{action.get('service') or ''}"
    scheme = str(action.get("scheme") or "HTTP").lower()
    path = str(action.get("path") or "/")
    return f"{scheme}://:{port}{path if path.startswith('/') else f'/{path}'}"
