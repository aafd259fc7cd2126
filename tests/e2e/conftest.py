"""What the tests share: one control plane."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .build import CONTROL_PLANE, MissingError, program
from .control_plane import ControlPlane, control_plane


@pytest.fixture(scope="session")
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
