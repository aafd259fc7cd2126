"""The whole suite runs in two processes, each in a network of its own, as tests bind fixed ports.

That takes root; without it, and where tests are named on the command line, there is one process.
``-n`` says otherwise (pytest-xdist).
"""

import ctypes
import os
import signal
import socket
import struct
from fcntl import ioctl

import pytest
from hypothesis import HealthCheck, settings

# Properties are about values, not about how long a busy machine takes to draw and to try them.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

WORKERS = 2
"""Tests wait for events up to a limit: with more processes than cores some would not hold it."""

_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_IFREQ = "16sh14x"


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Ask pytest-xdist for its processes, which must not ask for more of them in turn."""
    if _is_worker(config) or os.geteuid() != 0 or config.getoption("usepdb"):
        return
    whole_suite = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if whole_suite and config.getoption("numprocesses", 0) is None:
        config.option.numprocesses = WORKERS
        config.option.dist = "worksteal"


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several processes a network of its own, and let commands be interrupted."""
    # A shell that starts the suite in the background has SIGINT ignored, and so would every child.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if _is_worker(config) and os.geteuid() == 0:
        _own_network()


def _is_worker(config: pytest.Config) -> bool:
    return "PYTEST_XDIST_WORKER" in os.environ or hasattr(config, "workerinput")


def _own_network() -> None:
    # os.unshare() came with Python 3.12. Threads and processes that start from here on follow.
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare: no network namespace of its own")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        request = struct.pack(_IFREQ, b"lo", 0)
        _, flags = struct.unpack(_IFREQ, ioctl(here, _SIOCGIFFLAGS, request))
        ioctl(here, _SIOCSIFFLAGS, struct.pack(_IFREQ, b"lo", flags | _IFF_UP))
