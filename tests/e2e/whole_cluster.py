"""A whole cluster: a control plane, a node, and the images that its pods run."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from osm_healthcheck import __version__
from tests.bench import envoy
from tests.net.envoy import bootstrap
from tests.net.meshes import ISTIO

from . import osm
from .build import program
from .control_plane import ControlPlane, control_plane
from .images import files_of, write_image
from .node import ADDRESS, PAUSE, Node, node
from .pods import APP, MESH, PORTS, PROXY_CONFIG

OURS = {
    "sidecar": f"docker.io/library/osm-healthcheck:{__version__}",
    "init": f"docker.io/library/osm-healthcheck-init:{__version__}",
    "node": f"docker.io/library/osm-healthcheck-node:{__version__}",
    "injector": f"docker.io/library/osm-healthcheck-injector:{__version__}",
}
"""The images that .ci/images leaves, and the names that inject and the manifest give them."""


GO_DAEMON = "e2e.local/osm-healthcheck:1.2.4"
"""The daemon whose place we take."""


@contextmanager
def whole_cluster() -> Iterator[tuple[ControlPlane, Node]]:
    """Start it, in the namespaces that .ci/e2e makes."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "control-plane").mkdir()
        with (
            control_plane(folder / "control-plane", address=ADDRESS, controllers=True) as cluster,
            node(folder, cluster) as machine,
        ):
            _load_images(folder, machine)
            yield cluster, machine


def _load_images(folder: Path, machine: Node) -> None:
    """What no registry is asked for: pause, the tests' app, the programs of meshes; and our own."""
    write_image(folder / "pause.tar", PAUSE, {"/pause": program("pause")}, entrypoint=["/pause"])
    tools = files_of(*(Path("/bin") / tool for tool in ("cat", "rm", "touch")))
    write_image(folder / "app.tar", APP, {"/app": program("app"), **tools})
    binary = envoy.binary()
    assert binary is not None
    iptables = program("xtables-nft-multi")
    extensions = sorted(Path("/usr/lib").glob("*/xtables/*.so"))
    files = files_of(Path("/bin/sh"), iptables, Path(binary), *extensions)
    files["/usr/bin/envoy"] = files.pop(binary)
    config = folder / "envoy.json"
    config.write_text(json.dumps(bootstrap(ISTIO, PORTS)))
    files[PROXY_CONFIG] = config
    files["/istio-iptables"] = program("istio-iptables")
    names = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save")
    links = {f"/usr/sbin/{name}": iptables.name for name in (*names, "ip6tables-restore")}
    write_image(folder / "mesh.tar", MESH, files, links)
    programs = {f"/{name}": program(name) for name in ("osm-injector", "osm-controller")}
    write_image(folder / "osm.tar", osm.IMAGE, programs)
    write_image(folder / "go.tar", GO_DAEMON, {"/osm-healthcheck": program("osm-healthcheck")})
    for name in ("pause", "app", "mesh", "osm", "go"):
        machine.load(folder / f"{name}.tar")
    archives = Path(os.environ["E2E_IMAGES"])
    for name, image in OURS.items():
        machine.load(archives / f"{name}.oci.tar", image)
