"""100 probes at once, each against an app that does its worst, in the memory that a pod has."""

import contextlib
import json
import socket
import threading

import pytest

from osm_healthcheck.probes.constants import ProbeKind
from tests.io.apps import app, read_head, read_until_gone
from tests.io.cgroup import memory_cgroup
from tests.io.sidecar import HEALTHCHECK, LIVENESS, http_probe, process
from tests.io.tls import server_context
from tests.io.wire import TIMEOUT, connect, get

PROBES = 100
# what injection sets; a container's limit counts the memory of its sockets, too
LIMIT = 64 << 20
OK = b"HTTP/1.1 200 OK\r\n"
LONG = 60
BODY = b"\r\n" + b"x" * (8 << 20)
APPS = {
    "half a line": OK + b"A: " + b"x" * (63 << 10),
    "half a line of 900 kB": OK + b"A: " + b"x" * 900_000,
    "half a head of tiny fields": OK + b"a:\r\n" * 470,
    "half a head of continuation lines": OK + b"A: b\r\n" + b" c\r\n" * (15 << 10),
    "informational answers": b"HTTP/1.1 103 X\r\nA: b\r\n\r\n" * 300,
    "tiny fields and a body": OK + b"a:\r\n" * 470 + BODY,
    "a long field and a body": OK + b"A: " + b"x" * (60 << 10) + b"\r\n" + BODY,
    "chunks of a byte": OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * (1 << 12),
    "fields without end": OK + b"a:\r\n" * (1 << 20),
}
OVER_TLS = ("half a line", "a long field and a body")
CASES = [(name, "HTTP") for name in APPS] + [(name, "HTTPS") for name in OVER_TLS]


class WorstApp:
    """Sends ``answer``, as far as anybody takes it, and then keeps the connection."""

    def __init__(self, answer: bytes, *, tls: bool) -> None:
        self._answer = answer
        self._tls = server_context("http/1.1") if tls else None
        self._stuck = 0
        self._changed = threading.Condition()

    def serve(self, sock: socket.socket) -> None:
        with self._tls.wrap_socket(sock, server_side=True) if self._tls else sock as stream:
            read_head(stream)
            sent = 0
            stream.settimeout(1)
            with contextlib.suppress(OSError):  # nobody takes more, or the connection was ended
                while sent < len(self._answer):
                    sent += stream.send(self._answer[sent : sent + 65536])
            with self._changed:
                self._stuck += 1
                self._changed.notify_all()
            stream.settimeout(TIMEOUT)
            with contextlib.suppress(OSError):
                read_until_gone(stream)

    def wait_until_all_are_stuck(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._stuck >= PROBES, 4 * TIMEOUT), self._stuck


@pytest.mark.parametrize(("name", "scheme"), CASES)
def test_a_hundred_at_once_fit(name: str, scheme: str) -> None:
    worst = WorstApp(APPS[name], tls=scheme == "HTTPS")
    containers = [f"c{number}" for number in range(PROBES)]
    with memory_cgroup() as cgroup, app(worst.serve) as running:
        cgroup.limit(LIMIT)
        probe = http_probe(running.port, scheme=scheme, timeoutSeconds=LONG)
        declared = {name: {"livenessProbe": probe} for name in containers}
        with (
            process("--probes", json.dumps(declared), prefix=cgroup.prefix) as sidecar,
            contextlib.ExitStack() as callers,
        ):
            sidecar.wait_for("ready")
            for container in containers:
                caller = callers.enter_context(connect(sidecar.address, LIVENESS))
                path = f"{ProbeKind.LIVENESS.path}/{container}"
                caller.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            worst.wait_until_all_are_stuck()
            assert get(sidecar.address, HEALTHCHECK, "/healthz").status == 200
            assert sum(cgroup.peak()) <= LIMIT, cgroup.peak()
