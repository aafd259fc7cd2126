"""Pods without a kubelet: sandboxes of containerd, made and removed by the CRI.

The messages are those of ``k8s.io/cri-api/pkg/apis/runtime/v1/api.proto``.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc

from osm_healthcheck.probes.constants import DECLARED_PROBES
from osm_healthcheck.wire.protobuf import message_in, text, text_field
from tests.net.container_runtime import message_field

from .build import program
from .images import write_image
from .node import PAUSE, start_containerd
from .process import Process

_RUN = "/run/sandboxes"
_SECONDS = 120.0


class Sandboxes:
    """A containerd that nobody else uses, below a folder of its own.

    Args:
        folder: on a disk.
        cgroup: below which its pods are.
    """

    socket = f"{_RUN}/containerd.sock"

    def __init__(self, folder: Path, cgroup: str) -> None:
        self._folder = folder
        self._cgroup = cgroup
        self._containerd = self._start()

    def load_pause(self) -> None:
        """Load the image that every sandbox runs."""
        archive = self._folder / "pause.tar"
        write_image(archive, PAUSE, {"/pause": program("pause")}, entrypoint=["/pause"])
        ctr = (str(program("ctr")), "--address", self.socket, "--namespace", "k8s.io")
        subprocess.run([*ctr, "images", "import", str(archive)], check=True, capture_output=True)

    def restart(self) -> None:
        """End containerd, which the sandboxes survive, and start it anew."""
        self._containerd.end()
        self._containerd = self._start()

    def end(self) -> None:
        """End containerd."""
        self._containerd.end()

    def run(self, name: str, probes: object) -> str:
        """Run a sandbox that declares ``probes``; its id."""
        metadata = b"".join(
            text_field(number, value) for number, value in ((1, name), (2, name), (3, "sandboxes"))
        )
        annotation = text_field(1, DECLARED_PROBES) + text_field(2, json.dumps(probes))
        config = message_field(1, metadata) + message_field(7, annotation)
        config += message_field(8, text_field(1, f"/{self._cgroup}"))
        return text(self._call("RunPodSandbox", message_field(1, config)), 1)

    def remove(self, identity: str) -> None:
        """Stop a sandbox and remove it."""
        for method in ("StopPodSandbox", "RemovePodSandbox"):
            self._call(method, text_field(1, identity))

    def address(self, identity: str) -> str:
        """A sandbox's address."""
        status = message_in(self._call("PodSandboxStatus", text_field(1, identity)), 1)
        return text(message_in(status, 5), 1)

    def _call(self, method: str, request: bytes) -> bytes:
        with grpc.insecure_channel(f"unix://{self.socket}") as channel:
            call: Any = channel.unary_unary(f"/runtime.v1.RuntimeService/{method}")
            reply: bytes = call(request, timeout=_SECONDS, wait_for_ready=True)
            return reply

    def _start(self) -> Process:
        root = str(self._folder / "root")
        return start_containerd(self._folder, run=_RUN, root=root, subnet="10.97.0.0/24")


@contextmanager
def sandboxes(folder: Path, cgroup: str) -> Iterator[Sandboxes]:
    """A containerd with the one image that it takes; gone with the context."""
    with ExitStack() as stack:
        running = Sandboxes(folder, cgroup)
        stack.callback(lambda: running.end())
        running.load_pause()
        yield running
