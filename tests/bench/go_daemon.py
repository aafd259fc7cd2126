"""OSM's own Go daemon, whose place this project takes, built by the Go client.

Its source is the last release of Open Service Mesh, from the Go module proxy; its build is kept in
a cache, one file for each version of Go. It listens on 15904 and asks 127.0.0.1: neither can be
told otherwise, so that it is left out, in words, where the port is taken, and where there is
neither Go nor an earlier build. ``python -m tests.bench.go_daemon`` builds it ahead of a run
without a network.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from tests.bench.errors import LeftOutError

NAME = "OSM's Go daemon"
PORT = 15904

_MODULE = "github.com/openservicemesh/osm"
_VERSION = "v1.2.4"
_FILE = f"osm-healthcheck-{_VERSION}"
_GO_MOD = f"module bench.local/osm\n\ngo 1.19\n\nrequire {_MODULE} {_VERSION}\n"
_BUILD_SECONDS = 900


def default_cache() -> Path:
    """Return where a user's programs keep what they can make anew (XDG base directories)."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "osm-healthcheck-bench"


def binary(cache: Path) -> Path:
    """Return the daemon's file, built now if it was not before.

    Args:
        cache: the directory that keeps it.

    Raises:
        LeftOutError: the daemon cannot be had here, or cannot listen.
    """
    path = program(cache, _FILE, NAME)
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("", PORT))
        except OSError as error:
            reason = f"it can only listen on {PORT}: {error.strerror}"
            raise LeftOutError(f"{NAME} is left out: {reason}") from error
    return path


def built_by(path: Path) -> str:
    """Return which version of Go built a file that ``binary`` gave."""
    return path.name.removeprefix(f"{_FILE}-")


def program(cache: Path, file: str, name: str, source: Path | None = None) -> Path:
    """Return a program of OSM's source, built now if it was not before.

    Args:
        cache: the directory that keeps it.
        file: what it is called there, before the version of Go.
        name: what it is called in a report.
        source: its ``main.go``; without one it is OSM's own daemon.

    Raises:
        LeftOutError: it cannot be had here.
    """
    try:
        return _built(cache, file, source)
    except _CannotBeBuiltError as error:
        raise LeftOutError(f"{name} is left out: {error}") from error


class _CannotBeBuiltError(Exception):
    """Why a program cannot be had."""


def _built(cache: Path, file: str, source: Path | None) -> Path:
    go = shutil.which("go")
    if go is None:
        earlier = sorted(cache.glob(f"{file}-go*"), key=lambda path: path.stat().st_mtime)
        if not earlier:
            raise _CannotBeBuiltError("there is no Go to build it with")
        return earlier[-1]
    path = cache / f"{file}-{_run(go, 'env', 'GOVERSION').strip()}"
    if not path.exists():
        _build(go, path, source)
    return path


def _build(go: str, path: Path, source: Path | None) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            main = Path(scratch)
            (main / "go.mod").write_text(_GO_MOD)
            module = json.loads(_run(go, "mod", "download", "-json", f"{_MODULE}@{_VERSION}"))
            shutil.copyfile(Path(module["Dir"], "go.sum"), main / "go.sum")
            out = main / path.name
            options = ("-mod=mod", "-trimpath", "-ldflags=-s -w", "-o", str(out))
            package = f"{_MODULE}/cmd/osm-healthcheck"
            if source is not None:
                shutil.copyfile(source, main / "main.go")
                package = "."
            _run(go, "build", *options, package, directory=main)
            out.replace(path)
    except OSError as error:
        raise _CannotBeBuiltError(f"it cannot be built: {error}") from error


def _run(*command: str, directory: Path | None = None) -> str:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    try:
        return subprocess.run(
            command,
            cwd=directory or "/",
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=_BUILD_SECONDS,
        ).stdout
    except subprocess.CalledProcessError as error:
        said = re.findall(r"[^\n]+", error.stderr + error.stdout)
        reason = said[-1] if said else f"exit code {error.returncode}"
        raise _CannotBeBuiltError(f"{' '.join(command[:3])}: {reason}") from error
    except subprocess.TimeoutExpired as error:
        raise _CannotBeBuiltError(f"it was not built within {_BUILD_SECONDS} s") from error


if __name__ == "__main__":
    try:
        print(binary(default_cache()))
    except LeftOutError as error:
        print(error)
