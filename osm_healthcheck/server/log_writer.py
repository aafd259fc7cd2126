"""Standard error without waiting for it: a bounded queue, and one thread that writes.

Whoever reads the log may be slow, gone or out of space, and a write to a full pipe ends when the
reader wants it to. Setting the descriptor non-blocking would set it so for every process that has
the same terminal or pipe.
"""

import os
import select
import threading
from collections import deque
from collections.abc import Callable

# Some 200 lines: what a reader that pauses for a moment may miss without loss.
MAX_WAITING_BYTES = 64 * 1024
END_SECONDS = 0.1


class LogWriter:
    """Writes lines to a descriptor in a thread of its own, which the first line starts.

    It has what ``print``, ``logging`` and ``traceback`` ask of ``sys.stderr``, so that it can stand
    in its place: no text of the process then waits for the reader.

    Args:
        fd: where to write. Its flags are left as they are.
        notice: the line, with its newline, that says how many lines were lost.
    """

    def __init__(self, fd: int, notice: Callable[[int], str]) -> None:
        self._fd = fd
        self._notice = notice
        self._changed = threading.Condition()
        # each with the number of lines that were lost just before it
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._waiting_bytes = 0
        self._unfinished = ""
        self._lost_before = 0
        self._thread: threading.Thread | None = None
        self.lost = 0

    def write(self, text: str) -> None:
        """Queue the lines of ``text``; what follows the last newline waits for the next call."""
        with self._changed:
            *lines, self._unfinished = (self._unfinished + text).split("\n")
            for line in lines:
                self._put(line.encode("utf-8", "backslashreplace") + b"\n")

    def flush(self) -> None:
        """Do nothing: lines are written as soon as they can be."""

    def end(self, seconds: float = END_SECONDS) -> None:
        """Wait until everything is written, ``seconds`` at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, seconds)

    def _put(self, line: bytes) -> None:
        if self._waiting_bytes + len(line) > MAX_WAITING_BYTES or not self._has_thread():
            self.lost += 1
            self._lost_before += 1
            return
        self._waiting.append((self._lost_before, line))
        self._waiting_bytes += len(line)
        self._lost_before = 0
        self._changed.notify_all()

    def _has_thread(self) -> bool:
        if self._thread is None:
            # The process can end while a write is stuck: that is what makes it a daemon.
            thread = threading.Thread(target=self._run, name="log", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False  # the pod has no process left to give; the next line tries again
            self._thread = thread
        return True

    def _run(self) -> None:
        failed = 0
        torn = False
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                lost_before, line = self._waiting[0]
            untold = failed + lost_before
            text = (self._notice(untold).encode() if untold else b"") + line
            written = self._write(b"\n" + text if torn else text)
            whole = written == len(text) + torn
            with self._changed:
                self._waiting.popleft()
                self._waiting_bytes -= len(line)
                if whole:
                    failed, torn = 0, False
                else:
                    self.lost += 1
                    failed, torn = untold + 1, torn or written > 0
                self._changed.notify_all()

    def _write(self, data: bytes) -> int:
        """Write ``data``, for as long as that takes; how much of it could be written."""
        written = 0
        while written < len(data):
            try:
                written += os.write(self._fd, data[written:])
            except BlockingIOError:  # another process has set the flag
                select.select([], [self._fd], [])
            except OSError:
                break
        return written
