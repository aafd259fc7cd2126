"""15904: ``/osm-healthcheck`` for tcpSocket and grpc probes, ``/healthz`` and ``/metrics``."""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from aiohttp.http_parser import RawRequestMessage

from osm_healthcheck.core.constants import (
    HEALTHCHECK_PATH,
    HEALTHZ_PATH,
    METRICS_PATH,
    ORIGINAL_GRPC_PORT,
    ORIGINAL_GRPC_SERVICE,
    ORIGINAL_TCP_PORT,
)
from osm_healthcheck.core.ports import OwnPorts, parse_port
from osm_healthcheck.core.targets import CheckTarget, Targets
from osm_healthcheck.daemon.connection import Connection
from osm_healthcheck.daemon.crowd import Crowd
from osm_healthcheck.daemon.reach import Reach
from osm_healthcheck.daemon.results import MAX_UNDECLARED_TARGETS, Result, Results
from osm_healthcheck.wire.dial import Attempt
from osm_healthcheck.wire.errors import BadAnswerError, RefusedError, WireError

# A check that nobody declared has no timeout of its own: it ends when its caller leaves, or here.
UNDECLARED_SECONDS = 30.0
ALLOW = b"Allow: GET, HEAD\r\n"


class CheckEndpoint:
    """Answers checks. ``targets`` is ``None`` where any port may be asked for."""

    def __init__(
        self,
        targets: Targets | None,
        ports: OwnPorts,
        reach: Reach,
        results: Results,
        crowd: Crowd,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._declared = None if targets is None else targets.checks
        self._undeclared: dict[tuple[int, str | None], CheckTarget] = {}
        self._ports = ports
        self._reach = reach
        self._results = results
        self._crowd = crowd
        self._loop = loop

    def take_over(self, connection: Connection, first: bytes) -> bool:
        """See `Endpoint`: there is nothing behind TLS here."""
        return False

    def answer(self, connection: Connection, request: RawRequestMessage) -> None:
        """See `Endpoint`."""
        path = request.url.raw_path
        if path not in (HEALTHCHECK_PATH, HEALTHZ_PATH, METRICS_PATH):
            connection.respond(404, f"no such path; checks are at {HEALTHCHECK_PATH}")
        elif request.method not in ("GET", "HEAD"):
            connection.respond(405, "a check is a GET or a HEAD", ALLOW)
        elif path == HEALTHCHECK_PATH:
            self._check(connection, request.headers)
        elif path == HEALTHZ_PATH:
            connection.respond(200, "the sidecar is serving")
        else:
            connection.start(self._metrics(connection))

    def _check(self, connection: Connection, headers: Any) -> None:
        try:
            key = _read_target(headers)
        except _UnclearError as error:
            connection.respond(400, str(error))
            return
        if key[0] in self._ports:
            connection.respond(400, f"port {key[0]} is the sidecar's own")
            return
        target = self._target(key)
        if target is None:
            connection.respond(403, f"{CheckTarget(*key)}: not declared")
            return
        addresses = self._reach.addresses(connection.local_address)
        if target.service is None:
            self._check_tcp(connection, target, addresses)
        else:
            caller = headers.get("User-Agent", "kube-probe/").encode("utf-8", "surrogateescape")
            connection.start(self._check_grpc(connection, target, addresses, caller))

    def _target(self, key: tuple[int, str | None]) -> CheckTarget | None:
        if self._declared is not None:
            return self._declared.get(key)
        target = self._undeclared.get(key)
        if target is None:
            target = CheckTarget(*key)
            if len(self._undeclared) < MAX_UNDECLARED_TARGETS:
                self._undeclared[key] = target
        return target

    def _check_tcp(
        self, connection: Connection, target: CheckTarget, addresses: Sequence[str]
    ) -> None:
        """Decide the check in this very call, as far as the kernel can."""
        started = perf_counter()
        refusal: RefusedError | None = None
        for number, address in enumerate(addresses):
            try:
                attempt = Attempt(address, target.port)
                if not attempt.pending:
                    attempt.confirm()
            except RefusedError as error:
                refusal = refusal or error
                continue
            if attempt.pending:
                rest = addresses[number + 1 :]
                work = self._finish_tcp(connection, target, attempt, rest, refusal, started)
                connection.start(work)
                return
            attempt.sock.close()
            self._conclude(connection, target, started, None)
            return
        self._conclude(connection, target, started, refusal)

    async def _finish_tcp(
        self,
        connection: Connection,
        target: CheckTarget,
        attempt: Attempt,
        rest: Sequence[str],
        refusal: RefusedError | None,
        started: float,
    ) -> None:
        outcome: WireError | TimeoutError | None = None
        try:
            async with asyncio.timeout(_seconds(target)):
                while True:
                    try:
                        await attempt.finish()
                        attempt.confirm()
                        attempt.sock.close()
                        break
                    except RefusedError as error:
                        refusal = refusal or error
                        if not rest:
                            raise refusal from None
                        attempt, rest = Attempt(rest[0], target.port), rest[1:]
        except (RefusedError, TimeoutError) as error:
            outcome = error
        self._conclude(connection, target, started, outcome)

    async def _check_grpc(
        self, connection: Connection, target: CheckTarget, addresses: Sequence[str], caller: bytes
    ) -> None:
        from osm_healthcheck.wire import grpc_health

        started = perf_counter()
        outcome: WireError | TimeoutError | None = None
        try:
            await grpc_health.check(
                addresses,
                target.port,
                target.service or "",
                self._loop.time() + _seconds(target),
                caller,
            )
        except (WireError, TimeoutError) as error:
            outcome = error
        self._conclude(connection, target, started, outcome)

    def _conclude(
        self,
        connection: Connection,
        target: CheckTarget,
        started: float,
        outcome: WireError | TimeoutError | None,
    ) -> None:
        seconds = perf_counter() - started
        match outcome:
            case None:
                status, result = 200, Result.SUCCESS
                reason = "connected" if target.service is None else "SERVING"
            case TimeoutError():
                status, result = 504, Result.TIMEOUT
                reason = f"no answer after {seconds:.3f} s"
            case RefusedError():
                status, result, reason = 404, Result.REFUSED, str(outcome)
            case BadAnswerError():
                status, result = 503, Result.BAD_ANSWER
                reason = f"not a gRPC server: {outcome}"
            case _:
                status, result, reason = 503, Result.FAILURE, str(outcome)
        self._results.record(target, result, seconds, reason)
        connection.respond(status, f"{target}: {reason}")

    async def _metrics(self, connection: Connection) -> None:
        # The first scrape loads a library: in a thread, so that probes go on being answered.
        metrics = await asyncio.to_thread(_load_metrics)
        body = metrics.render(self._results.tallies(), len(self._crowd))
        connection.respond_with(200, metrics.CONTENT_TYPE.encode(), body)


def _load_metrics() -> Any:
    from osm_healthcheck.daemon import metrics

    return metrics


def _seconds(target: CheckTarget) -> float:
    return UNDECLARED_SECONDS if target.deadline is None else target.deadline


class _UnclearError(Exception):
    """The headers do not say what to check."""


def _read_target(headers: Any) -> tuple[int, str | None]:
    """The port and service that the headers ask for."""
    tcp = headers.getall(ORIGINAL_TCP_PORT, ())
    grpc = headers.getall(ORIGINAL_GRPC_PORT, ())
    services = headers.getall(ORIGINAL_GRPC_SERVICE, ())
    if not tcp and not grpc:
        raise _UnclearError(f"the header {ORIGINAL_TCP_PORT} or {ORIGINAL_GRPC_PORT} is missing")
    if len(tcp) + len(grpc) > 1 or len(services) > 1:
        raise _UnclearError("more than one port or service is asked for")
    name, text = (ORIGINAL_TCP_PORT, tcp[0]) if tcp else (ORIGINAL_GRPC_PORT, grpc[0])
    port = parse_port(text)
    if port is None:
        raise _UnclearError(f"{name} is not a port from 1 to 65535 in plain digits: {text[:80]!r}")
    if tcp:
        if services:
            raise _UnclearError(f"{ORIGINAL_GRPC_SERVICE} goes with {ORIGINAL_GRPC_PORT}")
        return port, None
    service = services[0] if services else ""
    if not service.isprintable():
        raise _UnclearError(f"{ORIGINAL_GRPC_SERVICE} is no name of a service: {service[:80]!r}")
    return port, service
