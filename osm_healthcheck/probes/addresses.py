"""Addresses: which are loopback, who may ask, and where the app is."""

import ipaddress
from typing import NamedTuple, Self

_MAPPED = "::ffff:"
_MAPPED_PREFIX = 96


def unmapped(address: str) -> str:
    """An IPv4 address that came in over IPv6 (``::ffff:10.0.0.1``) as plain IPv4."""
    if address.startswith(_MAPPED) and "." in address:
        return address[len(_MAPPED) :]
    return address


def is_loopback(address: str) -> bool:
    """Whether an unmapped ``address`` is this machine's own (127.0.0.0/8 or ::1)."""
    return address.startswith("127.") or address == "::1"


class AllowFrom(NamedTuple):
    """The networks whose callers are answered. Loopback always is."""

    networks: "tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read networks separated by commas; an address alone is a network of one.

        Mapped IPv6 networks count as the IPv4 networks that they stand for.

        Raises:
            ValueError: for what is no network, host bits included (``10.0.0.1/8``).
        """
        networks = []
        for part in text.split(","):
            try:
                networks.append(_unmapped_network(ipaddress.ip_network(part.strip())))
            except ValueError as error:
                raise ValueError(f"{error}; write networks such as 10.0.0.0/8,fd00::/8") from None
        return cls(tuple(networks))

    def permits(self, address: str) -> bool:
        """Whether a caller at ``address`` is answered; a mapped IPv6 address counts as IPv4."""
        address = unmapped(address)
        if is_loopback(address):
            return True
        caller = ipaddress.ip_address(address.partition("%")[0])
        return any(caller in network for network in self.networks)


def _unmapped_network(
    network: "ipaddress.IPv4Network | ipaddress.IPv6Network",
) -> "ipaddress.IPv4Network | ipaddress.IPv6Network":
    """A network of mapped addresses (``::ffff:10.0.0.0/104``) as plain IPv4 (``10.0.0.0/8``)."""
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < _MAPPED_PREFIX:
        return network
    return ipaddress.ip_network((mapped, network.prefixlen - _MAPPED_PREFIX))


class AppAddresses:
    """The addresses to try, in order; going on to the next is for refusals only.

    Args:
        target_hosts: what ``--target-host`` named; it replaces everything else.
        pod_ip: the pod's own address, ``""`` where it is not known.
        declared: whether probes are declared. Where none are, loopback comes first: OSM's way.
    """

    def __init__(self, target_hosts: tuple[str, ...], pod_ip: str, declared: bool) -> None:
        self._target_hosts = target_hosts
        self._for_loopback_callers = (
            ("127.0.0.1", "::1", pod_ip) if pod_ip else ("127.0.0.1", "::1")
        )
        self._declared = declared

    def addresses(self, local: str) -> tuple[str, ...]:
        """The addresses of the app for a caller that connected to ``local``.

        The kubelet connects to the pod's address, and an app is judged as the kubelet would judge
        it: at that address, and nowhere else.
        """
        if self._target_hosts:
            return self._target_hosts
        if is_loopback(local):
            return self._for_loopback_callers
        return (local,) if self._declared else ("127.0.0.1", local)
