"""15904: every status code of the check endpoint."""

import asyncio
import contextlib
import re
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from osm_healthcheck.server.options import read_settings
from osm_healthcheck.server.pod_server import PodServer
from osm_healthcheck.wire.dial import (
    Attempt,
    Network,
    NoSocketYetError,
    check_dial,
    dial,
    tcp_socket,
)
from osm_healthcheck.wire.errors import RefusedError
from tests.io.apps import app, hold, reset
from tests.io.sidecar import HEALTHCHECK, Sidecar, capture, sidecar, tcp_probe
from tests.io.wire import TIMEOUT, Answer, black_hole, closed_port, connect, get, own_address

CHECK = "/osm-healthcheck"
Headers = dict[str, str] | list[tuple[str, str]]


@pytest.fixture(scope="module")
def undeclared() -> Iterator[Sidecar]:
    """The sidecar as OSM's injector starts it."""
    with sidecar() as running:
        yield running


def test_an_open_port_is_200(undeclared: Sidecar) -> None:
    with app(hold) as target:
        answer = undeclared.check(target.port)
    assert (answer.status, answer.reason) == (200, "OK")
    assert answer.body == f"tcp://:{target.port}: connected\n".encode()


def test_a_closed_port_is_404_as_osm_answers(undeclared: Sidecar) -> None:
    with closed_port() as port:
        answer = undeclared.check(port)
    assert answer.status == 404
    assert b"connection refused" in answer.body


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Original-Tcp-Port": ""},
        {"Original-Tcp-Port": "0"},
        {"Original-Tcp-Port": "65536"},
        {"Original-Tcp-Port": "99999999999999999999"},
        {"Original-Tcp-Port": "-1"},
        {"Original-Tcp-Port": "+80"},
        {"Original-Tcp-Port": "080"},
        {"Original-Tcp-Port": "http"},
        {"Original-Tcp-Port": "80 80"},
        {"Original-Tcp-Port": "8_0"},
        {"Original-Tcp-Port": "٨٠"},
        {"Original-Tcp-Port": "15901"},
        {"Original-Tcp-Port": "15904"},
        {"Original-Grpc-Port": "15904"},
        {"Original-Grpc-Port": "x"},
        {"Original-Grpc-Service": "s"},
        {"Original-Tcp-Port": "80", "Original-Grpc-Port": "80"},
        {"Original-Tcp-Port": "80", "Original-Grpc-Service": "s"},
        [("Original-Tcp-Port", "80"), ("Original-Tcp-Port", "80")],
        [("Original-Tcp-Port", "80"), ("original-tcp-port", "81")],
        [("Original-Grpc-Port", "80"), ("Original-Grpc-Port", "80")],
    ],
    ids=str,
)
def test_an_unclear_request_is_400(undeclared: Sidecar, headers: Headers) -> None:
    assert get(undeclared.address, HEALTHCHECK, CHECK, headers).status == 400


@pytest.mark.parametrize(
    "header", ["Original-Tcp-Port", "Original-Grpc-Port", "Original-Grpc-Service"]
)
@pytest.mark.parametrize("length", [80, 81, 4000])
def test_a_wrong_value_is_told_up_to_80_characters(
    undeclared: Sidecar, header: str, length: int
) -> None:
    port = {"Original-Grpc-Port": "80"} if header == "Original-Grpc-Service" else {}
    value = "a\t" + "x" * (length - 2)
    answer = get(undeclared.address, HEALTHCHECK, CHECK, {**port, header: value})
    assert answer.status == 400
    assert answer.body.endswith(f": {value[:80]!r}\n".encode())


@pytest.mark.parametrize("name", ["Original-Tcp-port", "Original-TCP-Port", "original-tcp-port"])
def test_the_header_is_matched_without_regard_to_case(undeclared: Sidecar, name: str) -> None:
    with app(hold) as target:
        answer = get(undeclared.address, HEALTHCHECK, CHECK, {name: f" {target.port} "})
    assert answer.status == 200


def test_only_get_and_head(undeclared: Sidecar) -> None:
    with app(hold) as target:
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            answer = undeclared.check(target.port, method=method)
            assert answer.status == 405
            assert answer.header("Allow") == "GET, HEAD"
        head = undeclared.check(target.port, method="HEAD")
        target.wait_for(lambda target: target.connections > 0)
    assert target.connections == 1
    assert (head.status, head.body) == (200, b"")
    assert head.header("Content-Length") == str(len(f"tcp://:{target.port}: connected\n"))


@pytest.mark.parametrize(
    "path", ["/x", "/osm-healthcheck/", "/osm-healthchecks", "/Healthz", "//x"]
)
def test_any_other_path_is_404(undeclared: Sidecar, path: str) -> None:
    with app(hold) as target:
        headers = {"Original-Tcp-Port": str(target.port)}
        assert get(undeclared.address, HEALTHCHECK, path, headers).status == 404
    assert target.connections == 0


def test_a_query_does_not_matter(undeclared: Sidecar) -> None:
    with app(hold) as target:
        headers = {"Original-Tcp-Port": str(target.port)}
        assert get(undeclared.address, HEALTHCHECK, CHECK + "?x=1", headers).status == 200


def test_healthz(undeclared: Sidecar) -> None:
    assert get(undeclared.address, HEALTHCHECK, "/healthz").status == 200


def test_a_dropped_syn_is_504_before_the_kubelet_gives_up() -> None:
    with black_hole() as port:
        probes = {"app": {"livenessProbe": tcp_probe(port)}}
        with sidecar(probes) as running:
            answer = running.check(port)
    assert answer.status == 504
    found = re.search(rb"no answer after (\d\.\d{3}) s", answer.body)
    # 1 s is the kubelet's; where the machine is slow, ours ends later than it should
    assert found is not None
    assert float(found[1]) >= 0.9


def test_a_caller_that_leaves_ends_its_check(undeclared: Sidecar) -> None:
    with black_hole() as port:
        with connect(undeclared.address, HEALTHCHECK) as sock:
            head = f"GET {CHECK} HTTP/1.1\r\nHost: x\r\nOriginal-Tcp-Port: {port}\r\n\r\n"
            sock.sendall(head.encode())
            _until(lambda: _connecting(port) == 1 + BLACK_HOLE_FILLERS)
        _until(lambda: _connecting(port) == BLACK_HOLE_FILLERS)


BLACK_HOLE_FILLERS = 7  # one of the eight gets into the queue of length 0


def _connecting(port: int) -> int:
    """Sockets of this machine that are waiting for an answer (SYN_SENT) from ``port``."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[3] == "02" and row[2].endswith(f":{port:04X}") for row in rows)


def _until(condition: Callable[[], bool]) -> None:
    """Ask the kernel again and again: it tells nobody when a socket goes away."""
    patience = threading.Event()
    for _ in range(400):
        if condition():
            return
        patience.wait(0.05)
    raise AssertionError("it did not come about")


def test_loopback_is_answered_whatever_allow_from_names() -> None:
    with sidecar(None, "--allow-from", "192.0.2.0/24") as running, app(hold) as target:
        assert running.check(target.port).status == 200


def test_undeclared_targets_are_403_and_not_dialled() -> None:
    with app(hold) as target, app(hold) as other:
        grpc = {"grpc": {"port": other.port, "service": "a"}}
        probes = {"app": {"livenessProbe": tcp_probe(target.port), "readinessProbe": grpc}}
        with sidecar(probes) as running:
            assert running.check(target.port).status == 200
            assert running.check(other.port).status == 403  # gRPC was declared, not TCP
            assert running.grpc(target.port).status == 403
            assert running.grpc(other.port, "b").status == 403
            assert running.grpc(other.port).status == 403
    assert other.connections == 0


def test_nothing_declared_is_nothing_allowed() -> None:
    with app(hold) as target, sidecar({}) as running:
        assert running.check(target.port).status == 403
    assert target.connections == 0


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_from_loopback_the_app_is_found_on_either_family(undeclared: Sidecar, address: str) -> None:
    with app(hold, address) as target:
        assert undeclared.check(target.port).status == 200


def test_from_loopback_the_app_is_found_on_the_pod_ip() -> None:
    pod_ip = own_address()
    with app(hold, pod_ip) as target:
        with sidecar(None) as running:
            assert running.check(target.port).status == 404
        with sidecar(None, environ={"POD_IP": pod_ip}) as running:
            assert running.check(target.port).status == 200


def test_target_host_replaces_every_other_address() -> None:
    elsewhere = own_address()
    with app(hold) as here, app(hold, elsewhere) as there:
        with sidecar(None, "--target-host", elsewhere) as running:
            assert running.check(there.port).status == 200
            assert running.check(here.port).status == 404
        with sidecar(None, "--target-host", "localhost") as running:
            assert running.check(here.port).status == 200


@pytest.mark.parametrize("listens", [True, False])
def test_a_refusal_that_comes_late_goes_on_too_and_is_what_is_told(listens: bool) -> None:
    """Late, because the first socket has to be waited for, as in node mode."""
    lines: list[dict[str, Any]] = []
    made: list[socket.AddressFamily] = []
    address = own_address()

    async def check(port: int) -> Answer:
        loop = asyncio.get_running_loop()
        coming = loop.create_future()
        none_yet = [NoSocketYetError(coming)]

        def make_socket(family: socket.AddressFamily) -> socket.socket:
            if none_yet:
                loop.call_soon(coming.set_result, 0)
                raise none_yet.pop()
            made.append(family)
            return tcp_socket(family)

        settings = read_settings(["--bind", address], {}).pod
        network = Network(make_socket=make_socket)
        pod = PodServer(settings, network, 8, capture(lines), loop)
        await pod.start()
        try:
            headers = {"Original-Tcp-Port": str(port)}
            return await asyncio.to_thread(get, address, HEALTHCHECK, CHECK, headers)
        finally:
            await pod.stop(0)

    with contextlib.ExitStack() as stack:
        port = stack.enter_context(closed_port())
        if listens:
            stack.enter_context(app(hold, "::1", port))
        answer = uvloop.run(check(port))
    reason = "connected" if listens else f"dial 127.0.0.1:{port}: connection refused"
    assert answer.status == (200 if listens else 404)
    assert answer.body == f"tcp://:{port}: {reason}\n".encode()
    assert [(line["level"], line["reason"]) for line in lines] == [
        ("info" if listens else "warning", reason)
    ]
    assert made == [socket.AF_INET, socket.AF_INET6]  # each address was asked once


def test_going_on_is_for_refusals_only() -> None:
    with black_hole() as port, app(hold, "::1", port) as six:
        probes = {"app": {"livenessProbe": tcp_probe(port)}}
        with sidecar(probes) as running:
            assert running.check(port).status == 504
    assert six.connections == 0


@pytest.mark.parametrize("end", [reset, socket.socket.close])
def test_a_second_look_tells_a_reset_from_an_orderly_end(
    end: Callable[[socket.socket], None],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address, port = listener.getsockname()
        attempt = Attempt(address, port, Network())
        assert not attempt.pending
        end(listener.accept()[0])
        poll = select.poll()
        poll.register(attempt.sock, select.POLLRDHUP)
        assert poll.poll(TIMEOUT * 1000)
        if end is reset:
            with pytest.raises(RefusedError, match="connection reset by peer"):
                attempt.confirm()
        else:
            attempt.confirm()
            attempt.sock.close()
        assert attempt.sock.fileno() < 0


@contextlib.contextmanager
def resetting_at_once() -> Iterator[tuple[str, int, Network]]:
    """An app that resets a connection as it is made, before its maker looks at it."""
    own = own_address()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address, port = listener.getsockname()

        class Reset(socket.socket):
            def getsockname(self) -> tuple[str, int]:
                reset(listener.accept()[0])
                return own, port

        with Reset(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
            sock.bind((own, port))  # only one with the app's port is looked at
            sock.setblocking(False)
            yield address, port, Network(make_socket=lambda family: sock)


def test_a_connection_that_is_reset_at_once_was_made() -> None:
    """Its peer's address is gone, and it is no connection to itself for that."""
    with resetting_at_once() as (address, port, network):
        attempt = Attempt(address, port, network)
        assert not attempt.pending
        with pytest.raises(RefusedError, match="connection reset by peer"):
            attempt.confirm()


def test_a_check_looks_once_more_and_who_will_read_does_not() -> None:
    with (
        resetting_at_once() as (address, port, network),
        pytest.raises(RefusedError, match="connection reset by peer"),
    ):
        asyncio.run(check_dial([address], port, network))
    with resetting_at_once() as (address, port, network):
        _, taker = asyncio.run(dial([address], port, network))
        assert taker == address


def test_a_connection_to_itself_is_a_refusal() -> None:
    # Forced: a socket bound to the very port that it then dials connects to itself.
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        network = Network(make_socket=lambda family: sock)
        with pytest.raises(RefusedError, match="connection refused"):
            Attempt("127.0.0.1", port, network)
        assert sock.fileno() < 0
