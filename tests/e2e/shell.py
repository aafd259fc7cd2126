"""A shell, or one command, beside a whole cluster: `.ci/e2e --shell [-- COMMAND...]`.

In it are kubectl with its KUBECONFIG, osm-healthcheck of this working copy, and containerd's ctr,
which loads images: `ctr images import FILE`.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from osm_healthcheck import __version__

from .build import program
from .control_plane import ControlPlane
from .pods import APP, MESH
from .whole_cluster import whole_cluster

_WELCOME = f"""\
Kubernetes is ready, of one node, which has the images of osm-healthcheck {__version__} under their
default names, {APP} (the tests' app) and {MESH} (Envoy and istio-iptables).
No registry is asked: `ctr images import FILE` loads an archive of an image.
On the PATH: kubectl, ctr, osm-healthcheck. Everything ends with this shell.
"""


def environment(cluster: ControlPlane) -> Mapping[str, str]:
    """The variables with which a user's programs find the cluster, and each other."""
    folders = (program("kubectl").parent, Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": ":".join([*map(str, folders), os.environ["PATH"]]),
        "KUBECONFIG": str(cluster.kubeconfig),
        "KUBECACHEDIR": str(cluster.kubeconfig.parent / "kubectl-cache"),
        "CONTAINERD_NAMESPACE": "k8s.io",
    }


def main(command: Sequence[str]) -> int:
    """Run a command in a cluster of its own, or a shell; its exit status is ours."""
    with whole_cluster() as (cluster, _):
        if not command and sys.stdin.isatty():
            print(_WELCOME, file=sys.stderr)
        # Ctrl-C is for what runs in the shell. A script's background commands ignore it, and so
        # would all that they start; what has a handler here has none in the programs started.
        signal.signal(signal.SIGINT, lambda *_: None)
        argv = command or [os.environ.get("SHELL") or "/bin/sh"]
        try:
            done = subprocess.run(argv, env=environment(cluster), check=False)
        except OSError as error:
            print(error, file=sys.stderr)
            return 127
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
