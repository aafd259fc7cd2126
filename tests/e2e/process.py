"""A server program: started with a log of its own, waited for, and ended with its starter."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path


class NotYetError(Exception):
    """Something that was waited for did not happen; the message says what."""


def until(happened: Callable[[], object], what: str, seconds: float = 150) -> None:
    """Wait for something that cannot be waited for but by asking again.

    Raises:
        NotYetError: it did not happen in time.
    """
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            raise NotYetError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)


class Process:
    """A running program; where the process that started it is killed, so is this one."""

    def __init__(self, log: Path, program: Path, *arguments: str, cwd: Path | None = None) -> None:
        self.log = log
        self.name = program.name
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", str(program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd,
            )

    @property
    def pid(self) -> int:
        """Its process ID."""
        return self._process.pid

    def wait_until(self, ready: Callable[[], object], seconds: float = 150) -> None:
        """Wait until it is ready, and no longer than it lives.

        Raises:
            NotYetError: it ended, or took too long; with the end of its log.
        """

        def settled() -> object:
            return self._process.poll() is not None or ready()

        try:
            until(settled, f"{self.name} is ready", seconds)
        except NotYetError as error:
            raise NotYetError(f"{error}\n{self._last_words()}") from None
        if self._process.poll() is not None:
            raise NotYetError(
                f"{self.name} ended: {self._process.returncode}\n{self._last_words()}"
            )

    def end(self, seconds: float = 10) -> None:
        """End it (SIGTERM), by force where it takes too long."""
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
