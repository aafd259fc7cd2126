"""A pod and a node made of network namespaces, with a wire between them.

::

    with pod_and_node() as (pod, node):
        with pod.serving({15901: "app"}):
            assert node.ask(pod.ipv4, 15901) == "app"

Everything is real: ``ip netns add``, a veth pair, processes under users of their own. Both ends
of the wire are called ``eth0`` and live in namespaces with unique names, so tests do not meet.
Leaving the block ends every process that was started in a namespace and deletes both.
"""

import contextlib
import ctypes
import itertools
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

PATIENCE = 20
"""Seconds after which something that should have happened counts as never."""

_CLONE_NEWNET = 0x40000000
_serial = itertools.count()

# Listens on ports, IPv4 and IPv6, says so, and answers each connection with the word of its port.
# Its arguments: port=word, and so on.
_SERVER = """
import selectors, socket, sys
selector = selectors.DefaultSelector()
for argument in sys.argv[1:]:
    port, _, word = argument.partition("=")
    for family, host in (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"):
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, int(port)))
        listener.listen()
        selector.register(listener, selectors.EVENT_READ, word.encode())
print("ready", flush=True)
while True:
    for key, _ in selector.select():
        connection, _ = key.fileobj.accept()
        with connection:
            connection.settimeout(5)
            try:
                connection.recv(100)
                connection.sendall(key.data)
            except OSError:
                pass
"""

# Connects from a source port (0: any), says something, prints the answer.
_CLIENT = """
import socket, sys
host, port, source_port, timeout = sys.argv[1:]
source = ("::" if ":" in host else "0.0.0.0", int(source_port))
with socket.create_connection((host, int(port)), float(timeout), source) as connection:
    connection.sendall(b"who are you?")
    print(connection.recv(100).decode())
"""


def need(*programs: str, root: bool = False) -> None:
    """End the test where it cannot run: without these programs, or without root.

    Where the environment has ``CI``, that is a failure; elsewhere the test is skipped.
    """
    lacks = [f"{program} is not installed" for program in programs if not shutil.which(program)]
    if root and os.geteuid() != 0:
        lacks.append("network namespaces need root")
    if lacks:
        refuse("; ".join(lacks))


def refuse(reason: str) -> NoReturn:
    """End the test, which cannot run: a failure where the environment has ``CI``, else skipped."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass
class Namespace:
    """A network namespace, and what runs in it.

    Attributes:
        name: what ``ip netns`` calls it.
        ipv4: its address on the wire.
        ipv6: its address on the wire.
        processes: those that run in it; they end with it.
    """

    name: str
    ipv4: str
    ipv6: str
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def _argv(self, argv: Sequence[str | Path], user: int | None) -> list[str]:
        become: list[str] = []
        if user is not None:
            become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"]
        return ["ip", "netns", "exec", self.name, *become, *map(str, argv)]

    def run(
        self,
        *argv: str | Path,
        user: int | None = None,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command here and wait for it.

        Args:
            argv: the command.
            user: the user and group ID to run it as, where not root.
            stdin: what it reads.
            env: variables on top of the environment.
            check: whether a status other than 0 is an error.

        Raises:
            AssertionError: with what the command said, where `check` and it failed.
        """
        done = subprocess.run(
            self._argv(argv, user),
            input=stdin,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert not check or done.returncode == 0, f"{argv}: {done.stderr}{done.stdout}"
        return done

    def start(
        self,
        *argv: str | Path,
        user: int | None = None,
        env: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[str]:
        """Start a command here; its output is for the caller to read. It ends with the pod."""
        process = subprocess.Popen(
            self._argv(argv, user),
            env={**os.environ, **(env or {})},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    @contextlib.contextmanager
    def serving(self, words: Mapping[int, str], user: int | None = None) -> Iterator[None]:
        """Listen on ports, IPv4 and IPv6, and answer each connection with the word of its port.

        Inside the block it listens already.
        """
        arguments = [f"{port}={word}" for port, word in words.items()]
        process = self.start(sys.executable, "-ISc", _SERVER, *arguments, user=user)
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            yield
        finally:
            _end(process)

    def ask(self, host: str, port: int) -> str:
        """Who answers at an address: the word of the server, or why there is none."""
        try:
            with self.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as connection:
                connection.settimeout(PATIENCE)
                connection.connect((host, port))
                connection.sendall(b"who are you?")
                return connection.recv(100).decode()
        except OSError as error:
            return type(error).__name__

    def ask_as(
        self, user: int, host: str, port: int, *, source_port: int = 0, timeout: float = PATIENCE
    ) -> str:
        """The same as :meth:`ask`, by a process of this user."""
        python = (sys.executable, "-ISc", _CLIENT)
        arguments = (host, str(port), str(source_port), str(timeout))
        done = self.run(*python, *arguments, user=user, check=False)
        lines = (done.stdout or done.stderr).splitlines()
        return lines[-1].partition(":")[0] if lines else ""

    def close(self) -> None:
        """End what runs here, and the namespace."""
        with contextlib.ExitStack() as cleanup:
            delete = ["ip", "netns", "delete", self.name]
            cleanup.callback(subprocess.run, delete, capture_output=True, check=False)
            for process in self.processes:
                cleanup.callback(_end, process)

    def enter(self) -> None:
        """Move the calling thread here for good: the sockets that it makes are of this place."""
        with Path("/run/netns", self.name).open() as here:
            _setns(here.fileno())

    def socket(self, family: socket.AddressFamily) -> socket.socket:
        """Open a TCP socket of this namespace in the test's own process.

        A socket belongs for ever to the namespace that its thread was in when it was made.
        """
        with contextlib.ExitStack() as opened:
            home = opened.enter_context(Path("/proc/thread-self/ns/net").open())
            here = opened.enter_context(Path("/run/netns", self.name).open())
            _setns(here.fileno())
            try:
                return socket.socket(family)
            finally:
                _setns(home.fileno())


@contextlib.contextmanager
def pod_and_node() -> Iterator[tuple[Namespace, Namespace]]:
    """Make a pod, a node and a wire between them; take all down again afterwards."""
    need("ip", "setpriv", root=True)
    unique = f"healthcheck-{os.getpid()}-{next(_serial)}"
    pod = Namespace(f"{unique}-pod", "10.15.9.2", "fd00:15:9::2")
    node = Namespace(f"{unique}-node", "10.15.9.1", "fd00:15:9::1")
    with contextlib.ExitStack() as cleanup:
        for end in (pod, node):
            cleanup.callback(end.close)
            _ip("netns", "add", end.name)
        _ip(
            *("link", "add", "eth0", "netns", pod.name, "type", "veth"),
            *("peer", "name", "eth0", "netns", node.name),
        )
        for end in (pod, node):
            # No duplicate address detection: an IPv6 address would take a second to be of use.
            commands = (
                "link set lo up",
                f"address add {end.ipv4}/24 dev eth0",
                f"address add {end.ipv6}/64 dev eth0 nodad",
                "link set eth0 up",
            )
            _ip("-n", end.name, "-batch", "-", stdin="\n".join(commands) + "\n")
        yield pod, node


def _ip(*arguments: str, stdin: str = "") -> None:
    subprocess.run(["ip", *arguments], input=stdin, text=True, check=True, timeout=PATIENCE)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def _setns(descriptor: int) -> None:
    # os.setns() came with Python 3.12.
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
