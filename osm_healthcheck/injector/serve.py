"""The life of the injector: bind, get a certificate, serve, drain, end."""

import asyncio
import gc
import logging
import socket
import time
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osm_healthcheck.injector.certificate import CertificateDirectory, ServingCertificate
from osm_healthcheck.injector.health import Health, HealthEndpoint
from osm_healthcheck.injector.metrics import Metrics
from osm_healthcheck.injector.pod_admission import Outcome, PodAdmission
from osm_healthcheck.injector.webhook import Webhook
from osm_healthcheck.server.listen import bind_all
from osm_healthcheck.server.listener import Listener
from osm_healthcheck.server.logs import Log
from osm_healthcheck.server.rate_limit import RateLimit
from osm_healthcheck.server.settings import ANY_ADDRESS
from osm_healthcheck.server.shutdown import Shutdown, on_signals
from osm_healthcheck.wire.errors import authority

if TYPE_CHECKING:
    from osm_healthcheck.injector.shared_certificate import SharedCertificateSettings

_CERTIFICATE, _ENDING = "certificate", "ending"
_FINISH_SECONDS = 10.0
_SOCKET_BUFFER_BYTES = 256 * 1024
_EXPIRY_SECONDS = 60.0
_LINES_PER_SECOND, _LINES_BURST = 1, 5
# A pod in memory is thousands of mappings, none of them garbage until it is answered: with Python's
# 700 each admission would be gone through several times.
_OBJECTS_TO_COLLECT = 20_000


@dataclass(frozen=True, slots=True)
class InjectorSettings:
    """What the injector was told; ``drain`` is in seconds."""

    admission: PodAdmission
    certificate: "Path | SharedCertificateSettings"
    port: int = 9090
    health_port: int = 9091
    bind: tuple[str, ...] = ANY_ADDRESS
    drain: float = 10.0


async def serve(
    settings: InjectorSettings,
    log: Log,
    shutdown: Awaitable[Shutdown],
    ready: asyncio.Event | None = None,
) -> None:
    """Run the injector until ``shutdown`` says how to end; ``ready`` is set once it admits pods.

    Raises:
        ListenError: where a port cannot be had.
    """
    injector = _Injector(settings, log)
    await injector.start(ready)
    how = await shutdown
    log.info("ending", drain=settings.drain if how is Shutdown.DRAIN else 0)
    await injector.stop(how)
    log.info("ended")


async def serve_until_signalled(settings: InjectorSettings, log: Log) -> None:
    """Run the injector as a process of its own: SIGTERM drains, SIGINT does not.

    Raises:
        ListenError: where a port cannot be had.
    """
    await serve(settings, log, on_signals(asyncio.get_running_loop()))


class _Injector:
    def __init__(self, settings: InjectorSettings, log: Log) -> None:
        self._settings = settings
        self._log = log
        self._limit = RateLimit(_LINES_PER_SECOND, _LINES_BURST)
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._on_loop_error)
        self._health = Health()
        self._metrics = Metrics(log, self._connections_refused)
        for mesh in settings.admission.injections:
            # a counter that begins with its first failure shows Prometheus no increase
            self._metrics.admissions.labels(mesh, Outcome.FAILED.value)
        self._certificate = ServingCertificate()
        self._webhook = Webhook(settings.admission, self._metrics, log)
        self._listeners: list[Listener] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, ready: asyncio.Event | None) -> None:
        """Bind both ports, answer on that of health, and on the other one with a certificate."""
        settings = self._settings
        ports = {"": settings.port, "health": settings.health_port}
        optional = settings.bind is ANY_ADDRESS
        bound = bind_all(settings.bind, ports, optional_ipv6=optional, options={"": "--port"})
        self._metrics.ready.set_function(lambda: float(not self._health.reason))
        self._metrics.certificate_expiry.set_function(lambda: self._certificate.expiry)
        self._problem("no certificate yet")
        health = HealthEndpoint(self._health, self._metrics)
        self._listeners.append(Listener(bound["health"], health.answer))
        self._run("the watch on the certificate", self._keep_certificate())
        self._run("the start of the webhook", self._admit(bound[""], ready))
        self._run("the watch on the certificate's end", self._watch_expiry())

    async def stop(self, how: Shutdown) -> None:
        """End; with `Shutdown.DRAIN` only when callers have had time to go to other replicas."""
        self._health.not_ready[_ENDING] = "it is ending"
        self._webhook.is_ending = True
        if how is Shutdown.DRAIN and self._certificate.installed.is_set():
            await asyncio.sleep(self._settings.drain)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for listener in reversed(self._listeners):  # that of health, the first, ends last
            await listener.close(_FINISH_SECONDS)

    def _connections_refused(self) -> int:
        return sum(one.refused for one in self._listeners)

    def _keep_certificate(self) -> Coroutine[Any, Any, None]:
        source, shared = self._settings.certificate, (self._certificate, self._log, self._problem)
        if isinstance(source, Path):
            return CertificateDirectory(source, *shared).watch()
        from osm_healthcheck.injector.shared_certificate import SharedCertificate

        return SharedCertificate(source, *shared).keep()

    async def _admit(self, sockets: list[socket.socket], ready: asyncio.Event | None) -> None:
        """Accept the API server's calls once there is a certificate; until then they wait."""
        await self._certificate.installed.wait()
        for one in sockets:  # those of connections: a pod comes in one piece
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER_BYTES)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
        self._listeners.append(
            Listener(
                sockets,
                self._webhook.answer,
                context=self._certificate.context,
            )
        )
        # what is there now stays: no collection has to go through it again
        gc.collect()
        gc.freeze()
        gc.set_threshold(_OBJECTS_TO_COLLECT)
        self._log.info("ready", listening=[authority(*one.getsockname()[:2]) for one in sockets])
        if ready is not None:
            ready.set()

    async def _watch_expiry(self) -> None:
        """Not ready any more when the certificate has expired: no API server takes it."""
        await self._certificate.installed.wait()
        while True:
            if self._certificate.expiry <= time.time():
                self._problem("the certificate has expired")
            await asyncio.sleep(_EXPIRY_SECONDS)

    def _problem(self, text: str) -> None:
        """What is wrong with the certificate; empty where nothing is."""
        if text:
            self._health.not_ready[_CERTIFICATE] = text
        else:
            self._health.not_ready.pop(_CERTIFICATE, None)

    def _run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        def done(task: "asyncio.Task[None]") -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self._health.failure = f"{name} ended: {error}"
                self._log.error(f"{name} ended", error)

        task = self._loop.create_task(work)
        task.add_done_callback(done)
        self._tasks.append(task)

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What the event loop has to say: of callers that speak no TLS nobody has to know."""
        if isinstance(error := context.get("exception"), OSError):  # those of TLS included
            self._log.limited(logging.DEBUG, self._limit, context["message"], error=str(error))
        else:
            self._log.asyncio_error(loop, context)
