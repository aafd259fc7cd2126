"""What an admission costs: admissions a second on one core, the latency of 200 a second, memory.

    python -m tests.bench.injector [SECONDS]

The injector is a process of its own on one core, its callers are on another: they keep their TLS
connections, as an API server does. Latency counts from the moment at which a request was due, so
that a queue shows. Where other processes have the core as well, the CPU of an admission says more
than the rate.

Beside it, OSM's own injector (`osm_injector/main.go`): its webhook alone, asked for a dry run, in
which it writes no Secret. Its pods get a proxy, and each a certificate of its own: an RSA key of
2,048 bits is most of what an admission costs there. It is not asked 200 times a second, and is left
out, in words, where it cannot be built.
"""

import contextlib
import json
import os
import queue
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.errors import LeftOutError
from tests.bench.go_daemon import default_cache, program
from tests.bench.measurement import percentile
from tests.io.injector import PATH, WEBHOOK, injector, review
from tests.io.tls import authority

_SIZES = (10_000, 100_000)
_CALLERS = 4
_RATE = 200
_RATE_CALLERS = 16
_END_OF_HEAD, _LAST_CHUNK = b"\r\n\r\n", b"\r\n0\r\n\r\n"


_OSM = "OSM's injector"
_OSM_SOURCE = Path(__file__).parent / "osm_injector" / "main.go"
_START_SECONDS = 30.0


def main() -> None:
    """Measure, and print one line a size and injector."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    cores = sorted(os.sched_getaffinity(0))
    peer = None
    try:
        peer = program(default_cache(), "osm-injector-v1.2.4", _OSM, _OSM_SOURCE)
    except LeftOutError as error:
        print(error)
    os.sched_setaffinity(0, cores[1:] or cores)
    print(
        f"{'':<16} {'pod':>6} {'admissions/s':>13} {'CPU each':>10} {'p50 at 200/s':>13} "
        f"{'p99 at 200/s':>13} {'RSS':>9}"
    )
    for size in _SIZES:
        asked = review(_pod(size), dryRun=True)
        body = json.dumps(asked, separators=(",", ":")).encode()
        with injector() as running:
            os.sched_setaffinity(running.popen.pid, cores[:1])
            ours = _Measured("osm-healthcheck", running.popen.pid, running.address, f"{PATH}/istio")
            _measure(ours, body, seconds)
        if peer:
            with _running(peer, cores[0]) as pid:
                _measure(_Measured(_OSM, pid, "127.0.0.1", PATH), body, seconds)


@dataclass(frozen=True, slots=True)
class _Measured:
    """An injector that is measured: its name, its process, and what is asked."""

    name: str
    pid: int
    address: str
    path: str


def _measure(running: _Measured, body: bytes, seconds: float) -> None:
    _as_fast_as_it_goes(running, body, min(1.0, seconds))
    used = _cpu_seconds(running.pid)
    count, took = _as_fast_as_it_goes(running, body, seconds)
    used = _cpu_seconds(running.pid) - used
    latencies = sorted(_at_a_rate(running, body, seconds)) if running.name != _OSM else []
    milliseconds = [
        f"{percentile(latencies, share) / 1e6:.1f} ms" if latencies else "-"
        for share in (0.5, 0.99)
    ]
    print(
        f"{running.name:<16} {len(body) // 1000:>3} kB {count / took:>13,.0f} "
        f"{used / count * 1e6:>7,.0f} µs {milliseconds[0]:>13} {milliseconds[1]:>13} "
        f"{_rss(running.pid) / 1e6:>6.1f} MB",
        flush=True,
    )


@contextlib.contextmanager
def _running(program: Path, core: int) -> Iterator[int]:
    """The process of OSM's injector, on one core; it listens on all addresses."""
    here = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [core])  # for all of its threads, as they inherit it
    process = subprocess.Popen([program], stderr=subprocess.DEVNULL)
    os.sched_setaffinity(0, here)
    try:
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", WEBHOOK)).close()
                break
            except ConnectionRefusedError:
                if process.poll() is not None or time.monotonic() > end:
                    raise
                time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _pod(size: int) -> dict[str, Any]:
    """A pod of two containers that is ``size`` bytes of JSON, most of them in variables."""

    def container(name: str, variables: int) -> dict[str, Any]:
        return {
            "name": name,
            "image": "registry.example/app:1",
            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            "env": [
                {"name": f"VARIABLE_{number}", "value": f"some value of variable {number:06}"}
                for number in range(variables)
            ],
            "livenessProbe": {"httpGet": {"path": "/live", "port": "http", "scheme": "HTTP"}},
            "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 5},
            "volumeMounts": [{"name": "token", "mountPath": "/var/run/token", "readOnly": True}],
        }

    def pod(variables: int) -> dict[str, Any]:
        containers = [container("app", variables // 2), container("worker", variables // 2)]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"generateName": "web-", "labels": {"app": "web"}},
            "spec": {"containers": containers, "volumes": [{"name": "token", "emptyDir": {}}]},
        }

    variables = 2
    while len(json.dumps(pod(variables), separators=(",", ":"))) < size:
        variables += 2
    return pod(variables)


@dataclass
class _Caller:
    """One connection that is used again and again."""

    sock: ssl.SSLSocket

    @classmethod
    def of(cls, running: _Measured) -> "_Caller":
        context = ssl.create_default_context()
        authority().configure_trust(context)
        if running.name == _OSM:  # whose authority nobody knows here
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        raw = socket.create_connection((running.address, WEBHOOK))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(context.wrap_socket(raw, server_hostname=running.address))

    def ask(self, request: bytes) -> None:
        self.sock.sendall(request)
        answer = self.sock.recv(1 << 18)
        while _END_OF_HEAD not in answer:
            answer += self.sock.recv(1 << 18)
        head, _, body = answer.partition(_END_OF_HEAD)
        while b"chunked" in head and not body.endswith(_LAST_CHUNK):
            body += self.sock.recv(1 << 18)
        length = head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]
        left = int(length or len(body)) - len(body)
        while left > 0:
            body += (piece := self.sock.recv(1 << 18))
            left -= len(piece)
        assert head.startswith(b"HTTP/1.1 200")
        assert b'"patch"' in body


def _request(running: _Measured, body: bytes) -> bytes:
    head = (
        f"POST {running.path}?timeout=5s HTTP/1.1\r\nHost: {running.address}:{WEBHOOK}\r\n"
        f"User-Agent: kube-apiserver-admission\r\nContent-Length: {len(body)}\r\n"
        "Accept: application/json, */*\r\nContent-Type: application/json\r\n\r\n"
    )
    return head.encode() + body


def _as_fast_as_it_goes(running: _Measured, body: bytes, seconds: float) -> tuple[int, float]:
    """How many admissions callers that never wait have had, and in how many seconds."""
    request, counts = _request(running, body), [0] * _CALLERS
    end = time.perf_counter() + seconds

    def call(number: int) -> None:
        caller = _Caller.of(running)
        while time.perf_counter() < end:
            caller.ask(request)
            counts[number] += 1
        caller.sock.close()

    began = time.perf_counter()
    _together(call, _CALLERS)
    return sum(counts), time.perf_counter() - began


def _at_a_rate(running: _Measured, body: bytes, seconds: float) -> list[int]:
    """Nanoseconds from the moment when each request was due to its answer."""
    request, latencies = _request(running, body), list[int]()
    due: queue.SimpleQueue[float | None] = queue.SimpleQueue()

    def call(_number: int) -> None:
        caller = _Caller.of(running)
        while (moment := due.get()) is not None:
            caller.ask(request)
            latencies.append(int((time.perf_counter() - moment) * 1e9))
        caller.sock.close()

    def tick() -> None:
        time.sleep(0.5)  # until all are connected
        began = time.perf_counter()
        for number in range(int(seconds * _RATE)):
            moment = began + number / _RATE
            time.sleep(max(0.0, moment - time.perf_counter()))
            due.put(moment)
        for _ in range(_RATE_CALLERS):
            due.put(None)

    ticking = threading.Thread(target=tick)
    ticking.start()
    _together(call, _RATE_CALLERS)
    ticking.join()
    return latencies


def _together(work: Any, count: int) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) * 1024


if __name__ == "__main__":
    main()
