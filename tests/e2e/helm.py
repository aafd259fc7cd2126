"""Helm, for one cluster, with our chart."""

import os
import subprocess
from pathlib import Path

import pytest

from .control_plane import ControlPlane

CHART = Path(__file__).parents[2] / "charts" / "osm-healthcheck"


def helm(cluster: ControlPlane, namespace: str, *arguments: str, version: str = "v3") -> str:
    """Run the program that .ci/chart installs; what it writes to its standard output."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = sorted((cache / "osm-healthcheck-ci" / "bin").glob(f"helm-{version}.*"))
    if not found:
        pytest.skip(f"there is no Helm {version}: .ci/chart installs it")
    argv = [str(found[-1]), *arguments, "--namespace", namespace]
    argv += ["--kubeconfig", str(cluster.kubeconfig)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
