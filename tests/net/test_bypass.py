"""Who answers, over a real wire: the pod's own listener or the proxy of the mesh."""

import contextlib
from collections.abc import Iterator

import pytest

from .init_script import init, only_capabilities
from .meshes import APP_USER, CONSUL, FIRST, ISTIO, KUMA, MESHES, RULES, Mesh
from .namespaces import Namespace

OURS = (15901, 15902, 15903, 15904)
APP_PORT = 8080
REMOTE_PORT = 9000
SIDECAR_USER = 15904

BACKENDS = ("nft", "legacy")
both_backends = pytest.mark.parametrize("backend", BACKENDS)
every_mesh = pytest.mark.parametrize("mesh", MESHES, ids=str)


@contextlib.contextmanager
def listeners(mesh: Mesh, pod: Namespace, node: Namespace) -> Iterator[None]:
    """The app on its port and on ours, the proxy, and a server elsewhere."""
    with (
        pod.serving({port: f"app on {port}" for port in (*OURS, APP_PORT)}, APP_USER),
        mesh.proxy(pod),
        node.serving({REMOTE_PORT: "remote"}),
    ):
        yield


def inbound(pod: Namespace, node: Namespace, *ports: int) -> list[list[str]]:
    """What the node hears from the pod's ports, by IPv4 and by IPv6."""
    return [[node.ask(host, port) for port in ports] for host in (pod.ipv4, pod.ipv6)]


def outbound(pod: Namespace, node: Namespace) -> list[str]:
    """What the app hears from the server on the node, by IPv4 and by IPv6."""
    return [pod.ask_as(APP_USER, host, REMOTE_PORT) for host in (node.ipv4, node.ipv6)]


def expected(mesh: Mesh, what: str, otherwise: str) -> list[str]:
    """One word for each IP version: `what` where the mesh intercepts it."""
    return [what if mesh.intercepts(version) else otherwise for version in (4, 6)]


APP = [f"app on {port}" for port in OURS]


def assert_bypassed(mesh: Mesh, pod: Namespace, node: Namespace) -> None:
    """Our ports reach the pod itself; the mesh still has everything else."""
    assert inbound(pod, node, *OURS) == [APP, APP]
    app = f"app on {APP_PORT}"
    assert inbound(pod, node, APP_PORT) == [[one] for one in expected(mesh, "inbound", app)]
    assert outbound(pod, node) == expected(mesh, "outbound", "remote")
    # A caller inside the pod, at its address and at localhost.
    for host in (pod.ipv4, pod.ipv6, "127.0.0.1", "::1"):
        assert pod.ask_as(APP_USER, host, 15904) == "app on 15904", host


@both_backends
@every_mesh
def test_after_the_mesh(mesh: Mesh, backend: str, pod: Namespace, node: Namespace) -> None:
    mesh.intercept(pod, backend)
    with listeners(mesh, pod, node):
        # The problem. It also shows that the rules and proxies of these tests do intercept.
        taken = [f"app on {port}" if port in mesh.spares else "inbound" for port in OURS]
        assert inbound(pod, node, *OURS) == [
            taken if mesh.intercepts(version) else APP for version in (4, 6)
        ]
        assert init(pod).returncode == 0
        assert_bypassed(mesh, pod, node)


@both_backends
@every_mesh
def test_before_the_mesh(mesh: Mesh, backend: str, pod: Namespace, node: Namespace) -> None:
    """This also mixes back ends: a fresh pod gets nft, whatever the mesh takes afterwards."""
    assert init(pod).returncode == 0
    mesh.intercept(pod, backend)
    with listeners(mesh, pod, node):
        assert_bypassed(mesh, pod, node)


@every_mesh
def test_the_sidecar_reaches_the_app_past_the_mesh(mesh: Mesh, pod: Namespace) -> None:
    """It asks the app from inside the pod. At the pod's own address some meshes take that.

    What init.sh does is to leave this as the mesh has it.
    """
    init(pod)
    mesh.intercept(pod, "nft")
    with mesh.proxy(pod), pod.serving({APP_PORT: "app"}):
        assert pod.ask_as(SIDECAR_USER, "127.0.0.1", APP_PORT) == "app"
        answer = pod.ask_as(SIDECAR_USER, pod.ipv4, APP_PORT)
        assert answer == ("app" if mesh.leaves_loopback else "outbound")


@both_backends
def test_uninstall_gives_the_probes_back_to_the_mesh(
    backend: str, pod: Namespace, node: Namespace
) -> None:
    ISTIO.intercept(pod, backend)
    init(pod)
    with listeners(ISTIO, pod, node):
        assert inbound(pod, node, 15904) == [["app on 15904"]] * 2
        assert init(pod, "uninstall").returncode == 0
        assert inbound(pod, node, 15904) == [["inbound"]] * 2


def test_more_ports_than_multiport_takes(pod: Namespace, node: Namespace) -> None:
    """iptables' multiport match ends at 15 ports, and a range counts as two."""
    many = [*range(15901, 15905), *range(20000, 20040, 2)]
    KUMA.intercept(pod, "nft")
    installed = init(pod, "--ports", "15901-15904," + ",".join(map(str, many[4:])))
    assert installed.returncode == 0, installed.stderr
    with KUMA.proxy(pod), pod.serving(dict.fromkeys([*many, 20001], "app")):
        assert inbound(pod, node, *many) == [["app"] * len(many)] * 2
        assert inbound(pod, node, 20001) == [["inbound"]] * 2


def test_a_source_port_of_ours_is_no_way_around_the_mesh(pod: Namespace, node: Namespace) -> None:
    """The answers of our ports are not tracked; an app must not pass for one of them."""
    KUMA.intercept(pod, "nft")
    init(pod)
    with KUMA.proxy(pod), node.serving({REMOTE_PORT: "remote"}):
        assert (
            pod.ask_as(APP_USER, node.ipv4, REMOTE_PORT, source_port=15905, timeout=1) == "outbound"
        )
        assert (
            pod.ask_as(APP_USER, node.ipv4, REMOTE_PORT, source_port=15902, timeout=1)
            == "TimeoutError"
        )


@pytest.mark.parametrize("hook", ["PREROUTING", "OUTPUT"])
@both_backends
def test_meshes_that_drop_invalid_packets(
    backend: str, hook: str, pod: Namespace, node: Namespace
) -> None:
    """An option of Istio and Kuma: packets that belong to no tracked connection are dropped."""
    KUMA.intercept(pod, backend)
    rules = (RULES / "drop-invalid.ipv4").read_text().replace("PREROUTING", hook)
    pod.run(f"iptables-{backend}-restore", "--noflush", stdin=rules)
    init(pod)
    with listeners(KUMA, pod, node):
        assert node.ask(pod.ipv4, 15904) == "app on 15904"
        for host in (pod.ipv4, "127.0.0.1"):
            assert pod.ask_as(APP_USER, host, 15904, timeout=5) == "app on 15904"


def test_a_port_that_nobody_listens_on_refuses(pod: Namespace, node: Namespace) -> None:
    """The kubelet has to see that the sidecar is down, not a proxy that accepts everything."""
    CONSUL.intercept(pod, "legacy")
    init(pod)
    with CONSUL.proxy(pod):
        assert inbound(pod, node, *OURS) == [["ConnectionRefusedError"] * 4] * 2


def test_net_admin_alone_is_enough(pod: Namespace, node: Namespace) -> None:
    """The injected init container has no other capability. A legacy mesh is no hindrance."""
    KUMA.intercept(pod, "legacy")
    done = init(pod, shell=only_capabilities("net_admin") + " dash")
    assert done.returncode == 0, done.stderr
    with listeners(KUMA, pod, node):
        assert inbound(pod, node, *OURS) == [APP, APP]


class TestWhereTableRawIsMissing:
    """The fall-back, and what its warning says that it cannot promise."""

    @both_backends
    def test_it_holds_after_the_mesh(
        self, backend: str, pod: Namespace, node: Namespace, no_raw: str
    ) -> None:
        KUMA.intercept(pod, backend)
        assert init(pod, prepare=no_raw).returncode == 0
        with listeners(KUMA, pod, node):
            assert inbound(pod, node, *OURS) == [APP, APP]
            assert inbound(pod, node, APP_PORT) == [["inbound"]] * 2
            assert outbound(pod, node) == ["outbound"] * 2

    def test_a_mesh_that_goes_first_takes_the_probes_until_it_runs_again(
        self, pod: Namespace, node: Namespace, no_raw: str
    ) -> None:
        init(pod, prepare=no_raw)
        FIRST.intercept(pod, "nft")
        with listeners(FIRST, pod, node):
            assert inbound(pod, node, 15904) == [["inbound"]] * 2
            assert init(pod, "check", prepare=no_raw).returncode == 1
            assert init(pod, prepare=no_raw).returncode == 0
            assert inbound(pod, node, 15904) == [["app on 15904"]] * 2
            assert init(pod, "check", prepare=no_raw).returncode == 0

    def test_a_mesh_in_the_other_back_end_takes_the_probes(
        self, pod: Namespace, node: Namespace, no_raw: str
    ) -> None:
        init(pod, prepare=no_raw)
        KUMA.intercept(pod, "legacy")
        with listeners(KUMA, pod, node):
            assert inbound(pod, node, 15904) == [["inbound"]] * 2
            assert init(pod, prepare=no_raw).returncode == 0
            assert inbound(pod, node, 15904) == [["app on 15904"]] * 2
