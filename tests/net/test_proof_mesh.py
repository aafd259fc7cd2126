"""What of the mesh is left as it was, and what nobody gets through us."""

import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from osm_healthcheck.injection.pods import SIDECAR
from osm_healthcheck.kubelet.address import PodAddress
from osm_healthcheck.kubelet.prober import probe
from osm_healthcheck.kubelet.verdict import Result
from osm_healthcheck.probes.constants import ProbeKind
from tests.io.kubelet import client_context
from tests.io.wire import connect, exchange, get, read_to_end

from .app import ANY, GREETING, TCP, UNDECLARED
from .envoy import POD_NAME, peer_context
from .meshed_pod import MeshedPod, meshed_pod
from .meshes import APP_USER, ISTIO, OSM
from .namespaces import PATIENCE, Namespace
from .pod_manifest import injected, spec

REMOTE_PORT = 9000


@pytest.fixture
def here(request: pytest.FixtureRequest) -> Iterator[MeshedPod]:
    """A pod in a mesh (OSM unless a test says otherwise), injected, with a healthy app."""
    with meshed_pod() as made:
        made.intercept(getattr(request, "param", OSM), "nft")
        made.bypass(injected(PATIENCE))
        made.start_sidecar(injected(PATIENCE))
        made.app.start(ANY)
        yield made


@pytest.fixture
def remote(here: MeshedPod) -> Iterator[Namespace]:
    """Another pod of the mesh, on the node: it demands mTLS, and answers with who its caller is."""
    context = peer_context(ssl.Purpose.CLIENT_AUTH)
    listeners = []
    for family, address in (socket.AF_INET, here.node.ipv4), (socket.AF_INET6, here.node.ipv6):
        listener = here.node.socket(family)
        listener.bind((address, REMOTE_PORT))
        listener.listen()
        listeners.append(listener)

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with plain, context.wrap_socket(plain, server_side=True) as secure:
                secure.settimeout(PATIENCE)
                names: Any = (secure.getpeercert() or {})["subjectAltName"]
                if secure.recv(100):
                    secure.sendall(", ".join(name for _, name in names).encode())

    threads = [threading.Thread(target=serve, args=(one,), daemon=True) for one in listeners]
    for thread in threads:
        thread.start()
    yield here.node
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join(PATIENCE)


@pytest.mark.parametrize("here", [ISTIO], indirect=True, ids=str)
def test_what_the_app_says_to_others_still_goes_through_the_mesh(
    here: MeshedPod, remote: Namespace
) -> None:
    """The app speaks plainly, and the other side sees a certificate: that of the pod's Envoy."""
    for host in (remote.ipv4, remote.ipv6):
        assert here.pod.ask_as(APP_USER, host, REMOTE_PORT) == POD_NAME


def test_osm_does_the_same_for_ipv4(here: MeshedPod, remote: Namespace) -> None:
    assert here.pod.ask_as(APP_USER, remote.ipv4, REMOTE_PORT) == POD_NAME


@pytest.mark.parametrize("certified", [True, False])
def test_others_still_need_a_certificate_of_the_mesh(certified: bool, here: MeshedPod) -> None:
    """With one they reach the app through its Envoy; without one they hear nothing of it."""
    context = peer_context(ssl.Purpose.SERVER_AUTH) if certified else client_context()

    def hear() -> bytes:
        with (
            connect(here.pod.ipv4, TCP) as plain,
            context.wrap_socket(plain, server_hostname=POD_NAME) as secure,
        ):
            try:
                return secure.recv(100)
            except ssl.SSLError as error:
                return str(error.reason).encode()

    heard = here.kubelet.call(hear)
    assert heard == (GREETING if certified else b"TLSV13_ALERT_CERTIFICATE_REQUIRED")


@pytest.mark.parametrize("here", [ISTIO], indirect=True, ids=str)
def test_a_stranger_reaches_no_undeclared_port(here: MeshedPod) -> None:
    """Through none of our ports, in none of the ways to ask; and directly the mesh is there."""
    node, app = here.kubelet, here.app
    for host in here.addresses:
        for name in ("Original-Tcp-Port", "Original-Grpc-Port"):
            headers = {name: str(UNDECLARED)}
            answer = node.call(get, host, 15904, "/osm-healthcheck", headers)
            assert answer.status == 403
        for value in (f"0{UNDECLARED}", f"{TCP}, {UNDECLARED}", f"{TCP}\t{UNDECLARED}", "-1"):
            headers = {"Original-Tcp-Port": value}
            assert node.call(get, host, 15904, "/osm-healthcheck", headers).status == 400
        twice = [("Original-Tcp-Port", str(TCP)), ("Original-Tcp-Port", str(UNDECLARED))]
        assert node.call(get, host, 15904, "/osm-healthcheck", twice).status == 400
        authority = f"[{host}]:{UNDECLARED}" if ":" in host else f"{host}:{UNDECLARED}"
        path = "/osm-liveness-probe/web"
        for port in (15901, 15903, 15904):
            for target in (path, f"http://{authority}{path}", f"http://{authority}/", "/", "//"):
                request = f"GET {target} HTTP/1.1\r\nHost: {authority}\r\n\r\n"
                node.call(exchange, host, port, request.encode())
            request = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"
            assert node.call(exchange, host, port, request.encode()).status >= 400
        assert _directly(here, host) == b""
    # Connections are taken in their order: those before this one would have been noted before.
    assert here.pod.ask_as(APP_USER, "127.0.0.1", UNDECLARED) == GREETING.decode()
    app.program.wait_for("reached")
    assert app.program.lines.count(f"reached {UNDECLARED}") == 1


def _directly(here: MeshedPod, host: str) -> bytes:
    def hear() -> bytes:
        with connect(host, UNDECLARED) as plain:
            plain.sendall(b"who are you?\r\n\r\n")
            said, _ = read_to_end(plain)
            return b"" if said.startswith(b"\x15") else said  # a TLS alert is Envoy's

    return here.kubelet.call(hear)


def test_the_sidecars_own_probes_are_well(here: MeshedPod) -> None:
    """What the injected manifest has the kubelet ask of our own container."""
    (ours,) = (one for one in spec(injected(PATIENCE)).containers if one.name == SIDECAR)
    kinds = (ProbeKind.STARTUP, ProbeKind.LIVENESS)
    assert {*ours.probes} == {*kinds}
    for kind in kinds:
        outcome = here.kubelet.run(probe(kind, ours, PodAddress(here.pod.ipv4)))
        assert outcome.result is Result.SUCCESS
