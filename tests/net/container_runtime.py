"""A container runtime's answers, without containers: its pods are namespaces that a test has made.

It speaks the CRI by grpcio on a unix socket. The messages are those that containerd and CRI-O send
(``k8s.io/cri-api/pkg/apis/runtime/v1/api.proto``); `tests/e2e` has the agent beside containerd.
"""

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from osm_healthcheck.probes.constants import DECLARED_PROBES
from osm_healthcheck.wire.protobuf import text_field

from .namespaces import PATIENCE, Namespace

# What PodSandboxStatus tells beside the runtime specification, in JSON under the key "info":
# containerd internal/cri/types/sandbox_info.go, and CRI-O server/sandbox_status.go
# (createSandboxInfo), with the pause container and without one, which is CRI-O's default.
CONTAINERD = {"pid": 1, "processStatus": "running", "netNamespaceClosed": False, "snapshotter": "o"}
CRI_O_WITH_PAUSE = {"image": "registry.k8s.io/pause:3.10", "pid": 1}
CRI_O: dict[str, object] = {}
_NOT_READY = b"\x18\x01"  # field 3, SANDBOX_NOTREADY


def message_field(number: int, message: bytes) -> bytes:
    """A field that holds a message of less than 2 MiB."""
    size, head = len(message), bytearray()
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2]) + bytes([*head, size]) + message


@dataclass
class FakeRuntime:
    """The pods that it lists, by id; a test changes them as it likes.

    While ``hangs`` is set, no call is answered.
    """

    path: Path
    pods: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    answering: threading.Event = field(default_factory=threading.Event)

    def add(
        self,
        identity: str,
        pod: Namespace,
        probes: object,
        *,
        namespace_path: str | None = None,
        addresses: Sequence[str] = (),
        told: Mapping[str, object] = CONTAINERD,
    ) -> None:
        """List a pod that is ready and declares ``probes`` (text is taken as it is).

        Its ``addresses`` are those of ``pod`` where none are given; ``told`` is what the runtime
        tells beside the runtime specification.
        """
        text = probes if isinstance(probes, str) else json.dumps(probes)
        self.pods[identity] = pod_sandbox(identity, {DECLARED_PROBES: text})
        path = namespace_path or f"/run/netns/{pod.name}"
        namespaces = [{"type": "pid"}, {"type": "network", "path": path}]
        info = {**told, "runtimeSpec": {"linux": {"namespaces": namespaces}}}
        first, *more = addresses or (pod.ipv4, pod.ipv6)
        network = text_field(1, first) + b"".join(
            message_field(2, text_field(1, one)) for one in more
        )
        self.statuses[identity] = message_field(1, message_field(5, network)) + message_field(
            2, text_field(1, "info") + text_field(2, json.dumps(info))
        )

    def end(self, identity: str) -> None:
        """List a pod as not ready any more."""
        self.pods[identity] += _NOT_READY


@contextlib.contextmanager
def fake_runtime(path: Path) -> Iterator[FakeRuntime]:
    """Serve the CRI at ``path``."""
    runtime = FakeRuntime(path)
    runtime.answering.set()

    def answer(name: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        runtime.calls.append(name)
        runtime.answering.wait(PATIENCE)
        if name == "ListPodSandbox":
            return b"".join(message_field(1, pod) for pod in runtime.pods.values())
        identity = request[2 : 2 + request[1]].decode()
        if identity not in runtime.statuses:
            context.abort(grpc.StatusCode.NOT_FOUND, f"sandbox {identity!r} not found")
        return runtime.statuses[identity]

    handlers: dict[str, Any] = {
        name: grpc.unary_unary_rpc_method_handler(
            lambda request, context, name=name: answer(name, request, context)
        )
        for name in ("ListPodSandbox", "PodSandboxStatus")
    }
    server = grpc.server(futures.ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("runtime.v1.RuntimeService", handlers)]
    )
    server.add_insecure_port(f"unix://{path}")
    server.start()
    try:
        yield runtime
    finally:
        runtime.answering.set()
        server.stop(None).wait()


def pod_sandbox(identity: str, annotations: Mapping[str, str]) -> bytes:
    metadata = text_field(1, f"web-{identity}") + text_field(3, "shop")
    return (
        text_field(1, identity)
        + message_field(2, metadata)
        + b"".join(
            message_field(6, text_field(1, name) + text_field(2, value))
            for name, value in annotations.items()
        )
    )
