"""The service meshes of the tests: their interception rules as data, and a stand-in for the proxy.

The rules are in ``meshes/``, one file for each mesh and IP version, in the format of
``iptables-restore``; each names its source.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from .namespaces import Namespace

RULES = Path(__file__).parent / "meshes"

APP_USER = 1000


@dataclass(frozen=True)
class Mesh:
    """How a mesh intercepts.

    Attributes:
        name: of its files in ``meshes/``.
        user: the user ID of its proxy, whose own connections are left alone.
        inbound: the proxy's port for connections that come into the pod.
        outbound: the proxy's port for connections that leave it.
        spares: those of our ports that the mesh leaves alone by itself.
        leaves_loopback: whether a connection within the pod, to the pod's own address, is left
            alone (to 127.0.0.1 it is by all of them).
    """

    name: str
    user: int
    inbound: int
    outbound: int
    spares: frozenset[int] = frozenset()
    leaves_loopback: bool = True

    def __str__(self) -> str:
        return self.name

    def intercepts(self, version: int) -> bool:
        """Whether it touches this version of IP at all."""
        return (RULES / f"{self.name}.ipv{version}").exists()

    def intercept(self, pod: Namespace, backend: str) -> None:
        """Install its rules in a pod, as its init container does."""
        for version, tool in (4, "iptables"), (6, "ip6tables"):
            if self.intercepts(version):
                rules = (RULES / f"{self.name}.ipv{version}").read_text()
                pod.run(f"{tool}-{backend}-restore", "--noflush", "-w", "20", stdin=rules)

    def proxy(self, pod: Namespace) -> AbstractContextManager[None]:
        """Run a proxy that takes every connection and answers "inbound" or "outbound"."""
        return pod.serving({self.inbound: "inbound", self.outbound: "outbound"}, self.user)


OSM = Mesh("osm", 1500, 15003, 15001, spares=frozenset({15901, 15902, 15903, 15904}))
OSM_0_9 = Mesh(
    "osm-0.9", 1500, 15003, 15001, spares=frozenset({15901, 15902, 15903}), leaves_loopback=False
)
ISTIO = Mesh("istio", 1337, 15006, 15001)
KUMA = Mesh("kuma", 5678, 15006, 15001)
LINKERD = Mesh("linkerd", 2102, 4143, 4140)
CONSUL = Mesh("consul", 5995, 20000, 15001, leaves_loopback=False)
FIRST = Mesh("first", 1337, 15006, 15001)

MESHES = (OSM, OSM_0_9, ISTIO, KUMA, LINKERD, CONSUL, FIRST)
