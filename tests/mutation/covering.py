"""Which tests run which line, measured once and kept."""

import hashlib
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import coverage

_ROOT = Path(__file__).parent.parent.parent
TESTS = (
    "tests/test_kubelet_vectors.py",
    "tests/rules",
    "tests/manifests",
    "tests/io",
    "tests/docs/test_docs.py",
)
_OF_CONSTANTS = "tests/docs/test_docs.py::test_the_limits_of_the_docs_are_those_of_the_code"
"""Reads constants, which coverage does not show."""
_NO_TEST = ""
"""Coverage's name of where no test runs, as when pytest imports the code."""


@dataclass
class Covering:
    """The tests of each line.

    Attributes:
        seconds: how long each test took that passed.
        lines: file and line, to the tests that ran it.
    """

    seconds: dict[str, float]
    lines: dict[str, dict[int, set[str]]]

    def tests(self, path: str, line: int, budget: float) -> list[str]:
        """The tests for a change of this line: quick ones first, and one of each function first.

        A line that runs at import, in no test, has the tests of its file. What does not fit into
        ``budget`` is left out: seconds, by what the tests took when they were measured.
        """
        lines = self.lines.get(path, {})
        # a statement is measured at its first line
        found = next((lines[n] for n in range(line, max(line - 12, 0), -1) if lines.get(n)), None)
        if not found or _NO_TEST in found:
            found = set().union(*lines.values(), {_OF_CONSTANTS})
        tests = found & self.seconds.keys()
        ordered = []
        for _, function in groupby(sorted(tests), lambda test: test.partition("[")[0]):
            quick_first = sorted(function, key=self.seconds.__getitem__)
            ordered += [
                (turn * self.seconds[test], test) for turn, test in enumerate(quick_first, 1)
            ]
        chosen: list[str] = []
        for _, test in sorted(ordered):
            if not chosen or self.seconds[test] <= budget:
                chosen.append(test)
                budget -= self.seconds[test]
        return chosen


def digest() -> str:
    """A name for the code and the tests as they are: a line has other tests once they change."""
    found = hashlib.sha256()
    for path in sorted([*_ROOT.glob("osm_healthcheck/**/*.py"), *_ROOT.glob("tests/**/*.py")]):
        found.update(f"{path.relative_to(_ROOT)}\n{path.read_text()}".encode())
    return found.hexdigest()[:16]


def covering(directory: Path) -> Covering:
    """Measure it, where the directory has not got it yet.

    Raises:
        subprocess.CalledProcessError: where pytest could not run.
    """
    kept = directory / "lines.json"
    if not kept.exists():
        directory.mkdir(parents=True, exist_ok=True)
        _run_tests(directory)
        kept.write_text(json.dumps(dict(_measured(directory))))
    lines = {
        path: {int(line): set(tests) for line, tests in by_line.items()}
        for path, by_line in json.loads(kept.read_text()).items()
    }
    return Covering(json.loads((directory / "seconds.json").read_text()), lines)


def _run_tests(directory: Path) -> None:
    environ = {
        **os.environ,
        "COVERAGE_DIRECTORY": str(directory),
        "COVERAGE_PROCESS_START": str(Path(__file__).with_name("coverage.ini")),
    }
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    up = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "-"]
    no_limits = ["--ignore-glob=*/test_*memory.py"]  # coverage itself takes memory
    argv = [*up, *pytest, "-p", "tests.mutation.contexts", *no_limits, *TESTS]
    done = subprocess.run(argv, cwd=_ROOT, env=environ, check=False)
    if done.returncode not in (0, 1):  # 1: tests failed, and are left out
        raise subprocess.CalledProcessError(done.returncode, argv)


def _measured(directory: Path) -> Iterator[tuple[str, dict[int, list[str]]]]:
    by_file: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for part in directory.glob("data.*"):
        data = coverage.CoverageData(str(part))
        data.read()
        for name in data.measured_files():
            path = str(Path(name).relative_to(_ROOT))
            for line, contexts in data.contexts_by_lineno(name).items():
                by_file[path][line].update(map(_test, contexts))
    for path, lines in by_file.items():
        yield path, {line: sorted(tests) for line, tests in lines.items()}


def _test(context: str) -> str:
    """The test of a context: ``test``, or of a process that a test started, ``test (phase)``."""
    name, _, phase = context.rpartition(" ")
    return name if phase in {"(setup)", "(call)", "(teardown)"} else context
