"""The drop-in: Envoy holds 15901-15903, as OSM has it, and the sidecar serves 15904 beside it."""

import pytest

from .meshes import OSM
from .namespaces import PATIENCE
from .shop import in_osm, manifest, osm_bootstrap, spec
from .sockets import listeners
from .world import world

ANY = ("0.0.0.0", "::")
SIDECAR_USER = 15904
HASTE = 1


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_beside_osms_envoy(backend: str) -> None:
    """OSM's own rules spare our ports, and its injector declares no probes."""
    apps = ((ANY, 200, PATIENCE), (ANY, 503, PATIENCE), ((), 0, HASTE))
    with world() as here:
        direct, through = [], []
        for hosts, status, timeout in apps:
            if hosts:
                here.app.start(hosts, status)
            direct.append(here.kubelet.verdicts(spec(manifest(timeout)), here.pod.ipv4))
            if hosts:
                here.app.kill()
        here.intercept(OSM, backend, osm_bootstrap(PATIENCE))
        here.start_sidecar(None)
        users = listeners(here.pod)
        assert {port: users.get(port) for port in range(15901, 15905)} == {
            15901: OSM.user,
            15902: OSM.user,
            15903: OSM.user,
            15904: SIDECAR_USER,
        }
        for hosts, status, timeout in apps:
            if hosts:
                here.app.start(hosts, status)
            through.append(here.kubelet.verdicts(spec(in_osm(timeout)), here.pod.ipv4))
            if hosts:
                here.app.kill()
        assert through == direct
