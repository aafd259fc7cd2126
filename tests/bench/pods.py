"""Pods without containers: a network namespace each, with an app in it, on a node that is ours.

The node is the network namespace of this process, which `alone` makes; nobody else sees the pods,
and they end with the process, however that ends.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench import go_daemon, load
from tests.bench.environment import Environment
from tests.bench.errors import BenchError, UsageError
from tests.bench.measurement import Column, Figures, percentile
from tests.bench.process import Process, running
from tests.net.container_runtime import FakeRuntime
from tests.net.namespaces import Namespace

APP_PORT = 8080
# a machine that others use, too, is to take its time
_PATIENT = {"timeoutSeconds": 30}
_HTTP_GET = {"httpGet": {"path": "/healthz", "port": APP_PORT}, **_PATIENT}
PROBES = {
    "app": {
        "livenessProbe": _HTTP_GET,
        "readinessProbe": {"tcpSocket": {"port": APP_PORT}, **_PATIENT},
        "startupProbe": _HTTP_GET,
    }
}
_HEAD = "Host: pod\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\nConnection: close\r\n\r\n"
HTTP = (15901, f"GET /osm-liveness-probe HTTP/1.1\r\n{_HEAD}".encode())
STARTUP = (15903, f"GET /osm-startup-probe HTTP/1.1\r\n{_HEAD}".encode())
CHECK = (
    15904,
    f"GET /osm-healthcheck HTTP/1.1\r\nOriginal-Tcp-Port: {APP_PORT}\r\n{_HEAD}".encode(),
)
ALL = (HTTP, CHECK, STARTUP)
_NETNS = Path("/run/netns")
_PATIENCE_SECONDS = 30.0
_STATUS = ("127.0.0.1", 9092)
_IS_ALONE = "TESTS_BENCH_IS_ALONE"


def alone(root: Path | None) -> None:
    """Go on in mount and network namespaces of one's own, by starting this program anew.

    Inside ``root`` /proc and the namespace files are at the same place, and what is written to its
    /tmp and /run is gone with the process.

    Raises:
        UsageError: where this is not root.
    """
    if os.geteuid() != 0:
        raise UsageError("network namespaces take root")
    if _IS_ALONE not in os.environ:
        os.environ |= {_IS_ALONE: "yes", "GRPC_VERBOSITY": "NONE"}
        argv = ["unshare", "--mount", "--net", "--propagation", "private", sys.executable]
        os.execvp(argv[0], [*argv, "-m", "tests.bench.node", *sys.argv[1:]])
    _NETNS.mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "none", str(_NETNS))
    _run("mount", "--make-shared", str(_NETNS))
    if root is not None:
        for name in ("run", "tmp"):
            _run("mount", "-t", "tmpfs", "none", str(root / name))
        (root / "run/netns").mkdir()
        for path in ("/proc", str(_NETNS)):
            _run("mount", "--rbind", path, f"{root}{path}")
    _run("ip", "link", "set", "lo", "up")


def make_pod(number: int) -> Namespace:
    """The pod ``number``, from 0 to 254, which this process, the node, can reach."""
    pod = Namespace(f"pod-{number}", f"10.20.{number}.2", "")
    peer = f"node{number}"
    _run("ip", "netns", "add", pod.name)
    link = ("link", "add", "eth0", "netns", pod.name, "type", "veth", "peer", "name", peer)
    _run("ip", *link)
    node = f"address add 10.20.{number}.1/24 dev {peer}\nlink set {peer} up\n"
    _run("ip", "-batch", "-", stdin=node)
    inside = f"link set lo up\naddress add {pod.ipv4}/24 dev eth0\nlink set eth0 up\n"
    _run("ip", "-n", pod.name, "-batch", "-", stdin=inside)
    # as many probes of one address as there are here take more ports than there are
    _run("ip", "netns", "exec", pod.name, "sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1")
    return pod


@contextlib.contextmanager
def apps(environment: Environment, pods: Sequence[Namespace]) -> Iterator[None]:
    """An app in each pod, that listens."""
    paths = [str(_NETNS / pod.name) for pod in pods]
    own = environment.own_python
    command = own.command("tests.bench.servers.pod_apps", *paths)
    core = environment.cores.load
    with running("apps", command, core=core, environment=own.environment) as process:
        for pod in pods:
            until_answered(process, pod, (APP_PORT, HTTP[1]))
        yield


def agent(
    environment: Environment, runtime: FakeRuntime, root: Path | None
) -> contextlib.AbstractContextManager[Process]:
    """Node mode for what ``runtime`` lists."""
    options = ("node", "--runtime", _seen_from(root, runtime.path), "--status", _status(0))
    return environment.server("node mode", environment.python.command("osm_healthcheck", *options))


@contextlib.contextmanager
def two_processes(
    environment: Environment, runtime: FakeRuntime, root: Path | None
) -> Iterator[list[Process]]:
    """Node mode where one process makes sockets and another one serves, beside `agent`."""
    path = _seen_from(root, runtime.path.with_suffix(".sockets"))
    told = ("--runtime", _seen_from(root, runtime.path), "--server-user", "0")
    commands = {
        "node-sockets": ("node-sockets", path, *told),
        "node --sockets": ("node", "--sockets", path, "--status", _status(1)),
    }
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                environment.server(name, environment.python.command("osm_healthcheck", *options))
            )
            for name, options in commands.items()
        ]


def _seen_from(root: Path | None, path: Path) -> str:
    return str(path if root is None else Path("/") / path.relative_to(root))


def _status(number: int) -> str:
    return f"{_STATUS[0]}:{_STATUS[1] + number}"


def sidecar(environment: Environment, pod: Namespace) -> contextlib.AbstractContextManager[Process]:
    """The sidecar, in a pod."""
    command = environment.python.command("osm_healthcheck", "--probes", json.dumps(PROBES))
    return environment.server("sidecar", [*_inside(pod), *command])


def go(environment: Environment, pod: Namespace) -> contextlib.AbstractContextManager[Process]:
    """OSM's Go daemon, in a pod.

    Raises:
        LeftOutError: where it cannot be had.
    """
    binary = str(go_daemon.binary(environment.cache))
    return environment.server(go_daemon.NAME, [*_inside(pod), binary])


def ask(pod: Namespace, probe: tuple[int, bytes]) -> bytes:
    """What is answered to one probe, by a connection of its own."""
    port, request = probe
    with socket.create_connection((pod.ipv4, port), 5.0) as caller:
        caller.sendall(request)
        answer = b""
        while received := caller.recv(65536):
            answer += received
        return answer


def require_success(answer: bytes) -> None:
    """Raise where a probe did not succeed."""
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise BenchError(f"a probe was answered by {answer[:200]!r}")


RATE_COLUMNS = (
    Column("p50", "p50 ms", 2),
    Column("p99", "p99 ms", 2),
    Column("failed", "failed"),
)


def ask_at_a_rate(asked: Sequence[Namespace], rate: float, seconds: float) -> Figures:
    """Ask every probe of every pod in turn: milliseconds of one, and how many failed."""
    latencies, failed = [], 0
    for number in load.at_a_rate(rate, seconds):
        pod = asked[number // len(ALL) % len(asked)]
        start = time.perf_counter_ns()
        try:
            require_success(ask(pod, ALL[number % len(ALL)]))
        except (OSError, BenchError):
            failed += 1
        latencies.append(time.perf_counter_ns() - start)
    latencies.sort()
    return {
        "p50": percentile(latencies, 0.5) / 1e6,
        "p99": percentile(latencies, 0.99) / 1e6,
        "most": latencies[-1] / 1e6,
        "failed": failed,
    }


@contextlib.contextmanager
def attacker(environment: Environment, pod: Namespace, kind: str) -> Iterator[None]:
    """Somebody in a pod who attacks its own probes' ports; see servers/attacker.py."""
    own = environment.own_python
    path = str(_NETNS / pod.name)
    command = own.command("tests.bench.servers.attacker", kind, pod.ipv4, path)
    # behind the apps and those who probe, which have the same core
    slow = ["nice", "-n", "19", *command]
    core = environment.cores.load
    with running(f"attacker ({kind})", slow, core=core, environment=own.environment) as process:
        yield
        process.require_alive()


def until_answered(server: Process, pod: Namespace, probe: tuple[int, bytes]) -> None:
    """Ask until a probe succeeds."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    answer = b""
    while time.monotonic() < deadline:
        try:
            answer = ask(pod, probe)
        except OSError:
            answer = b""
        if answer.startswith(b"HTTP/1.1 200 "):
            return
        server.require_alive()
        time.sleep(0.0005)
    raise BenchError(f"{server.name}: no 200 in {pod.name}: {answer!r}\n{server.last_words()}")


def _inside(pod: Namespace) -> tuple[str, str]:
    return ("nsenter", f"--net={_NETNS / pod.name}")


def _run(*command: str, stdin: str = "") -> None:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: {done.stderr.strip()}")
