"""Who listens where, without connecting: in the network namespace of this process."""

import asyncio
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from osm_healthcheck.wire import sock_diag

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTEN = "0A"  # include/net/tcp_states.h TCP_LISTEN


async def any_listening(ports: Iterable[int]) -> bool:
    """Whether somebody listens on one of these TCP ports.

    It takes 0.1 ms a port of the event loop's time, however many connections there are. Where the
    kernel has no sock_diag, the tables of all connections are read in a thread.
    """
    ports = frozenset(ports)
    try:
        for port in ports:
            if any(sock_diag.listeners(port)):
                return True
            await asyncio.sleep(0)
    except OSError:
        return await asyncio.to_thread(_any_in_tables, ports)
    return False


def listening_addresses(port: int) -> set[str]:
    """The IP addresses on which somebody listens on ``port``."""
    try:
        return set(sock_diag.listeners(port))
    except OSError:
        return {_address(address) for address, number in _listeners() if number == port}


def _any_in_tables(ports: frozenset[int]) -> bool:
    return any(port in ports for _, port in _listeners())


def _listeners() -> Iterator[tuple[str, int]]:
    """Every socket in state LISTEN: its address as the tables have it, and its port."""
    for table in _TABLES:
        try:
            with table.open(encoding="ascii") as lines:
                next(lines, None)
                for line in lines:
                    _, local, _, state, *_ = line.split(maxsplit=4)
                    if state == _LISTEN:
                        address, _, port = local.rpartition(":")
                        yield address, int(port, 16)
        except OSError:
            continue  # a machine without IPv6 has no tcp6


def _address(text: str) -> str:
    """An address of the table: words of 32 bits, each in the machine's byte order."""
    import ipaddress

    words = [int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(words)))
