"""A program that runs in a namespace: its output is read as it comes, and it can be waited for."""

import subprocess
import threading
from typing import IO

from .namespaces import PATIENCE


class Program:
    """A started process. Its output goes into ``lines``, so that it never waits for a reader."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._changed = threading.Condition()
        outputs = [stream for stream in (process.stdout, process.stderr) if stream]
        self._unread = len(outputs)
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True) for stream in outputs
        ]
        for reader in self._readers:
            reader.start()

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until it has written so many lines with this text in them.

        Raises:
            AssertionError: with what it wrote, where it ends before that or takes too long.
        """

        def found() -> bool:
            return sum(text in line for line in self.lines) >= times

        with self._changed:
            self._changed.wait_for(lambda: found() or not self._unread, PATIENCE)
        assert found(), f"no {text!r} from {self.process.args!r}: {self.lines[-20:]}"

    def end(self) -> None:
        """Kill it (SIGKILL) and wait until it is gone."""
        self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join(PATIENCE)

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._unread -= 1
            self._changed.notify_all()
