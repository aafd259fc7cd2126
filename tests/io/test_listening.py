"""Who listens where: the kernel's own answer, on IPv4 and IPv6, for a process without rights."""

import asyncio
import contextlib
import errno
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from osm_healthcheck.wire import listening, sock_diag
from osm_healthcheck.wire.listening import any_listening, listening_addresses
from tests.io.unshare import can_unshare
from tests.io.wire import TIMEOUT, closed_port, own_address

# No kernel has this one: the error is the one of gVisor, EPROTONOSUPPORT.
_NO_SUCH_PROTOCOL = 31
_HEADING = "  sl  local_address rem_address   st\n"


@pytest.fixture(params=["netlink", "proc"])
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the answers come from; the other one is not there."""
    if request.param == "netlink":
        monkeypatch.setattr(listening, "_TABLES", ())
    else:
        monkeypatch.setattr(sock_diag, "_NETLINK_SOCK_DIAG", _NO_SUCH_PROTOCOL)
    return str(request.param)


@contextlib.contextmanager
def listener(address: str, port: int = 0) -> Iterator[int]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind((address, port))
        sock.listen(4)
        yield int(sock.getsockname()[1])


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_a_listener_is_found_at_its_address(source: str, address: str) -> None:
    with listener(address) as port:
        assert address in listening_addresses(port)
        assert asyncio.run(any_listening([port]))


def test_both_families_are_looked_at(source: str) -> None:
    address = own_address()
    with listener(address) as port, listener("::1", port):
        assert {address, "::1"} <= listening_addresses(port)


def test_connections_are_no_listeners(source: str) -> None:
    address = own_address()
    with contextlib.ExitStack() as stack:
        with socket.create_server((address, 0)) as server:
            port = server.getsockname()[1]
            stack.enter_context(socket.create_connection((address, port)))
            stack.enter_context(server.accept()[0])  # it has the same local port
        assert address not in listening_addresses(port)


def test_a_port_that_is_bound_and_does_not_listen_is_none(source: str) -> None:
    with closed_port() as port:
        assert not asyncio.run(any_listening([port]))


def test_one_of_several_is_enough(source: str) -> None:
    with closed_port() as closed, listener(own_address()) as port:
        assert asyncio.run(any_listening([closed, port]))
        assert not asyncio.run(any_listening([]))


def test_answers_longer_than_one_message_are_whole(source: str) -> None:
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(listener("127.77.0.1"))
        addresses = {f"127.77.{number // 250 + 1}.{number % 250 + 1}" for number in range(600)}
        for address in addresses:
            stack.enter_context(listener(address, port))
        assert listening_addresses(port) >= {*addresses, "127.77.0.1"}


def _message(kind: int, body: bytes) -> bytes:
    """A netlink message as netlink(7) has it, up to where the next one begins."""
    length = 16 + len(body)
    return struct.pack("=IHHII", length, kind, 2, 0, 0) + body + bytes(-length % 4)


def _found(address: str, more: bytes = b"") -> bytes:
    """A message about a socket; ``more`` are attributes."""
    packed = socket.inet_pton(socket.AF_INET, address)
    return _message(20, struct.pack("=4B2s2s16s", 2, 10, 0, 0, b"", b"", packed) + more)


def _answers(*datagrams: bytes) -> list[str]:
    """What is made of these, as the kernel could send them."""
    kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with kernel, ours:
        ours.setblocking(False)
        for datagram in datagrams:
            kernel.send(datagram)
        return list(sock_diag._answers(ours))


_DONE = _message(3, struct.pack("=i", 0))


@pytest.mark.parametrize("more", range(9))
@pytest.mark.parametrize("done", [_DONE, _message(3, b"")], ids=["0", "nothing"])
def test_a_message_of_any_length_is_followed_by_the_next(more: int, done: bytes) -> None:
    """NLMSG_NEXT of linux/netlink.h: each begins at a multiple of four bytes."""
    first, second = _found("127.0.0.1", bytes(more)), _found("127.0.0.2")
    assert _answers(first + second + done) == ["127.0.0.1", "127.0.0.2"]
    assert _answers(first, second, done) == ["127.0.0.1", "127.0.0.2"]


@pytest.mark.parametrize("kind", [2, 3], ids=["NLMSG_ERROR", "NLMSG_DONE"])
def test_an_answer_that_ends_with_an_error_is_one(kind: int) -> None:
    """A kernel without tcp_diag says -ENOENT in NLMSG_DONE (netlink_dump_done of af_netlink.c)."""
    with pytest.raises(FileNotFoundError):
        _answers(_found("127.0.0.1") + _message(kind, struct.pack("=i", -errno.ENOENT)))


def test_a_table_that_is_missing_hides_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tcp6").write_text(
        _HEADING + "   0: 00000000000000000000000001000000:1F90 00000000:0000 0A \n"
    )
    monkeypatch.setattr(sock_diag, "_NETLINK_SOCK_DIAG", _NO_SUCH_PROTOCOL)
    monkeypatch.setattr(listening, "_TABLES", (tmp_path / "tcp", tmp_path / "tcp6"))
    assert listening_addresses(8080) == {"::1"}


def test_a_process_without_a_capability_may_ask() -> None:
    if not (can_unshare() and shutil.which("setpriv")):
        pytest.skip("needs root and setpriv")
    code = """
import sys
from pathlib import Path
from osm_healthcheck.wire import sock_diag
assert "CapEff:\\t0000000000000000" in Path("/proc/self/status").read_text()
print(*sock_diag.listeners(int(sys.argv[1])))
"""
    without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    address = own_address()
    with listener(address) as port:
        command = [*without, sys.executable, "-c", code, str(port)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.stdout.split(), ran.stderr) == ([address], "")


def test_without_netlink_the_tables_are_read_beside_the_loop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # The table comes to its end when the loop has had its turn, and not before.
    table = tmp_path / "tcp"
    os.mkfifo(table)
    monkeypatch.setattr(listening, "_TABLES", (table,))
    monkeypatch.setattr(sock_diag, "_NETLINK_SOCK_DIAG", _NO_SUCH_PROTOCOL)

    async def ask() -> bool:
        asked = asyncio.create_task(any_listening([8080]))
        async with asyncio.timeout(TIMEOUT):
            while True:
                try:
                    writing = os.open(table, os.O_WRONLY | os.O_NONBLOCK)
                    break
                except OSError:  # nobody reads yet
                    await asyncio.sleep(0)
        for line in (_HEADING, "   0: 0100007F:1F90 00000000:0000 0A \n"):
            os.write(writing, line.encode())
            await asyncio.sleep(0)
        os.close(writing)
        return await asked

    assert asyncio.run(ask())
