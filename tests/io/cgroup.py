"""A memory cgroup for a process, as a pod's container has one."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path("/sys/fs/cgroup")


class MemoryCgroup:
    """A cgroup below the root one; ``prefix`` begins the command of a process that is to be in it.

    Version 1 counts the memory of sockets apart from all other, version 2 counts it in.
    """

    def __init__(self, path: Path, version: int) -> None:
        self._path = path
        self._version = version
        self.prefix = ("sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(path))

    def limit(self, count: int) -> None:
        """Let the processes have ``count`` bytes at most."""
        if self._version == 1:
            self._write("memory.limit_in_bytes", count)
            # with no limit there is no counting
            self._write("memory.kmem.tcp.limit_in_bytes", count)
        else:
            self._write("memory.max", count)

    def peak(self) -> tuple[int, int]:
        """The most that was used, in bytes: of all, and of sockets where they are counted apart."""
        if self._version == 1:
            sockets = self._read("memory.kmem.tcp.max_usage_in_bytes")
            return self._read("memory.max_usage_in_bytes"), sockets
        return self._read("memory.peak"), 0

    def _write(self, name: str, value: int) -> None:
        (self._path / name).write_text(str(value))

    def _read(self, name: str) -> int:
        return int((self._path / name).read_text())


@contextlib.contextmanager
def memory_cgroup() -> Iterator[MemoryCgroup]:
    """Make one; the test is skipped where this machine does not let us."""
    version, parent = (1, _ROOT / "memory") if (_ROOT / "memory").is_dir() else (2, _ROOT)
    try:
        path = Path(tempfile.mkdtemp(prefix="osm-healthcheck-", dir=parent))
        cgroup = MemoryCgroup(path, version)
        cgroup.limit(1 << 40)
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    try:
        yield cgroup
    finally:
        path.rmdir()
