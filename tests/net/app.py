"""The app of the proof: HTTP, HTTPS, TCP and gRPC, where and how a test wants it.

`App` runs this module as a program in the pod, under a user of its own. The program waits for
commands; a "start" forks a process that is the app, a "kill" ends that by SIGKILL. So an app's
life takes milliseconds, and still is that of a process.
"""

import ctypes
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from socket import socket

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tests.io import apps
from tests.io.tls import server_context

from .meshes import APP_USER
from .namespaces import Namespace
from .program import Program

HTTP, HTTPS, TCP, GRPC = 8080, 8443, 5432, 50051
UNDECLARED = 7777
"""A port on which it listens and that no probe names. It notes each connection."""

ANY = ("0.0.0.0", "::")
GREETING = b"hello from the app"

_PR_SET_PDEATHSIG = 1


@dataclass
class App:
    """The app in a pod. It does not listen until it is started."""

    pod: Namespace
    starts: int = 0
    program: Program = field(init=False)

    def __post_init__(self) -> None:
        argv = (sys.executable, "-m", __name__)
        started = self.pod.start(*argv, user=APP_USER, stdin=subprocess.PIPE)
        self.program = Program(started)

    def start(self, hosts: Sequence[str], status: int = 200) -> None:
        """Start it; when this returns it listens on ``hosts``.

        ``status`` is what its HTTP endpoints answer; where that is no success, its gRPC services
        are not serving. It takes TCP connections either way.
        """
        self.starts += 1
        self._tell({"hosts": list(hosts), "status": status})
        self.program.wait_for("listening", self.starts)

    def kill(self) -> None:
        """Kill it; when this returns nothing listens any more."""
        self._tell({})
        self.program.wait_for("killed", self.starts)

    def _tell(self, command: dict[str, object]) -> None:
        assert self.program.process.stdin is not None
        self.program.process.stdin.write(json.dumps(command) + "\n")
        self.program.process.stdin.flush()


def _serve(hosts: Sequence[str], status: int, tls: ssl.SSLContext) -> None:
    answer = apps.response(f"{status} Status", b"as told")

    def http(sock: socket) -> None:
        apps.read_head(sock)
        sock.sendall(answer)

    def https(sock: socket) -> None:
        with tls.wrap_socket(sock, server_side=True) as secure:
            http(secure)

    def hello(sock: socket) -> None:
        sock.sendall(GREETING)
        apps.hold(sock)

    def undeclared(sock: socket) -> None:
        print("reached", UNDECLARED, flush=True)
        hello(sock)

    serving: dict[int, Callable[[socket], None]]
    serving = {HTTP: http, HTTPS: https, TCP: hello, UNDECLARED: undeclared}
    listening = [apps.App(serve, host, port) for port, serve in serving.items() for host in hosts]
    states = health_pb2.HealthCheckResponse
    servicer = health.HealthServicer()
    for service in ("", "shop.Orders"):
        servicer.set(service, states.SERVING if status < 400 else states.NOT_SERVING)
    server = grpc.server(futures.ThreadPoolExecutor(2))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    # grpcio takes IPv4 and IPv6 at "::", others by that one address
    for host in {"::"} & {*hosts} or hosts:
        assert server.add_insecure_port(f"[{host}]:{GRPC}" if ":" in host else f"{host}:{GRPC}")
    server.start()
    print("listening on", len(listening), "sockets", flush=True)
    signal.pause()


def main() -> None:
    """Do as the lines on standard input say, to their end."""
    tls = server_context()
    child = 0
    for line in sys.stdin:
        command = json.loads(line)
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            child = 0
            print("killed", flush=True)
        if command:
            child = os.fork()
            if not child:
                ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                _serve(command["hosts"], command["status"], tls)


if __name__ == "__main__":
    main()
