"""Port numbers: what counts as one, and which are our own."""

from typing import NamedTuple

from osm_healthcheck.probes.constants import (
    HEALTHCHECK_PORT,
    LIVENESS_PORT,
    READINESS_PORT,
    STARTUP_PORT,
    ProbeKind,
)

PORT_RANGE = "must be between 1 and 65535, inclusive"


def is_port(value: object) -> bool:
    """Whether ``value`` is a whole number from 1 to 65535; ``True`` is not a number here."""
    return type(value) is int and 1 <= value <= 65535


def parse_port(text: str) -> int | None:
    """Read a port as plain decimal digits.

    ``None`` for anything else: a sign, a leading zero, white space, a service name. (OSM's daemon
    looked ``http`` and ``+80`` up by accident; an unclear port is refused here.)
    """
    if text.isascii() and text.isdigit() and text[0] != "0" and len(text) <= 5:
        number = int(text)
        if number <= 65535:
            return number
    return None


class OwnPorts(NamedTuple):
    """The four ports of the sidecar. No probe may be aimed at one of them: it would ask itself."""

    healthcheck: int = HEALTHCHECK_PORT
    liveness: int = LIVENESS_PORT
    readiness: int = READINESS_PORT
    startup: int = STARTUP_PORT

    def of(self, kind: ProbeKind) -> int:
        """The port of the probe proxy for ``kind``."""
        match kind:
            case ProbeKind.LIVENESS:
                return self.liveness
            case ProbeKind.READINESS:
                return self.readiness
            case ProbeKind.STARTUP:
                return self.startup
