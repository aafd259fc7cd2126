"""A sidecar without a socket to ask with says so, and not that the app refused."""

import contextlib
import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from osm_healthcheck.kubelet.address import PodAddress, dial_error
from osm_healthcheck.wire.dial import Attempt, Network
from osm_healthcheck.wire.errors import NoSocketError, RefusedError
from tests.io.apps import App, app, hold
from tests.io.sidecar import HEALTHCHECK, LIVENESS, READINESS, Process, http_probe, process
from tests.io.wire import connect, get, read_to_end

TOO_MANY = b"the app was not asked, because there is no socket to ask with: too many open files\n"


@pytest.fixture(scope="module")
def target() -> Iterator[App]:
    with app(hold) as running:
        yield running


@pytest.fixture(scope="module")
def running(target: App) -> Iterator[Process]:
    probes = {
        "app": {
            "livenessProbe": http_probe(target.port),
            "readinessProbe": http_probe(target.port, scheme="HTTPS"),
            "startupProbe": {"tcpSocket": {"port": target.port}},
        },
        "grpc": {"livenessProbe": {"grpc": {"port": target.port}}},
    }
    with process("--probes", json.dumps(probes)) as started:
        started.wait_for("ready")
        get(started.address, HEALTHCHECK, "/healthz")
        yield started


@contextlib.contextmanager
def one_file_left(pid: int) -> Iterator[None]:
    """Let a process open one more file, which its caller's connection will be."""
    opened = {int(name) for name in os.listdir(Path(f"/proc/{pid}/fd"))}  # noqa: PTH208
    free = next(number for number in range(len(opened) + 1) if number not in opened)
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free + 1, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("port", "path", "header"),
    [
        (HEALTHCHECK, "/osm-healthcheck", "Original-Tcp-Port"),
        (HEALTHCHECK, "/osm-healthcheck", "Original-Grpc-Port"),
        (LIVENESS, "/osm-liveness-probe", "X"),
    ],
)
def test_it_is_500_and_the_app_is_not_accused(
    running: Process, target: App, port: int, path: str, header: str
) -> None:
    headers = {header: str(target.port)}
    with one_file_left(running.popen.pid):
        answer = get(running.address, port, path, headers)
    assert answer.status == 500
    assert answer.body.endswith(TOO_MANY)


def test_tls_is_closed_as_after_a_refusal(running: Process) -> None:
    with one_file_left(running.popen.pid), connect(running.address, READINESS) as sock:
        sock.sendall(b"\x16\x03\x01\x00\x01\x00")
        assert read_to_end(sock)[0] == b""


def test_the_kubelet_s_words() -> None:
    def none_left(_: int) -> None:
        raise OSError(24, "Too many open files")

    with pytest.raises(NoSocketError) as caught:
        Attempt("10.0.0.1", 80, Network(make_socket=none_left))  # type: ignore[arg-type]
    assert dial_error(caught.value) == "dial tcp 10.0.0.1:80: socket: too many open files"


def test_a_zone_that_is_not_here_is_an_address_that_cannot_be_asked() -> None:
    with pytest.raises(RefusedError) as caught:
        Attempt("fe80::1%nowhere", 80, PodAddress().network)
    expected = "dial tcp [fe80::1%nowhere]:80: connect: invalid argument"
    assert dial_error(caught.value) == expected
