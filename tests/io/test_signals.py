"""What ends a command while it asks an app: one rule for all, and nothing but a newline is said."""

import asyncio
import os
import signal
import socket
import subprocess
import sys

import pytest

from osm_healthcheck.cli import coroutines
from osm_healthcheck.cli.arguments import guarded
from tests.io.wire import TIMEOUT

_START = 4 * TIMEOUT  # seconds, on a busy machine
_POD = """\
apiVersion: v1
kind: Pod
metadata: {{name: web}}
spec:
  containers:
  - {{name: app, livenessProbe: {{timeoutSeconds: {timeout}, httpGet: {{port: {port}}}}}}}
"""


@pytest.mark.parametrize(
    ("command", "number"),
    [
        ("check", signal.SIGINT),
        ("probe --once", signal.SIGTERM),
        ("diagnose", signal.SIGINT),
        ("diagnose", signal.SIGTERM),
    ],
)
def test_a_signal_ends_a_command_that_waits_for_an_answer(
    command: str, number: signal.Signals
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        arguments = command.split()
        if command == "check":
            arguments += ["--timeout", "60s", f"http://127.0.0.1:{port}/"]
        with subprocess.Popen(
            [sys.executable, "-m", "osm_healthcheck", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin is not None
            process.stdin.write(_POD.format(timeout=60, port=port))
            process.stdin.close()
            process.stdin = None
            listening.settimeout(_START)
            asked, _ = listening.accept()
            process.send_signal(number)
            said = process.communicate(timeout=TIMEOUT)
            asked.close()
    assert process.returncode == 128 + number
    assert said == ("", "\n" if number == signal.SIGINT else "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_coroutines_and_never_what_the_loop_is_in_the_middle_of(
    number: signal.Signals,
) -> None:
    """It once left a socket half registered: `cannot write: File exists`, and exit code 2."""
    done: list[str] = []

    async def work() -> None:
        def in_the_middle() -> None:
            os.kill(os.getpid(), number)
            done.append("what was under way")

        asyncio.get_running_loop().call_soon(in_the_middle)
        try:
            await asyncio.Event().wait()
        finally:
            done.append("what was begun")

    def run() -> int:
        coroutines.run(work())
        return 0

    with pytest.raises(SystemExit) as ended:
        guarded(run)
    assert (ended.value.code, done) == (128 + number, ["what was under way", "what was begun"])


def test_between_coroutines_a_signal_ends_a_command_as_before() -> None:
    async def work() -> None:
        pass

    def run() -> int:
        coroutines.run(work())
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    with pytest.raises(SystemExit) as ended:
        guarded(run)
    assert ended.value.code == 128 + signal.SIGTERM


def test_a_second_signal_ends_coroutines_at_once() -> None:
    text = """
import asyncio, os, signal
from osm_healthcheck.cli import coroutines
from osm_healthcheck.cli.arguments import guarded

async def work():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()
    finally:
        os.kill(os.getpid(), signal.SIGTERM)

guarded(lambda: coroutines.run(work()))
"""
    ended = subprocess.run([sys.executable, "-c", text], timeout=TIMEOUT, check=False)
    assert ended.returncode == -signal.SIGTERM
