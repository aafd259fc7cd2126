"""The server of one pod: the sockets that it is handed, IPv6 that is not there, and its drain."""

import asyncio
import errno
import socket
from collections.abc import Iterable

import pytest

from osm_healthcheck.server import listen, pod_server
from osm_healthcheck.server.listen import ListenError
from osm_healthcheck.server.options import read_settings
from osm_healthcheck.server.pod_server import PodServer
from osm_healthcheck.wire.dial import Network, tcp_socket
from osm_healthcheck.wire.listening import any_listening
from tests.io.connections import run
from tests.io.sidecar import capture
from tests.io.wire import own_address


def pod(*arguments: str) -> PodServer:
    """A server in the running loop, with these arguments of the sidecar."""
    settings = read_settings(arguments, {}).pod
    return PodServer(settings, Network(), 16, capture([]), asyncio.get_running_loop())


def test_of_the_sockets_that_it_is_handed_it_closes_those_that_no_probe_needs() -> None:
    async def start() -> None:
        address = own_address()
        names = ("healthcheck", "liveness", "readiness", "startup")
        handed = {name: [socket.create_server((address, 0)) for _ in range(2)] for name in names}
        needed = [*handed["healthcheck"], *handed["liveness"]]
        served = [f"{address}:{sock.getsockname()[1]}" for sock in needed]
        server = pod("--liveness", "http://:1/")
        assert await server.start(handed) == served
        sockets = [sock for each in handed.values() for sock in each]
        assert [sock for sock in sockets if sock.fileno() >= 0] == needed
        server.abort()
        assert not [sock for sock in sockets if sock.fileno() >= 0]

    run(start)


def test_a_machine_without_ipv6_is_served_unless_ipv6_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel's answer, where it is built without IPv6, is given by a function here."""

    def ipv4_alone(family: socket.AddressFamily) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return tcp_socket(family)

    monkeypatch.setattr(listen, "tcp_socket", ipv4_alone)
    with socket.socket() as sock:
        sock.bind(("0.0.0.0", 0))
        port = str(sock.getsockname()[1])

    async def start() -> None:
        server = pod("--healthcheck-port", port)
        assert await server.start() == [f"0.0.0.0:{port}"]
        server.abort()
        with pytest.raises(ListenError, match=rf"cannot listen on \[::\]:{port}: address family"):
            await pod("--healthcheck-port", port, "--bind", "0.0.0.0,::").start()

    run(start)


@pytest.mark.parametrize(
    ("declared", "drain", "waits"), [(True, 1.0, True), (True, 0.0, False), (False, 1.0, False)]
)
def test_a_drain_of_a_second_or_less_waits_for_the_app_too(
    monkeypatch: pytest.MonkeyPatch, declared: bool, drain: float, waits: bool
) -> None:
    """Told by whether it looks for the app's port, which is closed after the first look."""
    looks: list[bool] = []

    async def stop() -> None:
        with socket.create_server((own_address(), 0)) as app:
            probe = f"tcp://:{app.getsockname()[1]}"

            async def look(ports: Iterable[int]) -> bool:
                looks.append(await any_listening(ports))
                app.close()
                return looks[-1]

            monkeypatch.setattr(pod_server, "any_listening", look)
            server = pod("--bind", own_address(), *(["--liveness", probe] if declared else []))
            await server.start()
            await server.stop(drain)
            listening = [sock for each in server.listening.values() for sock in each]
            assert [sock.fileno() for sock in listening] == [-1]

    run(stop)
    assert looks[:1] == [True] * waits
