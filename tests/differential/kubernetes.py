"""Kubernetes' own prober as a process: ``prober/main.go``."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parent / "prober"


class NoGoError(Exception):
    """The program cannot be built here; the message says why."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What a prober concludes: result, text, and the error that makes it no verdict."""

    result: str
    output: str
    error: str | None


def build(directory: Path) -> Path:
    """Build the program into ``directory``; its modules are downloaded where Go has not got them.

    Raises:
        NoGoError: where there is no Go, or it cannot build the program.
    """
    if not (go := shutil.which("go")):
        raise NoGoError("Go is not installed: Kubernetes' own prober cannot be built")
    match = re.search(r"k8s.io/kubernetes v(\d+)\.(\d+)", (SOURCE / "go.mod").read_text())
    assert match
    version = "k8s.io/component-base/version.git"
    flags = f"-X {version}Major={match[1]} -X {version}Minor={match[2]}"
    program = directory / "prober"
    command = [go, "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", str(program)]
    built = subprocess.run([*command, "."], cwd=SOURCE, capture_output=True, text=True, check=False)
    if built.returncode:
        raise NoGoError(f"go build: {built.stderr.strip()}")
    return program


class KubernetesProber:
    """One running program; it answers one request after another."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"GODEBUG": ""}
        )

    def run_probe(
        self, handler: Mapping[str, Any], pod_ip: str, ports: Mapping[str, int], timeout: float
    ) -> Conclusion:
        """What Kubernetes concludes from one attempt; ``timeout`` in seconds."""
        assert self._process.stdin
        assert self._process.stdout
        container_ports = [{"name": name, "containerPort": port} for name, port in ports.items()]
        asked = {"handler": handler, "podIP": pod_ip, "ports": container_ports, "timeout": timeout}
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        output = base64.b64decode(answer["output"] or b"").decode("utf-8", "replace")
        return Conclusion(answer["result"], output, answer["error"])

    def close(self) -> None:
        """End the program."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
