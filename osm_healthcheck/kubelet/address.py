"""Where the pod is, how the kubelet connects to it, and its words where that fails."""

import asyncio
import contextlib
import ipaddress
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from osm_healthcheck.errors import OSMHealthcheckError
from osm_healthcheck.wire.dial import Network, dial
from osm_healthcheck.wire.errors import DialError, NoSocketError, authority
from osm_healthcheck.wire.stream import Stream

# The kubelet whose rules these are. An app may look at its caller's name.
USER_AGENT = "kube-probe/1.36"

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_MAX_NAME_LENGTH = 254


@dataclass(frozen=True, slots=True)
class PodAddress:
    """The IP address by which an app is asked, and where its ports really are.

    ``ports`` maps a port of the pod to the one on which the app listens here. URL and ``Host``
    header keep the pod's port, as they would in a cluster; only the connection goes elsewhere.
    ``network`` is where connections are made.
    """

    ip: str = "127.0.0.1"
    ports: Mapping[int, int] = field(default_factory=dict)
    network: Network = field(default_factory=Network, compare=False)

    def port(self, host: str, port: int) -> int:
        """The port to dial for ``port`` of ``host``; another machine's ports are its own."""
        return self.ports.get(port, port) if host == self.ip else port


class LookupFailedError(OSMHealthcheckError):
    """A host name without an address; the words are Go's resolver's."""


async def resolve(host: str) -> Sequence[str]:
    """The IP addresses of ``host``, which may be one.

    Raises:
        LookupFailedError: where there is none.
    """
    with contextlib.suppress(ValueError):
        text, percent, zone = host.partition("%")
        address = ipaddress.ip_address(text)
        if percent and address.version == 4:  # as in Go's net/netip
            raise ValueError(host)
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return (f"{mapped or address}{percent}{zone}",)
    if not _is_domain_name(host):
        raise LookupFailedError(f"lookup {host}: no such host")
    if _is_old_spelling(host):
        raise LookupFailedError(f"lookup {host}{_resolver()}: no such host")
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        again = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
        reason = "server misbehaving" if again else "no such host"
        raise LookupFailedError(f"lookup {host}{_resolver()}: {reason}") from None
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def _is_domain_name(host: str) -> bool:
    """``isDomainName`` of Go's ``net``: ``127.1`` and ``a..b`` are none, and are not looked up."""
    labels = host.removesuffix(".").split(".")
    return (
        len(host) <= _MAX_NAME_LENGTH
        and all(_LABEL.fullmatch(label) for label in labels)
        and any(re.search(r"[A-Za-z_-]", label) for label in labels)
    )


def _is_old_spelling(host: str) -> bool:
    """``0x7f.1``: an address for the C library, a name for Go."""
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True


def _resolver() -> str:
    """`` on 10.0.0.10:53``: the name server that Go names, the first of resolv.conf."""
    with contextlib.suppress(OSError, UnicodeError):
        for line in Path("/etc/resolv.conf").read_text().splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver":
                address = f"[{words[1]}]" if ":" in words[1] else words[1]
                return f" on {address}:53"
    return ""


async def connect(host: str, port: int, pod: PodAddress) -> Stream:
    """Connect to ``port`` of ``host``.

    Raises:
        LookupFailedError: where the host has no address.
        DialError: where none of its addresses takes the connection.
    """
    stream, _ = await dial(await resolve(host), pod.port(host, port), pod.network)
    return stream


def dial_error(error: DialError | LookupFailedError) -> str:
    """``error`` in the words of Go's ``net.OpError``."""
    if isinstance(error, LookupFailedError):
        return f"dial tcp: {error}"
    # Go's table of errno texts, which is the C library's in small letters
    reason = os.strerror(error.code).lower()
    call = "socket" if isinstance(error, NoSocketError) else "connect"
    return f"dial tcp {authority(error.address, error.port)}: {call}: {reason}"
