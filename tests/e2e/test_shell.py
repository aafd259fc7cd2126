"""What stands ready in the shell of `.ci/e2e --shell`."""

import os
import subprocess

import pytest

from osm_healthcheck import __version__

from .control_plane import NODE, ControlPlane
from .shell import environment
from .whole_cluster import OURS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def test_a_user_finds_the_cluster_and_the_commands(
    kube: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    commands = (
        "kubectl get nodes -o name",
        "osm-healthcheck version",
        "kubectl osm-healthcheck verify -n default -o json",
        "ctr images ls -q",
    )
    done = subprocess.run(
        ["sh", "-exc", "\n".join(commands)],
        env=environment(kube),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"node/{NODE}\n" in done.stdout
    assert f"osm-healthcheck {__version__}\n" in done.stdout
    assert set(OURS.values()) <= set(done.stdout.splitlines())
