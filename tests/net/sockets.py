"""The TCP sockets of a namespace, as ``/proc/net/tcp`` and ``tcp6`` list them."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .namespaces import PATIENCE, Namespace

_LISTEN, _TIME_WAIT = "0A", "06"
_TICK_SECONDS = 0.02


@dataclass(frozen=True)
class Socket:
    """A socket: its port, its state as the kernel has it, the user ID it belongs to."""

    port: int
    state: str
    user: int

    @property
    def listens(self) -> bool:
        """Whether it takes connections."""
        return self.state == _LISTEN


def sockets(where: Namespace) -> Iterator[Socket]:
    """All TCP sockets but those that have ended and only wait (TIME_WAIT)."""
    for line in where.run("cat", "/proc/net/tcp", "/proc/net/tcp6").stdout.splitlines():
        words = line.split()
        if ":" in words[1] and words[3] != _TIME_WAIT:
            yield Socket(int(words[1].rpartition(":")[2], 16), words[3], int(words[7]))


def listeners(where: Namespace) -> dict[int, int]:
    """The ports on which something listens, with its user."""
    return {one.port: one.user for one in sockets(where) if one.listens}


def connections(where: Namespace, *users: int) -> list[Socket]:
    """The connections of these users that have not ended."""
    return [one for one in sockets(where) if not one.listens and one.user in users]


def descriptors(pid: int) -> int:
    """How many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def settled(count: Callable[[], int], expected: int) -> int:
    """Wait until there are no more than so many of something; how many there are in the end."""
    happens(lambda: count() <= expected)
    return count()


def happens(condition: Callable[[], bool]) -> bool:
    """Wait for a condition of which the kernel tells nobody: one has to look. Whether it came."""
    end = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not condition():
        if time.monotonic() > end:
            return False
        pause.wait(_TICK_SECONDS)
    return True
