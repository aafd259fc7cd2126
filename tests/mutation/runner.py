"""Runs the tests of a mutant, in a copy of the repository and a network of its own."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

from tests.mutation.mutants import Mutant

_ROOT = Path(__file__).parent.parent.parent
_START_SECONDS = 60
_SLOWER = 5
"""A mutant's tests may take so many times what they took when they were measured."""

_PASSED, _FAILED, _INTERRUPTED = 0, 1, 2
_NOT_COLLECTED = "ERROR collecting"
"""What pytest says where the mutant cannot be imported."""


class Fate(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    TIMEOUT = "timeout"
    SURVIVED = "survived"
    NO_TEST = "no test"


class Copy:
    """A copy of the repository in which one mutant after the other is tested."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def test(self, mutant: Mutant, tests: Sequence[str], seconds: float) -> Fate:
        """Run these tests on the mutant, to the first one that fails.

        Args:
            mutant: the change.
            tests: the tests' names.
            seconds: what they take without it.

        Raises:
            RuntimeError: where pytest could not run the tests, with what it said.
        """
        if not tests:
            return Fate.NO_TEST
        path = self._root / mutant.path
        source = path.read_text()
        path.write_text(mutant.mutated(source))
        try:
            return self._run(tests, _START_SECONDS + _SLOWER * seconds)
        finally:
            path.write_text(source)

    def _run(self, tests: Sequence[str], timeout: float) -> Fate:
        names = self._root / ".tests"
        names.write_text("\n".join(tests))
        pytest = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"@{names}"]
        up = 'ip link set lo up && exec "$@"'
        process = subprocess.Popen(
            ["unshare", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", up, "-", *pytest],
            cwd=self._root,
            env={**os.environ, "PYTHONPATH": str(self._root), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return Fate.TIMEOUT
        if process.returncode == _PASSED:
            return Fate.SURVIVED
        if process.returncode in (_FAILED, _INTERRUPTED) or _NOT_COLLECTED in said:
            return Fate.KILLED
        raise RuntimeError(said[-2000:])


@contextlib.contextmanager
def copy() -> Iterator[Copy]:
    """A copy of what the tests need; it is gone after the block."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        root = Path(name)
        for part in ("osm_healthcheck", "tests", "iptables", "docs", "charts", "deploy", ".ci"):
            leave_out = shutil.ignore_patterns("__pycache__", "node_modules")
            shutil.copytree(_ROOT / part, root / part, symlinks=True, ignore=leave_out)
        for part in ("pyproject.toml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
            shutil.copy(_ROOT / part, root)
        yield Copy(root)
