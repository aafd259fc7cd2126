"""A network namespace that is a pod: loopback, and an address of its own that is not loopback."""

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest

POD_IP = "192.0.2.10"
_SCRIPT = f'ip link set lo up && ip addr add {POD_IP}/32 dev lo && exec "$@"'


def in_pod(module: str) -> Any:
    """Run a module of the tests in a namespace of its own; what it prints, read as JSON.

    Skips where this machine does not let us have one, and fails there with ``CI`` set.
    """
    for tool in ("unshare", "ip"):
        if shutil.which(tool) is None:
            missing(f"{tool} is not installed")
    command = ["unshare", "-rn", "sh", "-c", _SCRIPT, "sh"]
    trial = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if trial.returncode:
        missing(f"no network namespace: {trial.stderr.strip()}")
    done = subprocess.run(
        [*command, sys.executable, "-m", module], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def missing(reason: str) -> None:
    """Skip with this reason; where ``CI`` is set, fail."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
