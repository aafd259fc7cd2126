"""A server that finds a library of a version that it does not work with says so, and ends."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from osm_healthcheck.cli.requirements import BOUNDS, unmet_requirements
from tests.io.wire import TIMEOUT

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def test_the_bounds_are_those_that_are_declared() -> None:
    declared = {
        re.split("[<>=]", one)[0].replace("-", "_"): (
            re.findall(r">=([\d.]+)", one)[0],
            "".join(re.findall(r"<([\d.]+)", one)),
        )
        for one in PROJECT["dependencies"]
    }
    del declared["pyyaml"]  # no server loads it
    assert declared == BOUNDS


def test_what_is_installed_does() -> None:
    assert list(unmet_requirements()) == []


@pytest.mark.parametrize(
    ("directory", "said"),
    [
        ("aiohttp-3.14.0.dist-info", "aiohttp 3.14.0 is too old: install 3.14.4 or newer"),
        ("aiohttp-3.14.3-py3.11.egg-info", "aiohttp 3.14.3 is too old: install 3.14.4 or newer"),
        ("aiohttp-4.0.0a1.dist-info", "aiohttp 4.0.0a1 is too new: install one before 4"),
        ("hpack-4.0.0.dist-info", "hpack 4.0.0 is too old: install 4.1 or newer"),
        ("hpack-4.3.dist-info", "hpack 4.3 is too new: install one before 4.3"),
        (
            "Prometheus_Client-0.9.dist-info",
            "prometheus_client 0.9 is too old: install 0.23.1 or newer",
        ),
        ("structlog-25.dist-info", "structlog 25 is too old: install 25.1 or newer"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "injector", "node"])
def test_what_does_not_is_named(command: str, directory: str, said: str, tmp_path: Path) -> None:
    (tmp_path / directory).mkdir()
    ran = _start(command, tmp_path)
    assert (ran.returncode, ran.stderr) == (1, f"osm-healthcheck: {said}\n")


@pytest.mark.parametrize(
    "directory",
    [
        "structlog-25.1.dist-info",
        "structlog-125.0.0.dist-info",
        "aiohttp-3.14.4.dist-info",
        "hpack-4.2.9.dist-info",
        "aiohttp_retry-1.0.dist-info",
        "aiohttp-0.dist-info.old",
    ],
)
def test_what_does_is_passed_over(directory: str, tmp_path: Path) -> None:
    (tmp_path / directory).mkdir()
    ran = _start("serve", tmp_path)
    assert (ran.returncode, "too " in ran.stderr) == (2, False), ran.stderr


def _start(command: str, first_on_path: Path) -> subprocess.CompletedProcess[str]:
    """Start a server that is told wrongly what to do: it ends, and with 2, if it comes so far."""
    return subprocess.run(
        [sys.executable, "-m", "osm_healthcheck", command, "--no-such-option"],
        env={**os.environ, "PYTHONPATH": f"{first_on_path}:{Path.cwd()}"},
        capture_output=True,
        text=True,
        timeout=4 * TIMEOUT,
        check=False,
    )
