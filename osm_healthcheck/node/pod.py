"""What the two halves of node mode say to each other, in one process or in two.

One half finds pods and holds their networks (`PodNetworks`); the other serves them (`NodeAgent`).
"""

import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from osm_healthcheck.errors import OSMHealthcheckError

ListeningSockets = Mapping[int, Sequence[socket.socket]]


class PodNetworkError(OSMHealthcheckError):
    """Something cannot be had in the network of a pod; the text says what and why."""


class PodNetwork(Protocol):
    """Where the sockets of one pod are made."""

    async def listen(self, ports: Iterable[int]) -> ListeningSockets:
        """Sockets that listen on every address of the pod, by port.

        Raises:
            PodNetworkError: where one cannot be had; none is then.
        """

    def make_socket(self, family: socket.AddressFamily) -> socket.socket:
        """A non-blocking TCP socket to connect to the pod itself with.

        Raises:
            NoSocketYetError: where one comes.
            OSError: where there is none to be had.
        """

    def prepare(self, addresses: Iterable[str]) -> None:
        """Be ready to make sockets for these addresses of the pod."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that declares probes. ``declared`` is its annotation, which nobody has read yet."""

    id: str
    namespace: str
    name: str
    declared: bytes
    addresses: tuple[str, ...]
    path: str
    network: PodNetwork

    @property
    def full_name(self) -> str:
        """Its namespace and name, with a slash between them."""
        return f"{self.namespace}/{self.name}"


class PodConsumer(Protocol):
    """Who is told of the node's pods. None of this takes time."""

    def found(self, pod: Pod) -> None:
        """Take a pod that is there, and whose network is open."""

    def unusable(self, identity: str, name: str, reason: str) -> None:
        """Take that a pod declares probes and its network cannot be used, for now."""

    def gone(self, identity: str) -> None:
        """Take that a pod of which one was told is no more; nothing may stay open in it."""

    def listed(self) -> None:
        """Take that one has been told of every pod that the container runtime lists."""

    def unavailable(self, reason: str) -> None:
        """Take that nothing new is known of the node's pods for now, and why."""
