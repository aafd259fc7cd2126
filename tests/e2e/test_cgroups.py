"""The cgroup of all pods on cgroup v2: below a root that has processes, as in a container."""

import os
import subprocess
from pathlib import Path

import pytest

from .cgroups import make_cgroup
from .process import until

pytestmark = pytest.mark.e2e

_MOUNTED = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))


@pytest.mark.skipif(os.geteuid() != 0, reason="cgroups take root")
def test_on_cgroup_v2_processes_make_room_for_pods() -> None:
    """With the kernel's own v2, and with whatever controllers v1 has left it."""
    mounted = next((one for one in _MOUNTED if (one / "cgroup.controllers").exists()), None)
    if mounted is None:
        pytest.skip("there is no cgroup v2 here")
    root = mounted / f"osm-healthcheck-test-{os.getpid()}"
    given = set((mounted / "cgroup.subtree_control").read_text().split())
    controllers = set((mounted / "cgroup.controllers").read_text().split())
    (mounted / "cgroup.subtree_control").write_text(" ".join(f"+{one}" for one in controllers))
    root.mkdir()
    with subprocess.Popen(["sleep", "infinity"]) as process:
        try:
            (root / "cgroup.procs").write_text(str(process.pid))
            for _ in range(2):  # once more changes nothing
                make_cgroup("pods", root)
                assert str(process.pid) in (root / "init" / "cgroup.procs").read_text().split()
                for one in root, root / "pods":
                    assert set((one / "cgroup.subtree_control").read_text().split()) == controllers
        finally:
            process.kill()
            process.wait()
            for one in filter(Path.exists, (root / "init", root / "pods", root)):
                until(lambda: "populated 0" in (root / "cgroup.events").read_text(), "it is empty")
                one.rmdir()
            taken = " ".join(f"-{one}" for one in controllers - given)
            (mounted / "cgroup.subtree_control").write_text(taken)
