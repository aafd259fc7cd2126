"""The tests of one mutant, in a process that is forked from one that has the libraries loaded.

To start Python and load the libraries takes longer than most mutants' tests do. Nothing of this
repository is loaded before the fork.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

LIBRARIES = (
    "aiohttp.web cryptography.x509 grpc grpc_health.v1.health_pb2 h2.connection hypercorn.asyncio "
    "hypothesis.strategies prometheus_client structlog trustme uvloop yaml"
).split()

OUTPUT = ".output"
"""Where in the copy stands what pytest said last."""

_CLONE_NEWNS, _CLONE_NEWPID, _CLONE_NEWNET = 0x20000, 0x20000000, 0x40000000
_PR_SET_PDEATHSIG = 1
_SET_UP = "mount --make-rprivate / && mount -t proc proc /proc && ip link set lo up"
_TEST_SECONDS = 30


def run_tests(root: Path, tests: Sequence[str], answer: Connection) -> None:
    """Run tests in the copy of the repository at ``root``, to the first one that fails.

    What is sent: pytest's exit code, and the test that failed, or "".
    """
    _alone(root)
    os.chdir(root)
    sys.dont_write_bytecode = True
    os.environ.update(PYTHONPATH=str(root), PYTHONDONTWRITEBYTECODE="1")
    sys.path[:] = [str(root), *(path for path in sys.path if not Path(path, "tests").is_dir())]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    chosen = _Chosen(tests)
    files = dict.fromkeys(test.partition("::")[0] for test in tests)
    # the libraries' plugins were loaded before pytest could rewrite their assertions
    options = ["-q", "-x", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestWarning"]
    options += ["--timeout", str(_TEST_SECONDS), "-n", "0"]
    code = pytest.main([*options, *files], plugins=[chosen])
    answer.send((int(code), chosen.failed))
    sys.stdout.flush()
    os._exit(0)


def _alone(root: Path) -> None:
    """Go on in namespaces of one's own, with the output in a file; processes end with it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS | _CLONE_NEWPID | _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare: no namespaces of one's own")
    if child := os.fork():
        os.waitpid(child, 0)
        os._exit(0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    out = os.open(root / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    subprocess.run(["sh", "-c", _SET_UP], check=True)


class _Chosen:
    """A pytest plugin: these tests only, in this order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._turns = {test: turn for turn, test in enumerate(tests)}
        self.failed = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self._turns]
        items.sort(key=lambda item: self._turns[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid
