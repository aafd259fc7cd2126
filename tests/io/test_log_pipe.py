"""A log that nobody reads: it may cost lines, and no probe, no signal and no exit code."""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from osm_healthcheck.server.log_writer import LogWriter
from tests.io.apps import app, hold
from tests.io.sidecar import HEALTHCHECK
from tests.io.wire import TIMEOUT, closed_port, get, own_address

PIPE_BYTES = 4096


@contextlib.contextmanager
def small_pipe() -> Iterator[tuple[int, int]]:
    """The reading and the writing end of a pipe that takes one page."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    try:
        yield reading, writing
    finally:
        for fd in (reading, writing):
            with contextlib.suppress(OSError):
                os.close(fd)


def fill(writing: int) -> None:
    """Let the next write to a pipe block."""
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * PIPE_BYTES)
    os.set_blocking(writing, True)


def exit_code(command: list[str], stderr: int) -> int:
    return subprocess.run(command, stderr=stderr, timeout=TIMEOUT, check=False).returncode


class Running:
    """A sidecar whose standard error is ``stderr``."""

    def __init__(self, stderr: int, *arguments: str) -> None:
        self.address = own_address()
        command = [sys.executable, "-m", "osm_healthcheck", "--bind", self.address, *arguments]
        self.popen = subprocess.Popen(command, stderr=stderr)

    def wait_until_serving(self) -> None:
        while True:
            try:
                get(self.address, HEALTHCHECK, "/healthz")
                return
            except ConnectionRefusedError:
                assert self.popen.poll() is None

    def check(self, port: int) -> int:
        headers = {"Original-Tcp-Port": str(port)}
        return get(self.address, HEALTHCHECK, "/osm-healthcheck", headers).status

    def lost(self) -> float:
        """The log lines that could not be written, as /metrics has them."""
        text = get(self.address, HEALTHCHECK, "/metrics").body.decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.labels.get("reason") == "not_written":
                    return sample.value
        raise AssertionError("no such metric")


@contextlib.contextmanager
def running(stderr: int, *arguments: str) -> Iterator[Running]:
    sidecar = Running(stderr, *arguments)
    try:
        sidecar.wait_until_serving()
        yield sidecar
    finally:
        sidecar.popen.kill()
        sidecar.popen.wait()


def test_a_full_pipe_stops_neither_probes_nor_sigterm() -> None:
    with small_pipe() as (_, writing), closed_port() as closed, app(hold) as target:
        fill(writing)
        with running(writing) as sidecar:
            assert sidecar.check(closed) == 404
            assert sidecar.check(target.port) == 200
            assert os.get_blocking(writing)  # it may be somebody's terminal
            sidecar.popen.send_signal(signal.SIGTERM)
            assert sidecar.popen.wait(TIMEOUT) == 0


def test_a_port_that_cannot_be_had_is_1_with_a_full_pipe() -> None:
    with small_pipe() as (_, writing), socket.socket() as holder:
        fill(writing)
        address = own_address()
        holder.bind((address, HEALTHCHECK))
        holder.listen()
        command = [sys.executable, "-m", "osm_healthcheck", "--bind", address]
        assert exit_code(command, writing) == 1


def test_the_last_lines_are_written_before_the_end() -> None:
    with small_pipe() as (reading, writing):
        with running(writing) as sidecar:
            sidecar.popen.send_signal(signal.SIGINT)
            assert sidecar.popen.wait(TIMEOUT) == 0
        messages = [json.loads(line)["message"] for line in os.read(reading, 65536).splitlines()]
    assert messages[-2:] == ["ending", "ended"]


ENDING = """
import sys, threading
from osm_healthcheck.cli.process import run_until_told

wait_for = threading.Condition.wait_for

def shown(self, predicate, timeout=None):
    if threading.current_thread() is threading.main_thread():
        print(timeout, flush=True)
    return wait_for(self, predicate, timeout)

threading.Condition.wait_for = shown

async def serve(log):
    log.warning("never written")

sys.exit(run_until_told(serve, "test", "info", "json"))
"""


def test_the_end_waits_for_a_full_pipe_for_a_tenth_of_a_second() -> None:
    with small_pipe() as (reading, writing):
        fill(writing)
        ran = subprocess.run(
            [sys.executable, "-c", ENDING], stdout=subprocess.PIPE, stderr=writing, timeout=TIMEOUT
        )
        os.set_blocking(reading, False)
        assert os.read(reading, 2 * PIPE_BYTES) == b"x" * PIPE_BYTES
    assert (ran.returncode, ran.stdout) == (0, b"0.1\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_full_device_changes_no_exit_code(number: signal.Signals) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with running(full) as sidecar:
            assert sidecar.check(1) == 404
            while sidecar.lost() < 2:  # the lines of the start and this check's
                pass
            sidecar.popen.send_signal(number)
            assert sidecar.popen.wait(TIMEOUT) == 0
    finally:
        os.close(full)


def test_a_port_that_cannot_be_had_is_1_on_a_full_device() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        command = [sys.executable, "-m", "osm_healthcheck", "--bind", "192.0.2.1"]
        assert exit_code(command, full) == 1
    finally:
        os.close(full)


def test_a_pipe_that_is_gone_counts_its_lines() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with running(writing) as sidecar:
            while sidecar.lost() < 2:
                pass
            sidecar.popen.send_signal(signal.SIGINT)
            assert sidecar.popen.wait(TIMEOUT) == 0
    finally:
        os.close(writing)


# -- the writer by itself


def notice(lines: int) -> str:
    return f"lost {lines}\n"


def read_lines(reading: int, count: int) -> list[str]:
    """So many lines, as they come."""
    text = b""
    while text.count(b"\n") < count:
        ready, _, _ = select.select([reading], [], [], TIMEOUT)
        assert ready, text
        text += os.read(reading, 65536)
    return text.decode().splitlines()


def test_lines_come_whole_and_in_order() -> None:
    with small_pipe() as (reading, writing):
        writer = LogWriter(writing, notice)
        lines = [f"line {number} {'x' * 500}\n" for number in range(100)]
        for line in lines:
            writer.write(line)
        assert [f"{line}\n" for line in read_lines(reading, 100)] == lines
        assert writer.lost == 0


def test_a_line_in_pieces_is_one_line() -> None:
    # as print() and traceback write
    with small_pipe() as (reading, writing):
        writer = LogWriter(writing, notice)
        for piece in ("osm-healthcheck: ", "cannot", "\n", "and\nso"):
            writer.write(piece)
        assert read_lines(reading, 2) == ["osm-healthcheck: cannot", "and"]


def test_what_waits_is_bounded_and_the_next_line_says_what_is_lost() -> None:
    with small_pipe() as (reading, writing):
        fill(writing)
        writer = LogWriter(writing, notice)
        line = "x" * 1023 + "\n"
        fit = 64  # 64 KiB, as docs/sidecar.md says
        for _ in range(fit + 10):
            writer.write(line)
        assert writer.lost == 10
        assert os.read(reading, PIPE_BYTES) == b"x" * PIPE_BYTES
        assert len(read_lines(reading, fit)) == fit
        writer.end(TIMEOUT)
        writer.write("after\n")
        assert read_lines(reading, 2) == ["lost 10", "after"]
        writer.write("more\n")
        assert read_lines(reading, 1) == ["more"]


def test_lines_that_fail_are_told_once_others_get_through(tmp_path: Path) -> None:
    # A descriptor that fails and then does not: the number stays, what is behind it changes.
    fd = os.open("/dev/full", os.O_WRONLY)
    file = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    try:
        writer = LogWriter(fd, notice)
        for _ in range(3):
            writer.write("lost\n")
            writer.end(TIMEOUT)
        assert writer.lost == 3
        os.dup2(file, fd)
        writer.write("through\n")
        writer.end(TIMEOUT)
    finally:
        os.close(fd)
        os.close(file)
    assert (tmp_path / "log").read_text() == "lost 3\nthrough\n"
    assert writer.lost == 3


def test_the_end_does_not_wait_for_a_full_pipe() -> None:
    with small_pipe() as (reading, writing):
        fill(writing)
        writer = LogWriter(writing, notice)
        writer.write("never\n")
        writer.end(0.01)  # back at all is what matters: the pipe stays full
        assert os.read(reading, PIPE_BYTES) == b"x" * PIPE_BYTES
        assert read_lines(reading, 1) == ["never"]


def test_a_descriptor_that_does_not_block_loses_nothing() -> None:
    # somebody else who has the terminal may have set it so
    with small_pipe() as (reading, writing):
        os.set_blocking(writing, False)
        writer = LogWriter(writing, notice)
        lines = [f"line {number} {'x' * 500}\n" for number in range(50)]
        for line in lines:
            writer.write(line)
        assert [f"{line}\n" for line in read_lines(reading, 50)] == lines
        assert writer.lost == 0


def test_no_thread_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    # as where the pod's limit of processes is reached
    import threading

    def refuse(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    with small_pipe() as (reading, writing):
        writer = LogWriter(writing, notice)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            writer.write("lost\n")
        assert writer.lost == 1
        writer.write("through\n")
        assert read_lines(reading, 2) == ["lost 1", "through"]
