"""A node: containerd, the kubelet and kube-proxy, in the namespaces that .ci/e2e makes.

What is unusual here is what the machines are that tests run on:

- cgroup v1 serves as well (``failCgroupV1``), and all pods are below a cgroup that .ci/e2e makes
  (cgroups.py) and removes, as the hierarchies are those of the machine outside.
- Root without CAP_SYS_RESOURCE may not lower a process's OOM score: containerd is told so
  (``restrict_oom_score_adj``), or no sandbox starts.
- There is no DNS: what has to be found by name gets ``hostAliases``.
- The cluster is IPv4, but for the pods called ``ipv6``, which have an IPv6 address and no other:
  the kubelet asks a pod where the CNI says that it is.
"""

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import run as run_program

from .build import program
from .control_plane import NODE, ControlPlane
from .process import Process

ADDRESS = "10.99.0.1"
"""The node's, which .ci/e2e gives to an interface."""
_PODS = "10.98.0.0/24"
IPV6 = "ipv6"
"""The name of pods that are to have an IPv6 address and no other."""
_IPAM = f"""\
#!/bin/sh
# An address for a pod: by host-local, from the range of its version.
case $CNI_ARGS in
  *K8S_POD_NAME={IPV6}*) sed -e 's,{_PODS},fd98::/64,' -e 's,0\\.0\\.0\\.0/0,::/0,' ;;
  *) cat ;;
esac | exec /usr/lib/cni/host-local
"""
_SOCKET = "/run/containerd/containerd.sock"
PAUSE = "e2e.local/pause:1"


class Node:
    """A running node.

    Attributes:
        folder: with containerd's and the kubelet's logs.
        containerd: the process.
    """

    def __init__(self, folder: Path, containerd: Process) -> None:
        self.folder = folder
        self.containerd = containerd

    def ctr(self, *arguments: str) -> str:
        """Run containerd's own client."""
        argv = [str(program("ctr")), "--namespace", "k8s.io", *arguments]
        done = run_program(argv, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    def load(self, archive: Path, name: str | None = None) -> None:
        """Load an image from an archive: under the name that it has, or another one.

        The kubelet cannot look up what ``--index-name`` would leave, so an image with no name in
        its archive gets one in two steps.
        """
        if name is None:
            self.ctr("images", "import", str(archive))
            return
        base = name.rpartition(":")[0]
        self.ctr("images", "import", "--base-name", base, str(archive))
        [loaded] = [
            one for one in self.ctr("images", "ls", "-q").split() if one.startswith(f"{base}:osm-")
        ]
        self.ctr("images", "tag", "--force", loaded, name)
        self.ctr("images", "rm", loaded)

    def process_of(self, container_id: str) -> int:
        """The process ID of a container's first process, on the node.

        Args:
            container_id: as a pod's status has it.
        """
        wanted = container_id.rpartition("/")[2]
        for line in self.ctr("tasks", "ls").splitlines():
            name, pid, *_ = line.split()
            if name == wanted:
                return int(pid)
        raise AssertionError(f"no task {wanted}")

    def signal(self, container_id: str, name: str) -> None:
        """Send a signal to a container's first process, from outside: within, it is immune."""
        os.kill(self.process_of(container_id), signal.Signals[f"SIG{name}"])

    def restart_containerd(self) -> None:
        """End containerd, which the containers survive, and start it anew."""
        self.containerd.end()
        self.containerd = start_containerd(self.folder)


@contextmanager
def node(folder: Path, cluster: ControlPlane) -> Iterator[Node]:
    """Start a node and let it join; it is Ready when this returns, and gone with the context.

    Args:
        folder: for its configuration, logs and images; a temporary one on a disk.
        cluster: with controllers, or nothing is scheduled.
    """
    with ExitStack() as stack:
        running = Node(folder, start_containerd(folder))
        stack.callback(lambda: running.containerd.end())
        kubelet = _start_kubelet(folder, cluster)
        stack.callback(kubelet.end)
        kubelet.wait_until(lambda: _answers("http://127.0.0.1:10248/healthz"))
        cluster.kubectl.wait_for_existence("node", NODE)
        proxy = _start_kube_proxy(folder, cluster)
        stack.callback(proxy.end)
        proxy.wait_until(lambda: _answers("http://127.0.0.1:10256/healthz"))
        cluster.kubectl.wait(f"node/{NODE}", "condition=Ready")
        yield running


def _networks(folder: Path, run: str, subnet: str) -> tuple[Path, Path]:
    """The CNI's programs and its configuration: a pair of interfaces for each pod."""
    programs, networks = folder / "cni-programs", folder / "cni"
    for made in programs, networks:
        made.mkdir(exist_ok=True)
    for one in Path("/usr/lib/cni").iterdir():
        (programs / one.name).unlink(missing_ok=True)
        (programs / one.name).symlink_to(one)
    (programs / "ipam").write_text(_IPAM)
    (programs / "ipam").chmod(0o755)
    addresses = {
        "type": "ipam",
        "ranges": [[{"subnet": subnet}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": f"{run}/cni",
    }
    (networks / "10-e2e.conflist").write_text(
        json.dumps(
            {
                "cniVersion": "1.0.0",
                "name": "e2e",
                "plugins": [
                    {"type": "ptp", "ipMasq": False, "ipam": addresses},
                    {"type": "portmap", "capabilities": {"portMappings": True}},
                ],
            }
        )
    )
    return programs, networks


def start_containerd(
    folder: Path,
    *,
    run: str = "/run/containerd",
    root: str = "/var/lib/containerd",
    subnet: str = _PODS,
) -> Process:
    """Start a container runtime; it answers when this returns.

    Args:
        folder: for its configuration and log.
        run: for what is gone with the node; its socket is ``containerd.sock`` there.
        root: for its images.
        subnet: of its pods' addresses.
    """
    programs, networks = _networks(folder, run, subnet)
    config = folder / "containerd.toml"
    config.write_text(f"""\
version = 2
root = "{root}"
state = "{run}/state"
[grpc]
  address = "{run}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "{program("runc")}"
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{programs}"
    conf_dir = "{networks}"
""")
    process = Process(folder / "containerd.log", program("containerd"), "-c", str(config))
    argv = [str(program("ctr")), "--address", f"{run}/containerd.sock", "version"]
    process.wait_until(lambda: run_program(argv, capture_output=True, check=False).returncode == 0)
    return process


def _start_kubelet(folder: Path, cluster: ControlPlane) -> Process:
    config = folder / "kubelet.json"
    config.write_text(
        json.dumps(
            {
                "apiVersion": "kubelet.config.k8s.io/v1beta1",
                "kind": "KubeletConfiguration",
                "failCgroupV1": False,
                "cgroupDriver": "cgroupfs",
                "cgroupRoot": f"/{os.environ['E2E_CGROUP']}",
                "enforceNodeAllocatable": [],
                "failSwapOn": False,
                "containerRuntimeEndpoint": f"unix://{_SOCKET}",
                "clusterDomain": "cluster.local",
                # Nobody is there; without it every pod gets an event about it.
                "clusterDNS": ["10.96.0.10"],
                "resolvConf": "/dev/null",
                "makeIPTablesUtilChains": False,
                "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%"},
                "imageGCHighThresholdPercent": 100,
                "authentication": {
                    "anonymous": {"enabled": False},
                    "webhook": {"enabled": False},
                    "x509": {"clientCAFile": str(cluster.authority_file)},
                },
                "authorization": {"mode": "AlwaysAllow"},
            }
        )
    )
    return Process(
        *(folder / "kubelet.log", program("kubelet"), "--config", str(config)),
        *("--kubeconfig", str(cluster.kubelet_kubeconfig), "--hostname-override", NODE),
        *("--node-ip", ADDRESS, "--v", "2"),
    )


def _start_kube_proxy(folder: Path, cluster: ControlPlane) -> Process:
    config = folder / "kube-proxy.json"
    config.write_text(
        json.dumps(
            {
                "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
                "kind": "KubeProxyConfiguration",
                "clientConnection": {"kubeconfig": str(cluster.kubeconfig)},
                "hostnameOverride": NODE,
                "mode": "iptables",
                "clusterCIDR": _PODS,
                # These are the machine's, or take rights that root need not have.
                "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s"},
                "oomScoreAdj": 0,
            }
        )
    )
    return Process(
        folder / "kube-proxy.log", program("kube-proxy"), "--config", str(config), "--v", "2"
    )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False
