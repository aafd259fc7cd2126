"""What the tests share: a control plane, and a cluster with a node and the images that it runs."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .build import CONTROL_PLANE, MissingError, program
from .control_plane import ControlPlane, control_plane
from .node import Node
from .table import Table
from .whole_cluster import whole_cluster

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
    with whole_cluster() as both:
        yield both


@pytest.fixture
def kube(whole: tuple[ControlPlane, Node]) -> ControlPlane:
    """The control plane of the whole cluster."""
    return whole[0]


@pytest.fixture
def machine(whole: tuple[ControlPlane, Node]) -> Node:
    """The node of the whole cluster."""
    return whole[1]
