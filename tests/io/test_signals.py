"""What ends a command while it asks an app: one rule for all, and nothing but a newline is said."""

import signal
import socket
import subprocess
import sys

import pytest

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
