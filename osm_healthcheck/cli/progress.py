"""How far a command has come with long input: one line on a terminal, and nothing elsewhere."""

import os
import stat
import sys
import time
from typing import BinaryIO

_EVERY = 0.2  # seconds
_WIDTH = 30


class Progress:
    """One line on stderr that counts documents, with a bar where the size of the input is known."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._count = 0
        self._next = time.monotonic() + _EVERY
        self._dirty = False
        self._size = 0
        self._input: BinaryIO | None = None

    def begin(self, binary: BinaryIO) -> None:
        """What is read from now on comes from ``binary``."""
        self._input, self._size = binary, 0
        if self._shown:
            try:
                state = os.fstat(binary.fileno())
            except OSError:
                return
            self._size = state.st_size if stat.S_ISREG(state.st_mode) else 0

    def step(self) -> None:
        """One more document."""
        self._count += 1
        if self._shown and time.monotonic() >= self._next:
            print(f"\r{self._line()}\x1b[K", end="", file=sys.stderr, flush=True)
            self._next = time.monotonic() + _EVERY
            self._dirty = True

    def clear(self) -> None:
        """Make room for another line."""
        if self._dirty:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._dirty = False

    def _line(self) -> str:
        counted = f"{self._count} documents"
        if not self._size or self._input is None:
            return counted
        done = min(self._input.tell() / self._size, 1)
        return f"[{'#' * round(done * _WIDTH):<{_WIDTH}}] {done:4.0%}  {counted}"
