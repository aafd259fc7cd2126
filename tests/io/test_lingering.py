"""Connections that were given up: each app is let go in time, and nothing is left of them."""

import asyncio
import os
import select
import socket
from pathlib import Path

from osm_healthcheck.wire.dial import Network, dial
from osm_healthcheck.wire.lingering import LingeringSockets
from tests.io.apps import app, hold, read_head, read_until_gone
from tests.io.sidecar import http_probe, sidecar

DESCRIPTORS = Path("/proc/self/fd")


def open_descriptors() -> int:
    return len(os.listdir(DESCRIPTORS))  # noqa: PTH208


def test_nothing_is_left_of_a_loop_that_has_ended() -> None:
    apps: list[socket.socket] = []

    def serve(sock: socket.socket) -> None:
        """An answer that is none, from an app that does not hang up."""
        read_head(sock)
        sock.sendall(b"nonsense\r\n")
        apps.append(sock.dup())

    def run() -> None:
        with sidecar({"app": {"livenessProbe": http_probe(rude.port)}}) as running:
            assert running.probe().status == 502

    with app(serve) as rude:
        run()  # what a first run loads and keeps is not looked at
        rude.wait_for(lambda app: app.open == 0)
        before = open_descriptors()
        for _ in range(3):
            run()
        rude.wait_for(lambda app: app.open == 0)
        assert open_descriptors() - len(apps) == before - 1
    for sock in apps:
        sock.close()


def test_the_oldest_makes_room() -> None:
    async def run(port: int) -> None:
        lingering = LingeringSockets(limit=2)
        network = Network(lingering)
        streams = [(await dial(("127.0.0.1",), port, network))[0] for _ in range(3)]
        for stream in streams:
            stream.abandon()
        assert len(lingering) == 2
        lingering.close()
        assert len(lingering) == 0

    with app(hold) as target:
        asyncio.run(run(target.port))
        target.wait_for(lambda target: target.connections == 3 and target.open == 0)


def test_who_is_woken_for_nothing_waits_on() -> None:
    """select(2), BUGS: a socket that is said to have data may have none when it is read."""
    errors: list[dict[str, object]] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: errors.append(context))
        lingering = LingeringSockets()
        ours, app = socket.socketpair()
        ours.setblocking(False)
        app.send(b"x")
        for _ in range(2):  # both are woken for the byte, and one of them gets it
            lingering.add(ours.dup(), loop)
        with ours, app:
            for _ in range(2):  # in the first turn the loop finds the byte
                await asyncio.sleep(0)
            assert select.select([ours], [], [], 0)[0] == []
            assert len(lingering) == 2
        await lingering.settle()

    asyncio.run(run())
    assert errors == []


def test_the_app_is_waited_for() -> None:
    ends: list[str] = []

    def serve(sock: socket.socket) -> None:
        sock.sendall(b"unread")
        ends.append(read_until_gone(sock))

    async def run(port: int) -> None:
        network = Network()
        stream, _ = await dial(("127.0.0.1",), port, network)
        await stream.receive()
        stream.abandon()
        await network.lingering.settle()
        assert ends == ["fin"]

    with app(serve) as target:
        asyncio.run(run(target.port))
