"""What the tests share: a control plane, and a cluster with a node and the images that it runs."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from osm_healthcheck import __version__
from tests.bench import envoy
from tests.net.envoy import bootstrap
from tests.net.meshes import ISTIO

from .build import CONTROL_PLANE, MissingError, program
from .control_plane import ControlPlane, control_plane
from .images import files_of, write_image
from .node import ADDRESS, PAUSE, Node, node
from .pods import APP, MESH, PORTS, PROXY_CONFIG
from .table import Table

OURS = {
    "sidecar": f"docker.io/openservicemesh/osm-healthcheck:{__version__}",
    "init": f"docker.io/openservicemesh/osm-healthcheck-init:{__version__}",
}
"""The images that .ci/images leaves, and the names that inject gives them."""


_TABLE = Table()


@pytest.fixture
def table() -> Table:
    """What is printed when all is done."""
    return _TABLE


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    if str(_TABLE):
        terminalreporter.section("what the kubelet concluded")
        terminalreporter.write_line(str(_TABLE))


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    """An API server of one's own, with nothing in it. See control_plane.py."""
    try:
        for name in ("etcd", *CONTROL_PLANE):
            program(name)
    except MissingError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    with (
        tempfile.TemporaryDirectory() as folder,
        control_plane(Path(folder)) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def whole() -> Iterator[tuple[ControlPlane, Node]]:
    """A whole cluster: a control plane with controllers, and a node that has the images."""
    if "E2E_CGROUP" not in os.environ:
        pytest.skip("a node needs the namespaces that .ci/e2e makes")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "control-plane").mkdir()
        with (
            control_plane(folder / "control-plane", address=ADDRESS, controllers=True) as cluster,
            node(folder, cluster) as machine,
        ):
            _load_images(folder, machine)
            yield cluster, machine


@pytest.fixture
def kube(whole: tuple[ControlPlane, Node]) -> ControlPlane:
    """The control plane of the whole cluster."""
    return whole[0]


@pytest.fixture
def machine(whole: tuple[ControlPlane, Node]) -> Node:
    """The node of the whole cluster."""
    return whole[1]


def _load_images(folder: Path, machine: Node) -> None:
    """What no registry is asked for: pause, the tests' app, a mesh's programs; and our own two."""
    write_image(folder / "pause.tar", PAUSE, {"/pause": program("pause")}, entrypoint=["/pause"])
    write_image(folder / "app.tar", APP, {"/app": program("app")})
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
    tools = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save")
    links = {f"/usr/sbin/{tool}": iptables.name for tool in (*tools, "ip6tables-restore")}
    write_image(folder / "mesh.tar", MESH, files, links)
    for name in ("pause", "app", "mesh"):
        machine.load(folder / f"{name}.tar")
    archives = Path(os.environ["E2E_IMAGES"])
    for name, image in OURS.items():
        machine.load(archives / f"{name}.oci.tar", image)
