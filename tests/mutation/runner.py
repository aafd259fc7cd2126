"""Runs the tests of a mutant, in a copy of the repository and a network of its own."""

import contextlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

import pytest

from tests.mutation.child import LIBRARIES, OUTPUT, run_tests
from tests.mutation.covering import TESTS
from tests.mutation.mutants import Mutant

_ROOT = Path(__file__).parent.parent.parent
_START_SECONDS = 60
_SLOWER = 5
"""A mutant's tests may take so many times what they took when they were measured."""
_BATCHES = (0, 1, 4, None)
"""Most mutants fail a test of the first file: the others need not be loaded."""


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
        self._forks = multiprocessing.get_context("forkserver")
        self._forks.set_forkserver_preload([*LIBRARIES, "tests.mutation.child"])

    def test(self, mutant: Mutant, tests: Sequence[str], seconds: float) -> tuple[Fate, str]:
        """Run these tests on the mutant, to the first one that fails; its name comes with the fate.

        Args:
            mutant: the change.
            tests: the tests' names.
            seconds: what they take without it.

        Raises:
            RuntimeError: where pytest could not run the tests.
        """
        path = self._root / mutant.path
        source, times = path.read_text(), path.stat()
        path.write_text(mutant.mutated(source))
        try:
            for some in _batches(tests):
                fate, test = self.run(some, _START_SECONDS + _SLOWER * seconds)
                if fate is not Fate.SURVIVED:
                    return fate, test
            return Fate.SURVIVED if tests else Fate.NO_TEST, ""
        finally:
            path.write_text(source)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # its bytecode counts again

    def run(self, tests: Sequence[str], timeout: float) -> tuple[Fate, str]:
        """Run these tests on the code as it is, to the first one that fails."""
        if not tests:
            return Fate.SURVIVED, ""
        receiver, sender = self._forks.Pipe(duplex=False)
        process = self._forks.Process(target=run_tests, args=(self._root, tests, sender))
        process.start()
        sender.close()
        try:
            if not receiver.poll(timeout):
                return Fate.TIMEOUT, ""
            code, failed = receiver.recv()
        except EOFError:  # the mutant ended the process
            return Fate.KILLED, ""
        finally:
            process.kill()
            process.join()
        if code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            return Fate.SURVIVED, ""
        if code in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED):
            return Fate.KILLED, failed
        said = (self._root / OUTPUT).read_text(errors="replace")
        raise RuntimeError(f"pytest ended with {code}:\n{said[-2000:]}")


def _batches(tests: Sequence[str]) -> Iterator[list[str]]:
    """The tests of the file that has most of them, then of three more, then of all others."""
    files = [test.partition("::")[0] for test in tests]
    ranked = [file for file, _ in Counter(files).most_common()]
    for first, last in pairwise(_BATCHES):
        some = ranked[first:last]
        yield [test for test, file in zip(tests, files, strict=True) if file in some]


@contextlib.contextmanager
def copies(number: int) -> Iterator[list[Copy]]:
    """So many copies of what the tests need; they are gone after the block."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        first, *others = [Path(name, str(turn)) for turn in range(number)]
        for part in ("osm_healthcheck", "tests", "iptables", "docs", "charts", "deploy", ".ci"):
            leave_out = shutil.ignore_patterns("__pycache__", "node_modules")
            shutil.copytree(_ROOT / part, first / part, symlinks=True, ignore=leave_out)
        for part in ("pyproject.toml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
            shutil.copy(_ROOT / part, first)
        # bytecode, so that a mutant's tests have only the mutant to compile
        load = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider"]
        environ = {**os.environ, "PYTHONPATH": str(first)}
        subprocess.run([*load, *TESTS], cwd=first, env=environ, check=True, capture_output=True)
        for other in others:
            shutil.copytree(first, other, symlinks=True)
        yield [Copy(root) for root in (first, *others)]
