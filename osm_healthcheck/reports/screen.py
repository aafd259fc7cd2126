"""A terminal that is drawn on and given back as it was."""

import contextlib
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence

# Another screen than the one with the user's text, no cursor, no line wrapped.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
# The terminal shows what is between the two at once, where it knows how to: no flicker.
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")
_HOME, _END_OF_LINE, _END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


class Screen:
    """The whole terminal, one frame at a time."""

    def __init__(self) -> None:
        self._shown: Sequence[str] = []
        self._is_ours = False

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Take the terminal, and give it back whatever happens."""
        before = signal.signal(signal.SIGTSTP, self._stop)
        self.enter()
        try:
            yield
        finally:
            signal.signal(signal.SIGTSTP, before)
            self.leave()

    def enter(self) -> None:
        """Switch to our screen."""
        self._shown = []
        self._is_ours = True
        _write(_ENTER)

    def leave(self) -> None:
        """Switch back."""
        if self._is_ours:
            self._is_ours = False
            with contextlib.suppress(OSError):
                _write(_LEAVE)

    def draw(self, lines: Sequence[str]) -> None:
        """Show ``lines``, as many as there is room for; nothing is written where none changed."""
        size = shutil.get_terminal_size()
        frame = [_cut(line, size.columns) for line in lines[: size.lines]]
        if not self._is_ours or frame == self._shown:
            return
        self._shown = frame
        text = f"{_END_OF_LINE}\r\n".join(frame)
        _write(f"{_BEGIN}{_HOME}{text}{_END_OF_LINE}{_END_OF_SCREEN}{_END}")

    def _stop(self, *_: object) -> None:
        """Ctrl-Z: the shell gets its screen, and we take ours again when we go on."""
        self.leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        self.enter()


def _cut(line: str, columns: int) -> str:
    """As much of ``line`` as there is room for.

    A terminal that does not wrap writes all that is too much into its last column.
    """
    parts = _COLOUR.split(line)
    for at in range(0, len(parts), 2):
        parts[at] = parts[at][: max(0, columns)]
        columns -= len(parts[at])
    return "".join(parts)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
