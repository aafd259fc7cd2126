"""The settings of the sidecar: what a pod has, and what the process has.

``options`` reads them from flags and the environment.
"""

from typing import NamedTuple

from osm_healthcheck.probes.addresses import AllowFrom
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.probes.targets import Targets

ANY_ADDRESS = ("0.0.0.0", "::")
# zerolog's levels, by which OSM's injector calls the daemon
LEVELS = ("trace", "debug", "info", "warn", "error", "fatal", "panic", "disabled")


class PodSettings(NamedTuple):
    """What the server of one pod was told.

    ``targets`` is ``None`` where no probes are declared at all; ``drain`` is in seconds.
    """

    targets: Targets | None = None
    ports: OwnPorts = OwnPorts()
    bind: tuple[str, ...] = ANY_ADDRESS
    target_hosts: tuple[str, ...] = ()
    allow_from: AllowFrom | None = None
    pod_ip: str = ""
    drain: float = 25.0


class ProcessSettings(NamedTuple):
    """What the process was told.

    ``unknown`` are variables that look like ours and are not: a mistyped one among them could
    leave every port open.
    """

    verbosity: str = "info"
    log_format: str = "json"
    unknown: tuple[str, ...] = ()


class Settings(NamedTuple):
    """All that a sidecar was told, which is a process with one pod."""

    pod: PodSettings = PodSettings()
    process: ProcessSettings = ProcessSettings()
