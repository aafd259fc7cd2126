"""The proof: through the mesh every probe has the verdict that it has without a mesh.

An app in a pod, the kubelet's prober on a node, a wire between them. First there is no mesh: that
is the yardstick. Then the same pod is in one, with its original manifest: that is the problem.
Then with the injected manifest.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from .app import ANY
from .envoy import authority
from .kubelet import Verdicts
from .meshed_pod import MeshedPod, meshed_pod
from .meshes import ISTIO, OSM, Mesh
from .namespaces import PATIENCE
from .pod_manifest import Manifest, injected, manifest, spec

IPV4, IPV6 = "10.15.9.2", "fd00:15:9::2"
_SIDE_BY_SIDE = 3
HASTE = 1
"""timeoutSeconds where nobody listens: a gRPC probe then takes all of it, without a mesh too."""


@dataclass(frozen=True)
class Case:
    """An app: the addresses on which it listens, and what it answers."""

    name: str
    hosts: tuple[str, ...] = ()
    status: int = 200

    def listens_at(self, address: str) -> bool:
        """Whether it listens at an address of the pod."""
        return (
            address in self.hosts
            or (":" in address and "::" in self.hosts)
            or (":" not in address and "0.0.0.0" in self.hosts)
        )


CASES = (
    Case("healthy", ANY),
    Case("sick", ANY, 503),
    Case("moved away", ANY, 404),
    Case("on the pod's IPv4 address only", (IPV4,)),
    Case("on 127.0.0.1 only", ("127.0.0.1",)),
    Case("on IPv6 only", (IPV6, "::1")),
    Case("dead"),
)
Measured = dict[tuple[str, str], Verdicts]
"""The verdicts for each app by its name and the address of the pod."""


def measure(
    here: MeshedPod,
    document: Callable[[int], Manifest],
    prepare: Callable[[Manifest], object] = lambda _: None,
) -> Measured:
    """Probe every app by both addresses of the pod.

    Args:
        here: the pod.
        document: its manifest, for a timeoutSeconds.
        prepare: what comes first, with that manifest.
    """
    found: Measured = {}
    for timeout in (PATIENCE, HASTE):
        pod = document(timeout)
        prepare(pod)
        for case in CASES:
            hosts = [
                address
                for address in here.addresses
                if case.listens_at(address) == (timeout == PATIENCE)
            ]
            if not hosts:
                continue
            if case.hosts:
                here.app.start(case.hosts, case.status)
            verdicts = here.kubelet.verdicts(spec(pod), *hosts)
            found |= {(case.name, host): words for host, words in verdicts.items()}
            if case.hosts:
                here.app.kill()
    return found


@dataclass(frozen=True)
class Setting:
    """What is between the app and the kubelet: a mesh, and with which iptables.

    ``bypass`` are arguments of init.sh on top of the injected ones.
    """

    mesh: Mesh | None = None
    backend: str = "nft"
    bypass: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "-".join((str(self.mesh), self.backend, *self.bypass))

    def measure(self) -> Measured:
        """The verdicts for all apps; where there is a mesh, after injection."""
        with meshed_pod() as here:
            assert here.addresses == (IPV4, IPV6)
            if self.mesh is None:
                return measure(here, manifest)
            if self.bypass:
                here.intercept(self.mesh, self.backend)
                here.bypass(injected(PATIENCE), *self.bypass)
            else:
                here.bypass(injected(PATIENCE))
                here.intercept(self.mesh, self.backend)
            return measure(here, injected, here.start_sidecar)


NO_MESH = Setting()
# Our init container comes first in its pod and its rules are in nft, whatever the mesh has. In
# legacy they take a capability more; there, they come after the mesh's.
IN_MESHES = (
    Setting(OSM, "nft"),
    Setting(OSM, "legacy"),
    Setting(OSM, "legacy", ("--backend", "legacy")),
    Setting(ISTIO, "nft"),
    Setting(ISTIO, "legacy", ("--backend", "legacy")),
)


@pytest.fixture(scope="module")
def measured() -> dict[Setting, Measured]:
    """All settings, measured side by side: gRPC probes wait for their timeouts."""
    authority()  # once, before there are threads
    settings = (NO_MESH, *IN_MESHES)
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        return dict(zip(settings, pool.map(Setting.measure, settings), strict=True))


@pytest.fixture(scope="module")
def direct(measured: dict[Setting, Measured]) -> Measured:
    """What the kubelet concludes without a mesh."""
    return measured[NO_MESH]


@pytest.fixture
def here() -> Iterator[MeshedPod]:
    """A pod that is in no mesh yet."""
    with meshed_pod() as made:
        yield made


def test_without_a_mesh(direct: Measured) -> None:
    """The yardstick is no rubber one: it tells the apps apart."""
    for case in CASES:
        for address in (IPV4, IPV6):
            verdicts = direct[case.name, address]
            answers = case.listens_at(address)
            assert len(verdicts) == 7
            for name, verdict in verdicts.items():
                takes_tcp_only = name == "db liveness"
                healthy = answers and (case.status == 200 or takes_tcp_only)
                assert verdict == ("success" if healthy else "failure"), (case, name)


@pytest.mark.parametrize("backend", ["nft", "legacy"])
@pytest.mark.parametrize("mesh", [OSM, ISTIO], ids=str)
def test_the_original_manifest_in_a_mesh(
    mesh: Mesh, backend: str, here: MeshedPod, direct: Measured
) -> None:
    """The problem: what asks for an answer fails, and what only connects passes on a dead port."""
    here.intercept(mesh, backend)
    pod = spec(manifest(HASTE))
    for case in (CASES[0], CASES[-1]):
        if case.hosts:
            here.app.start(case.hosts)
        verdicts = here.kubelet.verdicts(pod, *here.addresses)
        lies = dict.fromkeys(verdicts[IPV4], "failure") | {"db liveness": "success"}
        assert verdicts[IPV4] == lies, case
        # OSM's rules are for IPv4 only: there a pod by its IPv6 address is in no mesh.
        assert verdicts[IPV6] == (lies if mesh.intercepts(6) else direct[case.name, IPV6]), case
        if case.hosts:
            here.app.kill()


@pytest.mark.parametrize("setting", IN_MESHES, ids=str)
def test_the_injected_manifest_in_a_mesh(
    setting: Setting, measured: dict[Setting, Measured], direct: Measured
) -> None:
    """The proof."""
    assert measured[setting] == direct
