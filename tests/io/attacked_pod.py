"""A pod under attack: a sidecar process, apps behind it, and a kubelet that goes on probing."""

import contextlib
import json
import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.io.apps import App, app, hold, http_app, response
from tests.io.sidecar import HEALTHCHECK, Process, Sidecar, http_probe, process, tcp_probe
from tests.io.wire import closed_port, connect, read_to_end

MEMORY_LIMIT_KB = 64 * 1024
_PERIOD_SECONDS = 0.01
_TLS_ALERT = b"\x15\x03\x03\x00\x02\x02\x28"


class AttackedPod:
    """A sidecar and what is behind it: ``web`` and ``tcp`` are healthy, ``dead`` is not there.

    ``undeclared`` is an app that no probe names: a connection to it is a breach.
    """

    def __init__(
        self, process: Process, web: App, tcp: App, tls: App, undeclared: App, dead: int
    ) -> None:
        self.process = process
        self.address = process.address
        self.sidecar = Sidecar(process.address, process.lines)
        self.web = web
        self.tcp = tcp
        self.tls = tls
        self.undeclared = undeclared
        self.dead = dead
        self._visits = 0

    def probe_all(self) -> None:
        """One probe of each sort, and what the kubelet would conclude without us."""
        for kind in ("liveness", "readiness"):
            web = self.sidecar.probe(kind, "web")
            assert (web.status, web.body, web.whole) == (200, b"alive", True)
        assert self.sidecar.check(self.tcp.port).status == 200
        assert self.sidecar.check(self.dead).status == 404

    @contextlib.contextmanager
    def kubelet(self) -> Iterator[Callable[[], None]]:
        """Probe on and on while the block runs: every answer has to be right.

        Gives a function that waits until the probes that are under way are answered: on a busy
        machine a probe can be silent for so long that it has to make room for silent callers.
        """
        stop = threading.Event()
        changed = threading.Condition()
        rounds = 0
        failures: list[BaseException] = []

        def run() -> None:
            nonlocal rounds
            try:
                while not (stop.wait(_PERIOD_SECONDS) and rounds):
                    self.probe_all()
                    with changed:
                        rounds += 1
                        changed.notify_all()
            except BaseException as error:
                failures.append(error)

        def answered() -> None:
            with changed:
                before = rounds
                while rounds == before and thread.is_alive():
                    changed.wait(_PERIOD_SECONDS)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield answered
        finally:
            stop.set()
            thread.join()
        if failures:
            raise failures[0]

    def assert_undamaged(self) -> None:
        """Still serving, within its memory, without a traceback, and nothing reached in vain."""
        self.probe_all()
        # Connections are accepted in their order: once ours is, a forbidden one would have been.
        self._visits += 1
        with connect(self.undeclared.address, self.undeclared.port):
            self.undeclared.wait_for(lambda app: app.connections >= self._visits)
        assert self.undeclared.connections == self._visits
        assert self.peak_kb() < MEMORY_LIMIT_KB
        assert len(self.process.text) == len(self.process.lines), self.process.text
        assert not [line for line in self.process.lines if line["level"] == "error"]

    def peak_kb(self) -> int:
        """The most memory (RSS, kB) that the sidecar has had."""
        return peak_kb(self.process.popen.pid)

    def send(self, data: bytes, port: int = HEALTHCHECK) -> tuple[bytes, bool]:
        """What comes back for these bytes, and whether it ended with FIN."""
        with connect(self.address, port) as sock:
            sock.sendall(data)
            return read_to_end(sock)

    def open(self, port: int = HEALTHCHECK, data: bytes = b"") -> socket.socket:
        """A connection on which ``data`` was sent."""
        sock = connect(self.address, port)
        sock.sendall(data)
        return sock


def _refuse(sock: socket.socket) -> None:
    # What is not read makes the end a reset, and a reset is passed on.
    sock.recv(1 << 16)
    sock.sendall(_TLS_ALERT)


@contextlib.contextmanager
def pod(
    more: Mapping[str, Mapping[str, Any]] | None = None, *arguments: str, files: int = 4096
) -> Iterator[AttackedPod]:
    """Run a pod; ``more`` are probes besides its own, ``files`` the sidecar's RLIMIT_NOFILE."""
    with (
        http_app(response(body=b"alive")) as web,
        app(hold) as tcp,
        app(_refuse) as tls,
        app(hold) as undeclared,
        closed_port() as dead,
        contextlib.ExitStack() as stack,
    ):
        probes = {
            "web": {
                "livenessProbe": http_probe(web.port, "/live"),
                "readinessProbe": http_probe(web.port, "/ready"),
            },
            "tcp": {"livenessProbe": tcp_probe(tcp.port), "startupProbe": tcp_probe(dead)},
            "tls": {"startupProbe": http_probe(tls.port, scheme="HTTPS")},
            **(more or {}),
        }
        with open_files(files):
            running = stack.enter_context(process("--probes", json.dumps(probes), *arguments))
        running.wait_for("ready")
        yield AttackedPod(running, web, tcp, tls, undeclared, dead)


@contextlib.contextmanager
def open_files(limit: int) -> Iterator[None]:
    """Set RLIMIT_NOFILE for this process, and so for those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and limit > hard:
        reason = f"this test needs {limit} open files and may have {hard}: ulimit -Hn {limit}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def peak_kb(pid: int) -> int:
    """The most memory (RSS, kB) that a process has ever had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def descriptors(pid: int) -> int:
    """How many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
