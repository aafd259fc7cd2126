"""The contract with aiohttp (`test_head_reader`) with the oldest and the newest that is allowed."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
(ALLOWED,) = (one for one in PROJECT["dependencies"] if one.startswith("aiohttp"))
OLDEST = re.sub(
    r"aiohttp>=(\d+\.\d+)(\.\d+)?,.*", lambda m: f"aiohttp=={m[1]}{m[2] or '.0'}", ALLOWED
)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("requirement", [OLDEST, ALLOWED])
def test_the_contract_holds(requirement: str, tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path)], check=True)
    install = [str(python), "-m", "pip", "install", "-q", requirement, "pytest"]
    subprocess.run(install, check=True)
    options = ["-q", "-c", os.devnull, "--rootdir", str(ROOT), "-p", "no:cacheprovider"]
    options += ["--noconftest"]  # what other tests are set up with needs more than is installed
    ran = subprocess.run(
        [str(python), "-m", "pytest", *options, str(ROOT / "tests/io/test_head_reader.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-4000:]
