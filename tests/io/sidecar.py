"""Sidecars to test: in this process, quick to start, or as the process that an image runs."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import structlog
import uvloop

from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.server.logs import Log
from osm_healthcheck.server.options import read_settings
from osm_healthcheck.server.serve import serve
from osm_healthcheck.server.shutdown import Shutdown
from tests.io.wire import TIMEOUT, Answer, get, own_address

HEALTHCHECK, LIVENESS, READINESS, STARTUP = 15904, 15901, 15902, 15903
PORTS = {"liveness": LIVENESS, "readiness": READINESS, "startup": STARTUP}

Probes = Mapping[str, Mapping[str, Mapping[str, Any]]]


class Sidecar:
    """A running sidecar at an address of its own, with the default ports."""

    def __init__(self, address: str, lines: list[dict[str, Any]]) -> None:
        self.address = address
        self.lines = lines

    def check(self, port: object, **more: Any) -> Answer:
        """A tcpSocket check of ``port``."""
        return get(
            self.address, HEALTHCHECK, "/osm-healthcheck", {"Original-Tcp-Port": str(port)}, **more
        )

    def grpc(self, port: int, service: str | None = None) -> Answer:
        """A grpc check of ``port``."""
        headers = {"Original-Grpc-Port": str(port)}
        if service is not None:
            headers["Original-Grpc-Service"] = service
        return get(self.address, HEALTHCHECK, "/osm-healthcheck", headers)

    def probe(self, kind: str = "liveness", container: str = "", **more: Any) -> Answer:
        """A rewritten httpGet probe."""
        path = ProbeKind(kind).path + (f"/{container}" if container else "")
        return get(self.address, PORTS[kind], path, **more)

    def logged(self, message: str) -> list[dict[str, Any]]:
        """The log lines so far with this message."""
        return [line for line in self.lines if line["message"] == message]


@contextlib.contextmanager
def sidecar(
    probes: Probes | None = None,
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    address: str = "",
) -> Iterator[Sidecar]:
    """Run a sidecar in a thread of this process; ``probes=None`` declares none."""
    address = address or own_address()
    declared = [] if probes is None else ["--probes", json.dumps(probes)]
    settings = read_settings(["--bind", address, *declared, *arguments], environ or {})
    lines: list[dict[str, Any]] = []
    started = threading.Event()
    stop: list[Any] = []
    failure: list[BaseException] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        shutdown: asyncio.Future[Shutdown] = loop.create_future()
        stop.append(lambda: loop.call_soon_threadsafe(shutdown.set_result, Shutdown.FINISH))
        task = loop.create_task(serve(settings, capture(lines), shutdown, ready))
        waiting = loop.create_task(ready.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not task.done():
            started.set()
        await task

    def main() -> None:
        try:
            uvloop.run(run())
        except BaseException as error:
            failure.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=main, daemon=True)
    thread.start()
    assert started.wait(TIMEOUT)
    if failure:
        raise failure[0]
    try:
        yield Sidecar(address, lines)
    finally:
        with contextlib.suppress(RuntimeError):  # its loop is closed: it has failed
            stop[0]()
        thread.join(TIMEOUT)
        assert not thread.is_alive(), "the sidecar did not end"
        if failure:
            raise failure[0]


def http_probe(port: int, path: str = "/", **more: Any) -> dict[str, Any]:
    """An httpGet probe; ``timeoutSeconds`` aside, ``more`` goes into the action."""
    timeout = {"timeoutSeconds": more.pop("timeoutSeconds")} if "timeoutSeconds" in more else {}
    return {"httpGet": {"path": path, "port": port, **more}, **timeout}


def tcp_probe(port: int, **more: Any) -> dict[str, Any]:
    """A tcpSocket probe."""
    return {"tcpSocket": {"port": port}, **more}


class Process:
    """The sidecar as a process of its own, with its log lines as they come."""

    def __init__(
        self,
        arguments: list[str],
        environ: Mapping[str, str] | None = None,
        *,
        bind: bool = True,
        prefix: Sequence[str] = (),
    ) -> None:
        self.address = own_address()
        if bind:
            arguments = [*arguments, "--bind", self.address]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("OSM_")}
        self.popen = subprocess.Popen(
            [*prefix, sys.executable, "-m", "osm_healthcheck", *arguments],
            env={**inherited, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[dict[str, Any]] = []
        self.text: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, message: str, times: int = 1) -> dict[str, Any]:
        """Wait for a log line with this message, the last of so many."""

        def found() -> dict[str, Any] | None:
            lines = [line for line in self.lines if line.get("message") == message]
            return lines[times - 1] if len(lines) >= times else None

        with self._changed:
            self._changed.wait_for(lambda: found() or self._ended, TIMEOUT * 3)
        line = found()
        assert line is not None, f"no {message!r} in {self.text}"
        return line

    def wait(self) -> int:
        """Wait for the end; the exit code."""
        code = self.popen.wait(TIMEOUT * 2)
        self._reader.join(TIMEOUT)
        return code

    def end(self) -> None:
        """End it if it still runs."""
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        self._reader.join(TIMEOUT)
        for pipe in (self.popen.stdout, self.popen.stderr):
            if pipe is not None:
                pipe.close()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.popen.send_signal(number)

    def _read(self) -> None:
        assert self.popen.stderr is not None
        for text in self.popen.stderr:
            with self._changed:
                self.text.append(text)
                with contextlib.suppress(ValueError):
                    self.lines.append(json.loads(text))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


@contextlib.contextmanager
def process(
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    bind: bool = True,
    prefix: Sequence[str] = (),
) -> Iterator[Process]:
    """Run ``osm-healthcheck`` with these arguments; ``prefix`` begins the command."""
    running = Process(list(arguments), environ, bind=bind, prefix=prefix)
    try:
        yield running
    finally:
        running.end()


def capture(lines: list[dict[str, Any]]) -> Log:
    """A log that keeps its lines, down to debug."""

    def keep(_logger: object, method: str, event: Any) -> Any:
        lines.append({"level": method, "message": event["event"], **event})
        raise structlog.DropEvent

    everything: Any = structlog.make_filtering_bound_logger(0)
    return Log(everything(None, [keep], {}))
