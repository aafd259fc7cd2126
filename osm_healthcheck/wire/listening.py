"""Which ports somebody listens on, without asking them: ``/proc/net/tcp`` and ``tcp6``."""

from pathlib import Path

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTEN = "0A"  # include/net/tcp_states.h TCP_LISTEN


def listening_ports() -> frozenset[int]:
    """The TCP ports of this network namespace that are in state LISTEN."""
    ports = set()
    for table in _TABLES:
        try:
            lines = table.read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue  # a machine without IPv6 has no tcp6
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return frozenset(ports)
