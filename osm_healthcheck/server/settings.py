"""The settings of the sidecar: what a pod has, and what the process has.

``options`` reads them from flags and the environment.
"""

from dataclasses import dataclass, field

from osm_healthcheck.probes.addresses import AllowFrom
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.probes.targets import Targets

ANY_ADDRESS = ("0.0.0.0", "::")
# zerolog's levels, by which OSM's injector calls the daemon
LEVELS = ("trace", "debug", "info", "warn", "error", "fatal", "panic", "disabled")


@dataclass(frozen=True, slots=True)
class PodSettings:
    """What the server of one pod was told.

    ``targets`` is ``None`` where no probes are declared at all; ``drain`` is in seconds.
    """

    targets: Targets | None = None
    ports: OwnPorts = field(default_factory=OwnPorts)
    bind: tuple[str, ...] = ANY_ADDRESS
    target_hosts: tuple[str, ...] = ()
    allow_from: AllowFrom | None = None
    pod_ip: str = ""
    drain: float = 25.0


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """What the process was told.

    ``unknown`` are variables that look like ours and are not: a mistyped one among them could
    leave every port open.
    """

    verbosity: str = "info"
    log_format: str = "json"
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """All that a sidecar was told, which is a process with one pod."""

    pod: PodSettings = field(default_factory=PodSettings)
    process: ProcessSettings = field(default_factory=ProcessSettings)
