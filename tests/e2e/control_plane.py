"""A control plane: etcd and an API server, and where asked for controllers and a scheduler.

    with control_plane(folder) as cluster:
        cluster.kubectl("get", "namespaces")
        cluster.kubeconfig                            # a file, for any client; its user may do all

What envtest does, from Python. The programs are those that `.ci/e2e` builds or installs, or those
of the folder in KUBEBUILDER_ASSETS. It needs no root and no namespaces: ports are free ones.
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme
import yaml

from .api import Api
from .build import program
from .kubectl import Kubectl
from .process import Process

NODE = "e2e-node"
SERVICES = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
ADMINISTRATORS = "system:masters"


@dataclass(frozen=True)
class ControlPlane:
    """A running control plane.

    Attributes:
        url: of the API server.
        kubeconfig: of its administrator.
        kubelet_kubeconfig: of the node ``NODE``.
        authority: the CA of every certificate; the API server trusts webhooks by its own
            ``caBundle``, for which this CA may serve as well.
        authority_file: its certificate (PEM).
        api: what its administrator may read.
        kubectl: as its administrator.
        logs: the folder with a log for each program.
    """

    url: str
    kubeconfig: Path
    kubelet_kubeconfig: Path
    authority: trustme.CA
    authority_file: Path
    api: Api
    kubectl: Kubectl
    logs: Path

    def namespace(self, name: str) -> str:
        """Make a namespace, ready for pods, and return its name."""
        self.kubectl("create", "namespace", name)
        self.kubectl.wait_for_existence("serviceaccount", "default", "--namespace", name)
        return name


@contextmanager
def control_plane(
    folder: Path, *, address: str = "127.0.0.1", controllers: bool = False
) -> Iterator[ControlPlane]:
    """Start a control plane; it is ready when this returns, and gone with the context.

    Args:
        folder: for its certificates, data and logs; a temporary one.
        address: that the API server binds and announces.
        controllers: also start the controller manager and the scheduler. Without them
            ServiceAccount admission is off, as nobody makes the service accounts that it wants.

    Raises:
        MissingError: a program is missing.
        NotYetError: one does not start; with the end of its log.
    """
    etcd_port, peer_port, port = _free_ports(3)
    url, etcd = f"https://{address}:{port}", f"http://127.0.0.1:{etcd_port}"
    authority = _certificates(folder, address)
    kubeconfig = _kubeconfig(folder, "admin", url)
    kubelet_kubeconfig = _kubeconfig(folder, "kubelet", url)
    with ExitStack() as stack:

        def start(name: str, *arguments: str) -> Process:
            process = Process(folder / f"{name}.log", program(name), *arguments, cwd=folder)
            # In reverse order, as the API server does not end on SIGTERM once its store is gone.
            stack.callback(process.end)
            return process

        peer = f"http://127.0.0.1:{peer_port}"
        start(
            *("etcd", "--data-dir", "etcd", "--unsafe-no-fsync"),
            *("--listen-client-urls", etcd, "--advertise-client-urls", etcd),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"default={peer}"),
        )
        server = start(
            *("kube-apiserver", "--etcd-servers", etcd, "--allow-privileged"),
            *("--bind-address", address, "--advertise-address", address),
            *("--secure-port", str(port), "--service-cluster-ip-range", SERVICES),
            *("--tls-cert-file", "server.crt", "--tls-private-key-file", "server.key"),
            *("--client-ca-file", "ca.crt", "--authorization-mode", "Node,RBAC"),
            *("--kubelet-client-certificate", "admin.crt", "--kubelet-client-key", "admin.key"),
            *("--kubelet-preferred-address-types", "InternalIP"),
            *("--service-account-issuer", "https://kubernetes.default.svc"),
            *("--service-account-key-file", "accounts.key"),
            *("--service-account-signing-key-file", "accounts.key"),
            *(() if controllers else ("--disable-admission-plugins", "ServiceAccount")),
            # Where there is no kube-proxy either, a webhook's service is reached by its endpoints.
            *(() if controllers else ("--enable-aggregator-routing",)),
        )
        api = Api(url, folder)
        server.wait_until(api.ready)
        kubectl = Kubectl(program("kubectl"), kubeconfig)
        if controllers:
            own = ("--kubeconfig", str(kubeconfig), "--leader-elect=false")
            start(
                *("kube-controller-manager", *own, "--root-ca-file", "ca.crt"),
                *("--service-account-private-key-file", "accounts.key"),
                *("--cluster-signing-cert-file", "ca.crt", "--cluster-signing-key-file", "ca.key"),
            )
            start("kube-scheduler", *own)
            kubectl.wait_for_existence("serviceaccount", "default")
        kubectl.wait_for_existence("namespace", "default")
        yield ControlPlane(
            url, kubeconfig, kubelet_kubeconfig, authority, folder / "ca.crt", api, kubectl, folder
        )


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _certificates(folder: Path, address: str) -> trustme.CA:
    """A CA, the API server's certificate, an administrator's and a node's, and a key for tokens."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    authority.private_key_pem.write_to_path(str(folder / "ca.key"))
    names = ["localhost", "kubernetes.default.svc", "127.0.0.1", API_SERVICE, address]
    users = {"admin": ("admin", ADMINISTRATORS), "kubelet": (f"system:node:{NODE}", "system:nodes")}
    issued = {"server": authority.issue_cert(*dict.fromkeys(names))}
    # Each has some host name: a certificate without one has an extension that Go does not take.
    issued["accounts"] = authority.issue_cert("accounts.e2e")
    for name, (user, group) in users.items():
        issued[name] = authority.issue_cert(
            f"{name}.e2e", common_name=user, organization_name=group
        )
    for name, certificate in issued.items():
        certificate.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        (folder / f"{name}.crt").write_bytes(chain)
    return authority


def _kubeconfig(folder: Path, user: str, url: str) -> Path:
    files = {"client-certificate": f"{folder}/{user}.crt", "client-key": f"{folder}/{user}.key"}
    cluster = {"server": url, "certificate-authority": f"{folder}/ca.crt"}
    path = folder / f"{user}.kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "e2e", "cluster": cluster}],
        "users": [{"name": user, "user": files}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": user}}],
        "current-context": "e2e",
    }
    path.write_text(yaml.safe_dump(config))
    return path
