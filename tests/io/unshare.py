"""Namespaces of a test's own: whether it may have them, and a busy port in one."""

import os
import shutil
import subprocess
import sys

import pytest

_HOLDER = """\
import socket, subprocess, sys
with socket.create_server(("", 15904)):
    sys.exit(subprocess.run([sys.executable, "-m", "osm_healthcheck", *sys.argv[1:]]).returncode)
"""


def can_unshare() -> bool:
    """Root, and the tools for it; where ``CI`` is set it is an error to lack them."""
    able = bool(shutil.which("unshare") and shutil.which("ip")) and os.geteuid() == 0
    assert able or "CI" not in os.environ, "CI needs root, unshare (util-linux) and ip (iproute2)"
    return able


def run_beside_a_holder_of_15904(
    *arguments: str, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command with ``text`` as its input where another process has 15904 everywhere.

    In a network of its own: such a process is in the way of every test.
    """
    if not can_unshare():
        pytest.skip("needs unshare -n and root")
    up = 'ip link set lo up && exec "$@"'
    return subprocess.run(
        ["unshare", "-n", "sh", "-c", up, "-", sys.executable, "-c", _HOLDER, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
