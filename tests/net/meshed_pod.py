"""A pod in a mesh, its node and all that is between them, put together as a cluster would.

::

    with meshed_pod() as here:
        here.app.start(ANY)
        here.intercept(OSM, "nft")      # the mesh's init container and its proxy
        here.bypass(injected(20))       # our init container
        here.start_sidecar(injected(20))
        here.kubelet.verdicts(spec(injected(20)), here.pod.ipv4)
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from osm_healthcheck.injection.pods import INIT_CONTAINER, SIDECAR

from .app import ANY, App
from .envoy import start_envoy
from .init_script import init, only_capabilities
from .kubelet import Kubelet, Verdicts
from .meshes import Mesh
from .namespaces import PATIENCE, Namespace, need, pod_and_node
from .pod_manifest import ORIGINAL_PORTS, Manifest, container, spec
from .program import Program


@dataclass
class MeshedPod:
    """A pod and its node.

    Attributes:
        pod: the pod's namespace.
        node: the node's.
        app: the app in the pod.
        kubelet: the prober on the node.
        sidecar: osm-healthcheck, where it was started.
        envoy: the mesh's proxy, where the pod is in a mesh.
    """

    pod: Namespace
    node: Namespace
    app: App
    kubelet: Kubelet
    sidecar: Program | None = None
    envoy: Program | None = None
    _start_envoy: Callable[[], Program] | None = None

    @property
    def addresses(self) -> tuple[str, str]:
        """The pod's addresses on the wire."""
        return self.pod.ipv4, self.pod.ipv6

    def intercept(self, mesh: Mesh, backend: str, more: Manifest | None = None) -> None:
        """Put the pod into a mesh: its redirects, and its proxy with ``more``."""
        mesh.intercept(self.pod, backend)
        self._start_envoy = lambda: start_envoy(self.pod, mesh, ORIGINAL_PORTS, more)
        self.restart_envoy()

    def restart_envoy(self) -> None:
        """Start the proxy, after it was killed or for the first time."""
        assert self._start_envoy is not None
        self.envoy = self._start_envoy()

    def bypass(self, manifest: Manifest, *more: str) -> None:
        """Run our init container as the manifest has it.

        With ``more`` arguments it is plain root: iptables-legacy takes more than NET_ADMIN.
        """
        ours = container(manifest, INIT_CONTAINER)
        assert ours["command"] == ["/init.sh"]
        assert ours["securityContext"]["capabilities"] == {"add": ["NET_ADMIN"], "drop": ["ALL"]}
        assert ours["securityContext"]["runAsUser"] == 0
        shell = "dash" if more else only_capabilities("net_admin") + " dash"
        done = init(self.pod, *ours["args"], *more, shell=shell)
        assert done.returncode == 0, done.stderr

    def start_sidecar(self, manifest: Manifest | None) -> Program:
        """Start our container as the manifest has it; when this returns it is ready.

        Its command, arguments, variables, user and capabilities are those of the manifest. Without
        one it is started as OSM's injector does it: without declared probes.
        """
        if manifest is None:
            arguments, given, user = ["--verbosity", "info"], {}, 15904
        else:
            ours = container(manifest, SIDECAR)
            assert ours["command"] == ["/osm-healthcheck"]
            security = ours["securityContext"]
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["allowPrivilegeEscalation"] is False
            arguments, user = ours["args"], security["runAsUser"]
            given = {one["name"]: self._value(one) for one in ours["env"]}
        command = [sys.executable, "-m", "osm_healthcheck", *arguments]
        variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
        environment = [f"{name}={value}" for name, value in {**variables, **given}.items()]
        if self.sidecar is not None:
            self.sidecar.end()
        become = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
        become += [f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"]
        started = self.pod.start("env", "-i", *environment, *become, *command)
        self.sidecar = Program(started)
        self.sidecar.wait_for('"ready"')
        return self.sidecar

    def end(self) -> None:
        """End the sidecar and the proxy."""
        for program in (self.sidecar, self.envoy):
            if program is not None:
                program.end()

    def in_turn(self, document: Callable[[int], Manifest]) -> list[Verdicts]:
        """The verdicts by IPv4 on a healthy app, a sick one and a dead one.

        ``document`` makes the manifest for a timeoutSeconds: gRPC probes of a dead app take it all.
        """
        found = []
        for status, timeout in (200, PATIENCE), (503, PATIENCE), (0, 1):
            if status:
                self.app.start(ANY, status)
            pod = spec(document(timeout))
            found.append(self.kubelet.verdicts(pod, self.pod.ipv4)[self.pod.ipv4])
            if status:
                self.app.kill()
        return found

    def _value(self, variable: Manifest) -> str:
        if "value" in variable:
            return str(variable["value"])
        path = variable["valueFrom"]["fieldRef"]["fieldPath"]
        return {"status.podIP": self.pod.ipv4}[path]


@contextlib.contextmanager
def meshed_pod() -> Iterator[MeshedPod]:
    """Make a pod that is in no mesh, and its node; take all down again afterwards."""
    need("iptables-nft-restore", "iptables-legacy-restore", "dash", "setpriv", root=True)
    with pod_and_node() as (pod, node), contextlib.ExitStack() as cleanup:
        kubelet = Kubelet(node)
        cleanup.callback(kubelet.close)
        app = App(pod)
        cleanup.callback(app.program.end)
        made = MeshedPod(pod, node, app, kubelet)
        cleanup.callback(made.end)
        yield made
