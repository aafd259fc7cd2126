"""What a mesh is to ``inject``, and how the lists of ports in its annotations are extended.

The meshes themselves are in ``mesh/annotations.py``. What a user has put into a list of ports
stays in it, as it was written.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from osm_healthcheck.probes.ports import OwnPorts, parse_port
from osm_healthcheck.probes.quote import quoted

# how strconv.ParseBool, by which Istio and Consul read annotations, spells false
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
_OWN_PORTS = OwnPorts()


@dataclass(frozen=True, slots=True)
class Mesh:
    """One mesh.

    ``ports`` is the annotation that keeps ports out of its redirect (empty: it has none). On a pod
    it replaces the mesh-wide list, which ``ports_setting`` names and which is ``default_ports``
    where it is not set. ``users`` is the annotation for user IDs whose connections it leaves alone:
    needed where the mesh also redirects what a pod says to its own address, as that would take our
    requests to the app. ``switches`` are annotations, with their values, that turn its own probe
    rewriting off; ``rewrites_native_sidecars`` says that this rewriting includes containers that
    start before its proxy does. ``proxy`` is the name of its proxy's container, ``proxy_user`` the
    user ID of it, whose traffic it does not redirect. ``injector`` says that the mesh rewrites
    probes and starts osm-healthcheck itself.

    What shows the mesh in a manifest: ``injected_by`` are the labels and annotations, of a pod or a
    namespace, whose value turns its injection on or off; ``revision`` is a label that names a
    control plane for them; ``prefixes`` is how its other annotations of a pod begin; ``containers``
    are some that it adds.
    """

    name: str
    ports: str = ""
    ports_setting: str = ""
    default_ports: str = ""
    users: str = ""
    switches: Mapping[str, str] = field(default_factory=dict)
    rewrites_native_sidecars: bool = False
    proxy: str = ""
    proxy_user: int = 1500
    injector: bool = False
    injected_by: tuple[str, ...] = ()
    revision: str = ""
    prefixes: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Its name in a sentence."""
        return self.name.capitalize()

    def is_off(self, switch: str, value: object) -> bool:
        """Whether ``value`` of the annotation ``switch`` turns the mesh's probe rewriting off."""
        off = self.switches[switch]
        return value == off or (off == "false" and value in _FALSE)

    def why_not_by_node(self, *, init: bool) -> str:
        """Why node mode, which adds no container, cannot serve the mesh's pods; empty if it can.

        ``init`` says that something in the pod has to keep the redirect off our ports.
        """
        if self.users:
            return f"{self.name} takes what the node's process asks the app"
        if init and not self.ports and not self.injector:
            return "nothing in the pod keeps a redirect off our ports without an init container"
        return ""


def extended(value: str, ports: Iterable[int]) -> str:
    """The list of ports ``value`` with those of ``ports`` that it lacks.

    Raises:
        ValueError: where ``value`` is no list of ports and ranges; it says so.
    """
    ranges = [_read_range(entry) for entry in _entries(value)]
    missing = [str(port) for port in ports if not any(low <= port <= high for low, high in ranges)]
    return ",".join([*([value.rstrip(", ")] if ranges else []), *missing]) if missing else value


def with_user(value: str, user: int) -> str:
    """The list of user IDs ``value`` with ``user`` in it; what stands there stays as it is."""
    entries = _entries(value)
    if str(user) in entries:
        return value
    return ",".join([*([value.rstrip(", ")] if entries else []), str(user)])


def without(value: str, written: str, original: str | None) -> str:
    """What remains of ``value`` without the entries that we wrote.

    ``written`` is what we made of ``original``; it may have been edited since.
    """
    added = {*_entries(written)} - {*_entries(original or "")}
    # of a list of ports, the mesh's default ones that were written with ours stay
    ours = {entry for entry in added if (parse_port(entry) or 0) in _OWN_PORTS} or added
    return ",".join(entry for entry in _entries(value) if entry not in ours)


def covers(value: object, port: int) -> bool:
    """Whether a list of ports, as it stands in an annotation, names ``port``."""
    try:
        return isinstance(value, str) and extended(value, [port]) == value
    except ValueError:
        return False


def _entries(value: str) -> list[str]:
    return [entry.strip() for entry in value.split(",") if entry.strip()]


def _read_range(entry: str) -> tuple[int, int]:
    low, dash, high = re.sub(r"\s", "", entry).partition("-")
    first, last = parse_port(low), parse_port(high if dash else low)
    if first is None or last is None or first > last:
        raise ValueError(f"Invalid value: {quoted(entry)}: is not a port (1-65535)")
    return first, last
