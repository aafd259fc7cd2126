"""Node mode in two processes: one that has the rights, and one that reads what strangers send."""

import ctypes
import errno
import json
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from osm_healthcheck.node import messages

from .container_runtime import FakeRuntime
from .namespaces import PATIENCE, pod_and_node
from .node_programs import (
    APP,
    CHECK,
    LIVENESS,
    PROBES,
    agent,
    answer,
    ask,
    namespaces_of,
    pods,
    probing,
    sockets_process,
    status,
    until,
)
from .program import Program

OTHER = 9000


@pytest.fixture
def shared() -> Iterator[Path]:
    """The path of a socket in a folder that both processes can use."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "sockets.sock"


def sockets_of(program: Program) -> int:
    """How many sockets a program holds."""
    found = 0
    for one in Path(f"/proc/{program.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found += str(one.readlink()).startswith("socket:")
    return found


def rights(program: Program) -> dict[str, str]:
    lines = Path(f"/proc/{program.process.pid}/status").read_text().splitlines()
    words = [line.split() for line in lines]
    return {name.rstrip(":"): value for name, value, *_ in (one for one in words if one[1:])}


def test_the_server_has_no_right_at_all_and_serves(runtime: FakeRuntime, shared: Path) -> None:
    with pods(2) as both, ExitStack() as stack:
        for number, (pod, _) in enumerate(both):
            runtime.add(f"pod{number}", pod, PROBES)
        stack.enter_context(sockets_process(runtime, shared))
        server = stack.enter_context(agent(runtime, sockets=shared))
        told = rights(server)
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(told[name], 16) == 0
        assert (told["NoNewPrivs"], told["Uid"]) == ("1", "15904")
        assert len(namespaces_of(server)) == 0
        for number, (pod, node) in enumerate(both):
            for address in (pod.ipv4, pod.ipv6):
                said = ask(node, address, 15901, LIVENESS)
                assert said.startswith(b"HTTP/1.1 200 OK\r\n")
                assert said.endswith(f"pod {number}".encode())
                for _ in range(30):  # more than were made ahead
                    assert ask(node, address, 15904, CHECK).startswith(b"HTTP/1.1 200 ")
            assert ask(node, pod.ipv4, 15902, LIVENESS) == b""  # nothing needs it
        assert status(server, "/health/ready")
        runtime.end("pod0")
        server.wait_for("pod released")
        assert ask(both[0][1], both[0][0].ipv4, 15904, CHECK) == b""
        assert ask(both[1][1], both[1][0].ipv4, 15904, CHECK).startswith(b"HTTP/1.1 200 ")


def test_a_dead_app_is_found(runtime: FakeRuntime, shared: Path) -> None:
    with pod_and_node() as (pod, node), sockets_process(runtime, shared):
        runtime.add("pod", pod, PROBES)
        with agent(runtime, sockets=shared):
            assert ask(node, pod.ipv4, 15904, CHECK).startswith(b"HTTP/1.1 404 ")
            with pod.serving({APP: answer("back")}):
                assert ask(node, pod.ipv4, 15904, CHECK).startswith(b"HTTP/1.1 200 ")


def test_the_process_with_rights_reads_no_requests_and_no_declarations() -> None:
    look = (
        "import sys; from osm_healthcheck.node import serve_sockets\n"
        "print([name for name in ('aiohttp', 'prometheus_client', 'osm_healthcheck.wire.http1',\n"
        "    'osm_healthcheck.server.connection', 'osm_healthcheck.probes.declaration',\n"
        "    'osm_healthcheck.server.head_reader') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert done.stdout == "[]\n"


def test_a_namespace_that_vanishes_is_let_go_though_the_runtime_says_nothing(
    runtime: FakeRuntime, shared: Path
) -> None:
    with ExitStack() as stack:
        pod, _ = stack.enter_context(pod_and_node())
        runtime.add("pod", pod, PROBES)
        with sockets_process(runtime, shared) as holder, agent(runtime, sockets=shared) as server:
            runtime.answering.clear()
            runtime.calls.clear()
            until(lambda: bool(runtime.calls))  # it waits for an answer now
            stack.close()
            server.wait_for("pod released")
            inode = f"net:[{Path('/proc/self/ns/net').stat().st_ino}]"
            until(lambda: namespaces_of(holder) <= {inode, "/proc/self/ns/net"})


@pytest.mark.parametrize("ends", ["holder", "server"])
def test_whichever_of_the_two_crashes_all_is_served_again(
    runtime: FakeRuntime, shared: Path, ends: str
) -> None:
    with pods(2) as both, ExitStack() as stack:
        for number, (pod, _) in enumerate(both):
            runtime.add(f"pod{number}", pod, PROBES)
        holder = stack.enter_context(sockets_process(runtime, shared))
        server = stack.enter_context(agent(runtime, sockets=shared))
        if ends == "holder":
            until(lambda: sockets_of(server) > 2 * 2 * messages.SOCKETS_AT_ONCE)
            holder.end()
            server.wait_for("the node's pods are not known")
            # from sockets that were made before any probe, and without a wait where there are none
            for pod, node in both:
                for address in (pod.ipv4, pod.ipv6):
                    answers = [ask(node, address, 15904, CHECK)[9:12] for _ in range(12)]
                    made, none = messages.SOCKETS_AT_ONCE, 12 - messages.SOCKETS_AT_ONCE
                    assert answers == [b"200"] * made + [b"500"] * none
            runtime.end("pod0")
            stack.enter_context(sockets_process(runtime, shared))
            server.wait_for("the node's pods are known again")
            server.wait_for("pod released")  # which ended while nobody could tell it
        else:
            server.end()
            server = stack.enter_context(agent(runtime, sockets=shared))
        pod, node = both[1]
        for _ in range(30):
            for address in (pod.ipv4, pod.ipv6):
                assert ask(node, address, 15904, CHECK).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("opens", ["holder", "server"])
def test_handed_over_under_load_no_probe_fails(
    runtime: FakeRuntime, tmp_path: Path, opens: str
) -> None:
    """Each agent has a process with rights of its own, as the two containers of its pod."""
    with pods(1) as [(pod, node)], ExitStack() as stack:
        runtime.add("pod", pod, PROBES)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        root = tmp_path if opens == "holder" else folder  # where the server may not write
        handover = ("--handover", str(root / "handover.sock"))
        of_holder, of_server = (handover, ()) if opens == "holder" else ((), handover)
        parts = []
        with probing(node, pod.ipv4) as answers:
            for number in range(3):
                path = folder / f"sockets{number}.sock"
                holder = stack.enter_context(sockets_process(runtime, path, *of_holder))
                parts.append(
                    (holder, stack.enter_context(agent(runtime, *of_server, sockets=path)))
                )
                if number:
                    old_holder, old = parts[number - 1]
                    old.wait_for("handed over to another agent")
                    for one in (old_holder, old):
                        one.process.terminate()
                        assert one.process.wait(PATIENCE) == 0
                else:
                    answers.clear()
                before = len(answers)
                until(lambda before=before: len(answers) > before + 50)  # type: ignore[misc]
        assert {one[:13] for one in answers} == {b"HTTP/1.1 200 "}


def test_a_burst_of_callers_is_answered(runtime: FakeRuntime, shared: Path) -> None:
    """More than were made ahead ask at once, and the ones after them."""
    with pods(1) as [(pod, node)], sockets_process(runtime, shared), ExitStack() as stack:
        runtime.add("pod", pod, PROBES)
        with agent(runtime, sockets=shared):
            callers = [stack.enter_context(node.socket(socket.AF_INET)) for _ in range(60)]
            for one in callers:
                one.settimeout(PATIENCE)
                one.connect((pod.ipv4, 15904))
            for one in callers:
                one.sendall(CHECK)
            assert {one.recv(13) for one in callers} == {b"HTTP/1.1 200 "}


def test_while_the_process_with_the_rights_stands_still_callers_wait_and_none_fails(
    runtime: FakeRuntime, shared: Path
) -> None:
    """As on a node that is busy: a check has the time of its probe, whatever it waits for."""
    with (
        pods(1) as [(pod, node)],
        sockets_process(runtime, shared) as holder,
        agent(runtime, sockets=shared) as server,
        ExitStack() as stack,
    ):
        runtime.add("pod", pod, PROBES)
        server.wait_for("pod served")
        holder.process.send_signal(signal.SIGSTOP)
        stack.callback(holder.process.send_signal, signal.SIGCONT)
        callers = [stack.enter_context(node.socket(socket.AF_INET)) for _ in range(30)]
        for one in callers:
            one.settimeout(PATIENCE)
            one.connect((pod.ipv4, 15904))
            one.sendall(CHECK)

        def all_have_begun() -> bool:
            [shown] = json.loads(status(server, "/debug/pods"))["served"]
            answered, _, _ = select.select(callers, [], [], 0)
            return int(shown["connections"]) + len(answered) == len(callers)

        until(all_have_begun)
        holder.process.send_signal(signal.SIGCONT)
        assert {one.recv(13) for one in callers} == {b"HTTP/1.1 200 "}


class Taken:
    """A server that somebody else has taken over: it talks to the process that has the rights."""

    def __init__(self, path: Path) -> None:
        self._taken: list[socket.socket] = []
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(str(path))

    def wait_for(self, kind: bytes) -> None:
        """Read until that is said."""
        while self.sock.recv(1 << 16)[:1] != kind:
            pass

    def ask(self, request: bytes) -> tuple[Any, list[socket.socket]]:
        """What is answered to a request, and the sockets that come with it."""
        self.sock.send(request)
        while True:
            message, descriptors, _, _ = socket.recv_fds(self.sock, 1 << 16, 16)
            if not message:
                return None, []
            kind, said, _ = messages.decode(message)
            if kind in (messages.LISTEN, messages.SOCKETS):
                sockets = [socket.socket(fileno=one) for one in descriptors]
                self._taken += sockets
                return said, sockets

    def close(self) -> None:
        """End it, and every socket that it got."""
        for one in (self.sock, *self._taken):
            one.close()


@contextmanager
def taken_over(runtime: FakeRuntime, path: Path) -> Iterator[Taken]:
    with sockets_process(runtime, path, "--server-user", "0"):
        taken = Taken(path)
        with closing(taken):
            taken.wait_for(messages.LISTED)
            yield taken


def disconnect(sock: socket.socket) -> int:
    """``connect()`` to AF_UNSPEC, which Python has no way to say; 0 where that was done."""
    nowhere = struct.pack("H14x", socket.AF_UNSPEC)
    done: int = ctypes.CDLL(None).connect(sock.fileno(), nowhere, len(nowhere))
    return done


def connects(sock: socket.socket, address: str, port: int) -> bool:
    sock.settimeout(1)
    try:
        sock.connect((address, port))
    except OSError:
        return False
    return True


def test_who_takes_the_server_over_gets_no_further_than_the_pods_themselves(
    runtime: FakeRuntime, shared: Path
) -> None:
    """The kernel holds it: sockets to the pod itself, and listeners that cannot be turned round."""
    with pods(1) as [(pod, node)], node.serving({OTHER: "the pod's neighbour"}):
        assert pod.ask(node.ipv4, OTHER) == "the pod's neighbour"
        runtime.add("pod", pod, PROBES)
        with taken_over(runtime, shared) as taken:
            _, [*to_pod] = taken.ask(messages.SOCKETS + b"\4pod")
            assert len(to_pod) == messages.SOCKETS_AT_ONCE
            first, second, third, *_ = to_pod
            assert connects(first, pod.ipv4, APP)
            assert connects(second, "127.0.0.1", APP)
            assert not connects(third, node.ipv4, OTHER)
            assert disconnect(first) == 0  # it is free again
            assert not connects(first, node.ipv4, OTHER)
            for option in (27, 44):  # SO_DETACH_FILTER, SO_LOCK_FILTER
                with pytest.raises(PermissionError):
                    third.setsockopt(socket.SOL_SOCKET, option, 0)
            said, listening = taken.ask(messages.LISTEN + b"\xffpod")
            assert sorted(set(said["ports"])) == [15901, 15902, 15903, 15904]
            one = next(one for one in listening if one.family == socket.AF_INET)
            with node.socket(socket.AF_INET) as caller:
                caller.settimeout(PATIENCE)
                caller.connect((pod.ipv4, one.getsockname()[1]))
                accepted, _ = one.accept()
                with accepted:
                    for turned in (accepted, one):
                        turned.shutdown(socket.SHUT_RDWR)
                        disconnect(turned)
                        assert not connects(turned, node.ipv4, OTHER)


def test_who_takes_the_server_over_cannot_pass_for_a_service_of_the_pod(
    runtime: FakeRuntime, shared: Path
) -> None:
    with pods(1) as [(pod, _)]:
        runtime.add("pod", pod, PROBES)
        with taken_over(runtime, shared) as taken, ExitStack() as stack:
            for version, address in ((b"\4", "127.0.0.1"), (b"\6", "::1")):
                _, [listening, itself, *_] = taken.ask(messages.SOCKETS + version + b"pod")
                listening.bind((address, OTHER))
                listening.listen()
                caller = stack.enter_context(pod.socket(listening.family))
                caller.setblocking(False)
                caller.connect_ex((address, OTHER))  # over loopback it is made at once, or not
                assert caller.connect_ex((address, OTHER)) == errno.EALREADY
                # a dial that is given the very port that it dials is found out as before
                itself.bind((address, OTHER + 1))
                itself.connect_ex((address, OTHER + 1))
                assert itself.connect_ex((address, OTHER + 1)) == 0
                assert itself.getsockname() == itself.getpeername()


@pytest.mark.parametrize("request_", [b"X\4pod", b"S", b"S\5pod", b"L", b"S\4" + b"x" * 4000])
def test_what_is_no_request_ends_the_conversation(
    runtime: FakeRuntime, shared: Path, request_: bytes
) -> None:
    with pods(1) as [(pod, _)]:
        runtime.add("pod", pod, PROBES)
        with taken_over(runtime, shared) as taken:
            said, sockets = taken.ask(messages.SOCKETS + b"\4another pod")
            assert (said["code"], sockets) == (0, [])
            said, sockets = taken.ask(messages.LISTEN + b"\1another pod")
            assert (said["error"], sockets) == ("the pod is gone", [])
            said, sockets = taken.ask(request_)
            assert not sockets
            assert said is None or len(request_) > messages.MAX_REQUEST_BYTES


def test_another_user_is_not_served(runtime: FakeRuntime, shared: Path) -> None:
    with sockets_process(runtime, shared, "--server-user", "1234") as holder:
        taken = Taken(shared)
        holder.wait_for("another user is not served")
        assert taken.sock.recv(100) == b""
        taken.sock.close()


def test_a_server_that_does_not_read_is_no_burden(runtime: FakeRuntime, shared: Path) -> None:
    with pods(1) as [(pod, _)]:
        runtime.add("pod", pod, PROBES)
        with taken_over(runtime, shared) as taken:
            taken.sock.setblocking(False)
            with suppress(BlockingIOError):
                while taken.sock.send(messages.SOCKETS + b"\4pod"):
                    pass
            with Taken(shared).sock as other:  # the next one is served
                other.settimeout(PATIENCE)
                assert other.recv(1) == messages.FOUND


@pytest.mark.parametrize("right", ["sys_admin", "net_admin"])
def test_a_right_that_is_missing_is_named(right: str) -> None:
    """Not every kernel asks for NET_ADMIN; where one does not, nothing is missing."""
    without = ("setpriv", f"--bounding-set=-{right}", f"--inh-caps=-{right}", "--")
    probe = (
        "import socket; from osm_healthcheck.node.socket_filter import allow_callers\n"
        "allow_callers(socket.socket())"
    )
    if (
        right == "net_admin"
        and not subprocess.run(
            [*without, sys.executable, "-Wi", "-c", probe], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("this kernel takes a filter from everybody")
    command = [*without, sys.executable, "-m", "osm_healthcheck", "node-sockets", "/nowhere/a.sock"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith(f"it needs {right.upper()}\n")


def test_a_socket_that_cannot_be_had() -> None:
    command = [sys.executable, "-m", "osm_healthcheck", "node-sockets", "/nowhere/a.sock"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert "osm-healthcheck node-sockets: /nowhere/a.sock: no such file" in done.stderr
    assert "Traceback" not in done.stderr
