"""Which Python runs the servers, and in which root directory.

The benchmark itself runs on the Python that started it; the servers run on any other, also on one
inside a root directory (a chroot, as ``python315.sh`` makes it), so that a Python that this
machine does not have can be measured without installing it.

The servers run a copy of the project, with bytecode of its own: somebody may edit the sources
during a run, nothing is written beside them, and the bytecode always fits the flags (``-OO``). The
first start of each server fills it and is not measured.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.errors import UsageError

_PROJECT = Path(__file__).parents[2]
ROOT_PYTHON = "/opt/venv/bin/python"
ROOT_FLAGS = ("-X", "lazy_imports=all", "-OO")
_WHAT_SERVERS_NEED = (
    "osm_healthcheck",
    "tests/bench/__init__.py",
    "tests/bench/servers",
    *(f"tests/io/{name}.py" for name in ("apps", "floods", "http2_cases", "tls", "wire")),
)
_ANSWER_SECONDS = 60


@dataclass(frozen=True)
class Interpreter:
    """How to run a module of this project: the command's beginning, and its environment."""

    prefix: tuple[str, ...]
    flags: tuple[str, ...]
    environment: dict[str, str]
    version: tuple[int, int, int]

    def command(self, module: str, *arguments: str) -> list[str]:
        """Return the command that runs a module (-P: only PYTHONPATH says where it is)."""
        return [*self.prefix, *self.flags, "-P", "-m", module, *arguments]

    @property
    def lazy(self) -> bool:
        """Whether imports are lazy: CPython 3.15 and newer, when told so."""
        return self.version >= (3, 15) and "lazy_imports=all" in " ".join(self.flags)

    def __str__(self) -> str:
        version = ".".join(map(str, self.version))
        return " ".join(["CPython", version, *self.flags])


@contextlib.contextmanager
def interpreter(python: str, flags: Sequence[str], root: Path | None) -> Iterator[Interpreter]:
    """Prepare an interpreter, and a copy of the project for it, for the length of a block."""
    with _scratch_directory(root) as scratch:
        prefix: tuple[str, ...] = (python,)
        inside = scratch
        if root is not None:
            prefix = ("chroot", str(root), python)
            inside = Path("/") / scratch.relative_to(root)
        for part in _WHAT_SERVERS_NEED:
            _copy(_PROJECT / part, scratch / "project" / part)
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(inside / "project"),
            "PYTHONPYCACHEPREFIX": str(inside / "bytecode"),
        }
        version = _version((*prefix, *flags), environment)
        yield Interpreter(prefix, tuple(flags), environment, version)


@contextlib.contextmanager
def _scratch_directory(root: Path | None) -> Iterator[Path]:
    if root is not None:
        if not (root / "tmp").is_dir():
            raise UsageError(f"{root} is no root directory; tests/bench/python315.sh makes one")
        if os.geteuid() != 0:
            raise UsageError(f"running inside {root} (chroot) takes root")
    where = None if root is None else root / "tmp"
    with tempfile.TemporaryDirectory(prefix="bench-", dir=where) as scratch:
        yield Path(scratch)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _version(command: Sequence[str], environment: dict[str, str]) -> tuple[int, int, int]:
    code = "import sys; print(*sys.version_info[:3])"
    shown = " ".join(command)
    try:
        answer = subprocess.run(
            [*command, "-c", code],
            check=True,
            capture_output=True,
            cwd="/",
            env=environment,
            text=True,
            timeout=_ANSWER_SECONDS,
        )
        major, minor, micro = map(int, answer.stdout.split())
    except subprocess.CalledProcessError as error:
        raise UsageError(f"{shown} does not run: {error.stderr.strip()}") from error
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{shown} does not run: {error}") from error
    return major, minor, micro
