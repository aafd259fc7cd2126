"""The cgroup below which all pods of a node are, in whichever of the two versions there is.

    python -m tests.e2e.cgroups NAME      before there are namespaces, as .ci/e2e does

The kubelet makes the cgroups of its pods, and wants that of them all to be there. On cgroup v1 it
is a directory in each hierarchy; on v2 one directory, which has to be given its controllers.
"""

import sys
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def make_cgroup(name: str, root: Path = _CGROUPS) -> None:
    """Make the cgroup of all pods.

    Args:
        name: of the cgroup.
        root: where cgroups are mounted.

    Raises:
        OSError: the kernel does not allow it.
    """
    if (root / "cgroup.controllers").exists():
        _make_v2(root, name)
    else:
        _make_v1(root, name)


def _make_v1(root: Path, name: str) -> None:
    for hierarchy in root.iterdir():
        # On a hybrid machine, "unified" is v2 with the controllers that v1 has left, if any.
        if hierarchy.is_symlink() or hierarchy.name == "unified" or not hierarchy.is_dir():
            continue
        (hierarchy / name).mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):  # a new cpuset has none, and nothing runs in it
            if (hierarchy / file).exists():
                (hierarchy / name / file).write_text((hierarchy / file).read_text())


def _make_v2(root: Path, name: str) -> None:
    # The root of a container is a cgroup like any other, and a cgroup with processes of its own
    # gives no controllers to others (Documentation/admin-guide/cgroup-v2.rst, "No Internal Process
    # Constraint"; the root of the machine is free of it): its processes go into one beside ours,
    # as kind and Docker-in-Docker do it. Only what is no root has the file cgroup.type.
    if (root / "cgroup.type").exists():
        (root / "init").mkdir(exist_ok=True)
        for process in (root / "cgroup.procs").read_text().split():
            try:
                (root / "init" / "cgroup.procs").write_text(process)
            except ProcessLookupError:
                continue  # it has ended since
    (root / name).mkdir(exist_ok=True)
    controllers = " ".join(f"+{one}" for one in (root / "cgroup.controllers").read_text().split())
    for cgroup in (root, root / name):
        (cgroup / "cgroup.subtree_control").write_text(controllers)


if __name__ == "__main__":
    try:
        make_cgroup(sys.argv[1])
    except OSError as error:
        sys.exit(f"cannot make the cgroup of all pods: {error}")
