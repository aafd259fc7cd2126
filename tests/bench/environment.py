"""What a measurement works with: the interpreter, the cores, and how much of everything."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import load
from tests.bench.interpreter import Interpreter
from tests.bench.process import Process, free_port, running


@dataclass(frozen=True)
class Cores:
    """The core that servers run on, and the one for the load and the apps."""

    server: int
    load: int

    @property
    def shared(self) -> bool:
        """Whether there is one core only."""
        return self.server == self.load


@contextlib.contextmanager
def cores() -> Iterator[Cores]:
    """Keep this process, which is the load, on its core for the length of a block."""
    before = os.sched_getaffinity(0)
    usable = sorted(before)
    chosen = Cores(server=usable[-1], load=usable[0])
    os.sched_setaffinity(0, {chosen.load})
    try:
        yield chosen
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class Environment:
    """Everything that measurements share. ``probes`` is None where each has its own default.

    ``cache`` is where a competitor is kept that took long to build.
    """

    python: Interpreter
    own_python: Interpreter
    cores: Cores
    rounds: int
    probes: int | None
    quick: bool
    cache: Path

    def count(self, usual: int, quick: int) -> int:
        """Return how many probes to send: what was asked for, else what is usual."""
        return self.probes or (quick if self.quick else usual)

    def server(
        self, name: str, command: Sequence[str]
    ) -> contextlib.AbstractContextManager[Process]:
        """Run a server on the servers' core."""
        return running(name, command, core=self.cores.server, environment=self.python.environment)

    @contextlib.contextmanager
    def app(self, module: str) -> Iterator[int]:
        """Run an app beside the load; give its port."""
        port = free_port()
        command = self.own_python.command(f"tests.bench.servers.{module}", str(port))
        environment = self.own_python.environment
        with running(module, command, core=self.cores.load, environment=environment) as app:
            load.until_listening(app, port)
            yield port
