"""How long a gRPC check waits between two dials: grpc-go's backoff, by a clock that jumps."""

import asyncio
import selectors
import socket

import pytest

from osm_healthcheck.wire.dial import Network, tcp_socket
from osm_healthcheck.wire.errors import RefusedError
from osm_healthcheck.wire.grpc_health import check
from tests.io.wire import closed_port


class _Jumping(selectors.DefaultSelector):
    """Waits for nobody: where nothing has come, it is so many seconds later."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found:
            self.now += timeout or 0
        return found


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = _Jumping()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


def test_the_pauses_are_those_of_grpc_go() -> None:
    """``DefaultConfig`` of google.golang.org/grpc/backoff, without the jitter."""
    dialled: list[float] = []

    async def run(port: int) -> None:
        loop = asyncio.get_running_loop()

        def make_socket(family: socket.AddressFamily) -> socket.socket:
            dialled.append(loop.time())
            return tcp_socket(family)

        await check(["127.0.0.1"], port, "", 600, Network(make_socket=make_socket))

    with (
        closed_port() as port,
        asyncio.Runner(loop_factory=_Loop) as runner,
        pytest.raises(RefusedError),
    ):
        runner.run(run(port))
    pauses = [1.0]
    while sum(pauses) <= 600:
        pauses.append(min(1.6 * pauses[-1], 120))
    assert dialled == pytest.approx([sum(pauses[:n]) for n in range(len(pauses))])
    assert pauses[-2:] == [120, 120]
