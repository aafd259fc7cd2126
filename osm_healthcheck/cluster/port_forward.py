"""Ports of a pod on this machine's loopback, by ``kubectl port-forward``.

The client library has no listening sockets of its own, and who reads a cluster has kubectl.
"""

import contextlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from osm_healthcheck.cluster.api import Cluster, ClusterError

ADDRESS = "127.0.0.1"
_FORWARDING = re.compile(r"Forwarding from .*:(\d+) -> \d+\n")


@contextlib.contextmanager
def port_forward(
    cluster: Cluster, namespace: str, pod: str, ports: Sequence[int]
) -> Iterator[dict[int, int]]:
    """The ports here, by those of the pod, while the context lasts.

    Each has a process of its own: kubectl ends where the pod refuses a connection.

    Raises:
        ClusterError: where there is no kubectl, or it says no.
    """
    if (kubectl := shutil.which("kubectl")) is None:
        raise ClusterError("kubectl, which makes the port-forward, is not in PATH")
    argv = [kubectl, *(["--kubeconfig", cluster.kubeconfig] if cluster.kubeconfig else [])]
    argv += ["--context", cluster.context] if cluster.context else []
    argv += ["-n", namespace, "port-forward", "--address", ADDRESS, f"pod/{pod}"]
    with contextlib.ExitStack() as stack:
        started = {port: stack.enter_context(_started([*argv, f":{port}"])) for port in ports}
        yield {port: one.local_port() for port, one in started.items()}


@dataclass(frozen=True, slots=True)
class _PortForward:
    process: subprocess.Popen[str]
    errors: IO[str]

    def local_port(self) -> int:
        """Wait until it listens."""
        stdout = self.process.stdout
        line = stdout.readline() if stdout else ""
        if match := _FORWARDING.fullmatch(line):
            return int(match[1])
        self.process.wait()
        self.errors.seek(0)
        said = " ".join(self.errors.read().split()) or f"exit code {self.process.returncode}"
        raise ClusterError(f"kubectl port-forward: {said}")


@contextlib.contextmanager
def _started(argv: Sequence[str]) -> Iterator[_PortForward]:
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(  # noqa: S603  # kubectl, with names that the API server gave
            argv, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            yield _PortForward(process, errors)
        finally:
            process.terminate()
