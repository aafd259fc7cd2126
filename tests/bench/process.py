"""Processes that the benchmarks start: pinned to a core, and gone when the benchmark is."""

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

from tests.bench.errors import BenchError

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_QUOTED_LINES = 15
# Below the range that connects take their own port from: nobody gets it in between, and a dial
# cannot meet itself.
_PORTS = range(20000, 30000)
_CANDIDATES = iter(random.sample(_PORTS, len(_PORTS)))


class Process:
    """One running program, and what it has to say when it fails."""

    def __init__(
        self, name: str, popen: subprocess.Popen[bytes], stderr: IO[bytes], started_ns: int
    ) -> None:
        self.name = name
        self.pid = popen.pid
        self.started_ns = started_ns
        self._popen = popen
        self._stderr = stderr

    def require_alive(self) -> None:
        """Raise, with the end of what it wrote on stderr, if the program has ended."""
        if self._popen.poll() is None:
            return
        raise BenchError(f"{self.name} ended with {self._popen.returncode}\n{self.last_words()}")

    def last_words(self) -> str:
        """Return the end of what the program wrote on stderr."""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-_QUOTED_LINES:])


@contextlib.contextmanager
def running(
    name: str, command: Sequence[str], *, core: int, environment: Mapping[str, str]
) -> Iterator[Process]:
    """Run a program for the length of a block, on one core.

    It is killed, not asked: nothing of it is worth keeping, and a sidecar that drains would hold
    the run up. Should this process be killed itself, the kernel ends its children.
    """

    def settle() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.sched_setaffinity(0, {core})

    with tempfile.TemporaryFile() as stderr:
        started_ns = time.perf_counter_ns()
        try:
            popen = subprocess.Popen(
                list(command),
                cwd="/",
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=settle,
            )
        except OSError as error:
            raise BenchError(f"{name}: cannot run {command[0]}: {error}") from error
        try:
            yield Process(name, popen, stderr, started_ns)
        finally:
            popen.kill()
            popen.wait()


def free_port() -> int:
    """Return a port of loopback on which nothing listens, another one at every call."""
    for port in _CANDIDATES:
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise BenchError(f"no free port in {_PORTS.start}-{_PORTS.stop - 1}")
