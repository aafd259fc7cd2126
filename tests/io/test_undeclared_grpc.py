"""gRPC checks that nobody declared: so many hold a connection to the app at once, no more."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from osm_healthcheck.server import check
from osm_healthcheck.server.check import MAX_UNDECLARED_GRPC_CHECKS
from osm_healthcheck.server.results import MAX_UNDECLARED_TARGETS
from tests.io.apps import App, app, hold
from tests.io.grpc_apps import grpc_server
from tests.io.sidecar import HEALTHCHECK, Sidecar, sidecar
from tests.io.wire import connect, parse, read_to_end

MORE = 5


@pytest.fixture
def hung() -> Iterator[App]:
    """An app that takes connections, and says nothing."""
    with app(hold) as running:
        yield running


@contextlib.contextmanager
def checks(running: Sidecar, port: int, services: list[str]) -> Iterator[list[socket.socket]]:
    """Callers that have asked for these services, all of whose requests are being answered."""
    with contextlib.ExitStack() as stack:
        callers = []
        for service in services:
            sock = stack.enter_context(connect(running.address, HEALTHCHECK))
            sock.sendall(
                b"GET /osm-healthcheck HTTP/1.1\r\nHost: x\r\nOriginal-Grpc-Port: %d\r\n"
                b"Original-Grpc-Service: %s\r\n\r\n" % (port, service.encode())
            )
            callers.append(sock)
        # Connections are taken in their order: once this one is answered, the others have dialled.
        with grpc_server() as healthy:
            assert running.grpc(healthy.port).status == 200
        yield callers


def dialled(hung: App) -> int:
    """How many connections the app has had: it takes them in their order, and then ours."""
    with connect(hung.address, hung.port) as own:
        own.shutdown(socket.SHUT_WR)
        own.recv(1)
    return hung.connections - 1


def test_further_ones_wait_until_one_ends(hung: App) -> None:
    with (
        sidecar() as running,
        checks(running, hung.port, ["a"] * (MAX_UNDECLARED_GRPC_CHECKS + MORE)) as callers,
    ):
        assert dialled(hung) == MAX_UNDECLARED_GRPC_CHECKS
        for number, caller in enumerate(callers[:MORE], 2):
            caller.close()
            hung.wait_for(lambda app, n=number: app.connections == MAX_UNDECLARED_GRPC_CHECKS + n)  # type: ignore[misc]
        # The app sees some of their ends later.
        hung.wait_for(lambda app: app.open == MAX_UNDECLARED_GRPC_CHECKS)


def test_a_caller_that_leaves_while_it_waits_takes_nobodys_turn(hung: App) -> None:
    with (
        sidecar() as running,
        checks(running, hung.port, ["a"] * (MAX_UNDECLARED_GRPC_CHECKS + 2)) as callers,
    ):
        *asking, leaving, waiting = callers
        leaving.close()
        asking[0].close()
        hung.wait_for(lambda app: app.connections == MAX_UNDECLARED_GRPC_CHECKS + 1)
        waiting.close()
        for caller in asking:
            caller.close()
        hung.wait_for(lambda app: app.open == 0)
        assert dialled(hung) == MAX_UNDECLARED_GRPC_CHECKS + 1


def test_another_target_does_not_wait(hung: App) -> None:
    with (
        sidecar() as running,
        checks(running, hung.port, ["a"] * (MAX_UNDECLARED_GRPC_CHECKS + 1) + ["b"]),
    ):
        assert dialled(hung) == MAX_UNDECLARED_GRPC_CHECKS + 1


def test_a_ports_targets_past_those_that_are_told_apart_wait_for_one_another(hung: App) -> None:
    made_up = [f"{number}" for number in range(MAX_UNDECLARED_TARGETS)]
    past = [f"past{number}" for number in range(MAX_UNDECLARED_GRPC_CHECKS + MORE)]
    with sidecar() as running, checks(running, hung.port, made_up + past):
        assert dialled(hung) == len(made_up) + MAX_UNDECLARED_GRPC_CHECKS


def test_one_that_waits_too_long_is_504(hung: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "UNDECLARED_SECONDS", 3.0)
    monkeypatch.setattr(check, "MAX_UNDECLARED_GRPC_CHECKS", 1)
    with sidecar() as running, checks(running, hung.port, ["a", "a", "a"]) as callers:
        for caller in callers:
            answer = parse(*read_to_end(caller))
            assert answer.status == 504
            assert b"no answer after" in answer.body
    assert hung.connections <= 3


def test_declared_ones_do_not_wait(hung: App) -> None:
    probe = {"livenessProbe": {"grpc": {"port": hung.port, "service": "a"}, "timeoutSeconds": 60}}
    with sidecar({"app": probe}) as running, contextlib.ExitStack() as stack:
        request = (
            b"GET /osm-healthcheck HTTP/1.1\r\nHost: x\r\nOriginal-Grpc-Port: %d\r\n"
            b"Original-Grpc-Service: a\r\n\r\n" % hung.port
        )
        for _ in range(MAX_UNDECLARED_GRPC_CHECKS + MORE):
            stack.enter_context(connect(running.address, HEALTHCHECK)).sendall(request)
        hung.wait_for(lambda app: app.connections == MAX_UNDECLARED_GRPC_CHECKS + MORE)
