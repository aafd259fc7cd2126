"""Node mode as a test runs it: an agent, pods, and probes of them."""

import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .container_runtime import FakeRuntime
from .namespaces import PATIENCE, Namespace, pod_and_node
from .program import Program

APP = 8080
PROBES = {
    "app": {
        "livenessProbe": {"httpGet": {"path": "/livez", "port": APP}, "timeoutSeconds": PATIENCE},
        "readinessProbe": {"tcpSocket": {"port": APP}, "timeoutSeconds": PATIENCE},
    }
}
# what `securityContext` does to a container with runAsUser, allowPrivilegeEscalation: false and
# capabilities that are all dropped
WITHOUT_RIGHTS = (
    *("setpriv", "--reuid=15904", "--regid=15904", "--clear-groups", "--no-new-privs"),
    *("--bounding-set=-all", "--inh-caps=-all", "--"),
)
LIVENESS = b"GET /osm-liveness-probe HTTP/1.1\r\nHost: a\r\n\r\n"
CHECK = f"GET /osm-healthcheck HTTP/1.1\r\nHost: a\r\nOriginal-Tcp-Port: {APP}\r\n\r\n".encode()


def answer(word: str) -> str:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(word)}\r\nConnection: close\r\n\r\n{word}"


def ask(node: Namespace, address: str, port: int, request: bytes) -> bytes:
    """What the pod at ``address`` answers to its node; empty where it refuses."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with node.socket(family) as connection:
        connection.settimeout(PATIENCE)
        try:
            connection.connect((address, port))
        except ConnectionRefusedError:
            return b""
        connection.sendall(request)
        said = b""
        while data := connection.recv(4096):
            said += data
        return said


@contextmanager
def pods(count: int) -> Iterator[list[tuple[Namespace, Namespace]]]:
    """Pods, each with a node of its own and an app that says which pod's it is."""
    with ExitStack() as stack:
        found = [stack.enter_context(pod_and_node()) for _ in range(count)]
        for number, (pod, _) in enumerate(found):
            stack.enter_context(pod.serving({APP: answer(f"pod {number}")}))
        yield found


@contextmanager
def agent(runtime: FakeRuntime, *more: str, sockets: Path | None = None) -> Iterator[Program]:
    """A running agent, which has served what the runtime lists."""
    with started(runtime, *more, sockets=sockets) as program:
        program.wait_for('"started"')
        yield program


@contextmanager
def started(runtime: FakeRuntime, *more: str, sockets: Path | None = None) -> Iterator[Program]:
    """A starting agent, which ends with the block; without any right where others make sockets."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "osm_healthcheck", "node", "--status", f"127.0.0.1:{port}"]
    where = ["--runtime", str(runtime.path)]
    if sockets is not None:
        where = ["--sockets", str(sockets)]
        command = [*WITHOUT_RIGHTS, *command]
    with running(*command, *where, *more) as program:
        program.status = f"http://127.0.0.1:{port}"  # type: ignore[attr-defined]
        yield program


@contextmanager
def sockets_process(runtime: FakeRuntime, path: Path, *more: str) -> Iterator[Program]:
    """The process that has the rights, for an agent that has none."""
    path.parent.chmod(0o777)  # as the folder that two containers share
    command = (sys.executable, "-m", "osm_healthcheck", "node-sockets", str(path))
    with running(*command, "--runtime", str(runtime.path), *more) as program:
        program.wait_for('"ready"')
        yield program


@contextmanager
def running(*command: str) -> Iterator[Program]:
    """A program that ends with the block."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    program = Program(process)
    with process:
        try:
            yield program
        finally:
            program.end()


def status(program: Program, path: str) -> str:
    with urllib.request.urlopen(program.status + path, timeout=PATIENCE) as response:  # type: ignore[attr-defined]
        return str(response.read().decode())


def until(condition: Callable[[], bool]) -> None:
    """Look again and again: the kernel tells nobody when a listener goes away."""
    patience = threading.Event()
    for _ in range(PATIENCE * 50):
        if condition():
            return
        patience.wait(0.02)
    raise AssertionError("it did not come about")


def namespaces_of(program: Program) -> set[str]:
    """The network namespaces that the agent holds open."""
    folder = Path(f"/proc/{program.process.pid}/fd")
    found = set()
    for one in folder.iterdir():
        try:
            found.add(str(one.readlink()))
        except FileNotFoundError:
            continue
    return {name for name in found if name.startswith(("net:", "/run/netns", "/proc/"))}


@contextmanager
def probing(node: Namespace, address: str) -> Iterator[list[bytes]]:
    """Probe on and on; the answers."""
    answers: list[bytes] = []
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            try:
                answers.append(ask(node, address, 15904, CHECK))
            except OSError as error:
                answers.append(repr(error).encode())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    try:
        yield answers
    finally:
        over.set()
        for one in threads:
            one.join(PATIENCE)
