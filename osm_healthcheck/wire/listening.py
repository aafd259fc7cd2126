"""Who listens where, without asking: ``/proc/net/tcp`` and ``tcp6`` of this network namespace."""

import sys
from collections.abc import Iterator
from pathlib import Path

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTEN = "0A"  # include/net/tcp_states.h TCP_LISTEN


def listening_ports() -> frozenset[int]:
    """The TCP ports on which somebody listens."""
    return frozenset(port for _, port in _listeners())


def listening_addresses(port: int) -> set[str]:
    """The IP addresses on which somebody listens on ``port``."""
    return {_address(address) for address, number in _listeners() if number == port}


def _listeners() -> Iterator[tuple[str, int]]:
    """Every socket in state LISTEN: its address as the table has it, and its port."""
    for table in _TABLES:
        try:
            lines = table.read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue  # a machine without IPv6 has no tcp6
        for line in lines:
            _, local, _, state, *_ = line.split(maxsplit=4)
            if state == _LISTEN:
                address, _, port = local.rpartition(":")
                yield address, int(port, 16)


def _address(text: str) -> str:
    """An address of the table: words of 32 bits, each in the machine's byte order."""
    import ipaddress

    words = [int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(words)))
