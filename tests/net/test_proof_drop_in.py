"""The drop-in: Envoy holds 15901-15903, as OSM has it, and the sidecar serves 15904 beside it."""

import pytest

from .meshed_pod import meshed_pod
from .meshes import OSM
from .namespaces import PATIENCE
from .pod_manifest import in_osm, manifest, osm_bootstrap
from .sockets import listeners

SIDECAR_USER = 15904


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_beside_osms_envoy(backend: str) -> None:
    """OSM's own rules spare our ports, and its injector declares no probes."""
    with meshed_pod() as here:
        direct = here.in_turn(manifest)
        here.intercept(OSM, backend, osm_bootstrap(PATIENCE))
        here.start_sidecar(None)
        users = listeners(here.pod)
        assert {port: users.get(port) for port in range(15901, 15905)} == {
            15901: OSM.user,
            15902: OSM.user,
            15903: OSM.user,
            15904: SIDECAR_USER,
        }
        assert here.in_turn(in_osm) == direct
