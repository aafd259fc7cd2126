"""15904: ``/osm-healthcheck`` for tcpSocket and grpc probes, ``/healthz``, and pages about us.

``/metrics`` is for everyone, the status page at ``/`` for callers on loopback. Lifecycle hooks are
on this port, too, and are the business of ``hooks``.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from osm_healthcheck.probes.addresses import AppAddresses
from osm_healthcheck.probes.constants import (
    HEALTHCHECK_PATH,
    HEALTHZ_PATH,
    METRICS_PATH,
    ORIGINAL_GRPC_PORT,
    ORIGINAL_GRPC_SERVICE,
    ORIGINAL_TCP_PORT,
    STATUS_PATH,
)
from osm_healthcheck.probes.hooks import is_hook_path
from osm_healthcheck.probes.ports import OwnPorts, parse_port
from osm_healthcheck.probes.request import short
from osm_healthcheck.probes.targets import CheckTarget, Targets
from osm_healthcheck.server.page import LoopbackReply, Page, PageReply
from osm_healthcheck.server.reply import (
    ALLOW,
    Caller,
    RememberedHeads,
    Reply,
    ResetReply,
    TextReply,
    text_answer,
)
from osm_healthcheck.server.request import Request
from osm_healthcheck.server.results import MAX_UNDECLARED_TARGETS, Results, TargetResult
from osm_healthcheck.wire.dial import Attempt, Network, check_dial
from osm_healthcheck.wire.errors import BadAnswerError, NoSocketError, RefusedError, WireError

if TYPE_CHECKING:
    from osm_healthcheck.server.hooks import LifecycleHooks

# A check that nobody declared has no timeout of its own: it ends when its caller leaves, or here.
UNDECLARED_SECONDS = 30.0
# Each holds a connection to the app so long; so many hold one at once for a target.
MAX_UNDECLARED_GRPC_CHECKS = 8
_CONNECTED = "connected"
_UNKNOWN = f"no such path; checks are at {HEALTHCHECK_PATH}"


class CheckEndpoint:
    """Answers checks. ``targets`` is ``None`` where any port may be asked for.

    ``pages`` are those about the sidecar, by path; ``hooks`` is ``None`` where none is declared.
    """

    def __init__(
        self,
        targets: Targets | None,
        ports: OwnPorts,
        app_addresses: AppAddresses,
        network: Network,
        results: Results,
        pages: Mapping[str, Page],
        loop: asyncio.AbstractEventLoop,
        hooks: "LifecycleHooks | None" = None,
    ) -> None:
        self._hooks = hooks
        self._declared = None if targets is None else targets.checks
        self._undeclared: dict[tuple[int, str | None], CheckTarget] = {}
        self._turns: WeakValueDictionary[tuple[int, str | None], asyncio.Semaphore]
        self._turns = WeakValueDictionary()
        self._ports = ports
        self._app_addresses = app_addresses
        self._network = network
        self._results = results
        self._pages = pages
        self._loop = loop
        self.remembered = RememberedHeads()

    def take_over(self, connection: Caller, first: bytes) -> bool:
        """See `Endpoint`: there is nothing behind TLS here."""
        return False

    def resolve(self, request: Request) -> Reply:
        """See `Endpoint`."""
        path = request.path

        def text(status: int, line: str, headers: bytes = b"") -> Reply:
            return TextReply(status, line, headers, head_only=request.head_only)

        if is_hook_path(path):
            return self._hook(request)
        if path not in (HEALTHCHECK_PATH, HEALTHZ_PATH, METRICS_PATH, STATUS_PATH):
            return text(404, _UNKNOWN)
        if request.method not in ("GET", "HEAD"):
            wrong = text(405, "a check is a GET or a HEAD", ALLOW)
            return LoopbackReply(wrong, text(404, _UNKNOWN)) if path == STATUS_PATH else wrong
        if path == HEALTHZ_PATH:
            return text(200, "the sidecar is serving")
        if path in self._pages:
            page = PageReply(self._pages[path], head_only=request.head_only)
            return LoopbackReply(page, text(404, _UNKNOWN)) if path == STATUS_PATH else page
        try:
            key = _read_target(request)
        except _UnclearError as error:
            return text(400, str(error))
        if key[0] in self._ports:
            return text(400, f"port {key[0]} is the sidecar's own")
        target = self._target(key)
        if target is None:
            return text(403, f"{CheckTarget(*key)}: not declared")
        return _CheckReply(self, target, request)

    def _hook(self, request: Request) -> Reply:
        """A hook that is not declared has no status either: 404 would be a success."""
        if request.method != "GET":
            text = "a lifecycle hook is a GET"
            return TextReply(405, text, b"Allow: GET\r\n", head_only=request.head_only)
        found = None if self._hooks is None else self._hooks.resolve(request)
        return found or ResetReply()

    def check(self, connection: Caller, reply: "_CheckReply") -> None:
        """Check the target of ``reply``, and answer."""
        target = reply.target
        addresses = self._app_addresses.addresses(connection.local_address)
        if target.service is None:
            self._check_tcp(connection, reply, addresses)
        else:
            caller = reply.user_agent.encode("utf-8", "surrogateescape")
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
        self, connection: Caller, reply: "_CheckReply", addresses: Sequence[str]
    ) -> None:
        """Decide the check in this very call, as far as the kernel can."""
        started = perf_counter()
        target = reply.target
        refusal: RefusedError | None = None
        for number, address in enumerate(addresses):
            try:
                attempt = Attempt(address, target.port, self._network, will_read=False)
                if not attempt.pending:
                    attempt.confirm()
            except RefusedError as error:
                refusal = refusal or error
                continue
            except NoSocketError as error:
                self._conclude(connection, target, started, error)
                return
            if attempt.pending:
                rest = addresses[number + 1 :]
                work = self._finish_tcp(connection, target, attempt, rest, refusal, started)
                connection.start(work)
                return
            attempt.sock.close()
            seconds = perf_counter() - started
            self._results.record(target, TargetResult.SUCCESS, seconds, _CONNECTED)
            connection.send(reply.connected)
            return
        self._conclude(connection, target, started, refusal)

    async def _finish_tcp(
        self,
        connection: Caller,
        target: CheckTarget,
        attempt: Attempt,
        rest: Sequence[str],
        refusal: RefusedError | None,
        started: float,
    ) -> None:
        outcome: WireError | TimeoutError | None = None
        try:
            async with asyncio.timeout(_seconds(target)):
                try:
                    await attempt.finish()
                    attempt.confirm()
                    attempt.sock.close()
                except RefusedError as error:
                    refusal = refusal or error
                    if not rest:
                        raise refusal from None
                    try:
                        await check_dial(rest, target.port, self._network)
                    except RefusedError:
                        raise refusal from None
        except (RefusedError, NoSocketError, TimeoutError) as error:
            outcome = error
        self._conclude(connection, target, started, outcome)

    async def _check_grpc(
        self, connection: Caller, target: CheckTarget, addresses: Sequence[str], caller: bytes
    ) -> None:
        from osm_healthcheck.wire import grpc_health

        started = perf_counter()
        deadline = self._loop.time() + _seconds(target)
        outcome: WireError | TimeoutError | None = None
        try:
            async with self._turn(target, deadline):
                await grpc_health.check(
                    addresses, target.port, target.service or "", deadline, self._network, caller
                )
        except (WireError, TimeoutError) as error:
            outcome = error
        self._conclude(connection, target, started, outcome)

    @contextlib.asynccontextmanager
    async def _turn(self, target: CheckTarget, deadline: float) -> AsyncIterator[None]:
        """Wait until fewer than `MAX_UNDECLARED_GRPC_CHECKS` ask a target that nobody declared.

        Of a port's targets, those past the number that are told apart count as one.

        Raises:
            TimeoutError: where that is not before ``deadline``, a time of the loop.
        """
        if target.deadline is not None:
            yield
            return
        key: tuple[int, str | None] = (target.port, target.service)
        if key not in self._undeclared:
            key = (target.port, None)
        turns = self._turns.setdefault(key, asyncio.Semaphore(MAX_UNDECLARED_GRPC_CHECKS))
        async with asyncio.timeout_at(deadline):
            await turns.acquire()
        try:
            yield
        finally:
            turns.release()

    def _conclude(
        self,
        connection: Caller,
        target: CheckTarget,
        started: float,
        outcome: WireError | TimeoutError | None,
    ) -> None:
        seconds = perf_counter() - started
        match outcome:
            case None:
                status, result = 200, TargetResult.SUCCESS
                reason = _CONNECTED if target.service is None else "SERVING"
            case TimeoutError():
                status, result = 504, TargetResult.TIMEOUT
                reason = f"no answer after {seconds:.3f} s"
            case NoSocketError():
                status, result, reason = 500, TargetResult.FAILURE, str(outcome)
            case RefusedError():
                status, result, reason = 404, TargetResult.REFUSED, str(outcome)
            case BadAnswerError():
                status, result = 503, TargetResult.BAD_ANSWER
                reason = f"not a gRPC server: {outcome}"
            case _:
                status, result, reason = 503, TargetResult.FAILURE, str(outcome)
        self._results.record(target, result, seconds, reason)
        connection.respond(status, f"{target}: {reason}")


class _CheckReply:
    """A check; see `Reply`.

    ``connected`` is the whole answer where a TCP check succeeds, ``user_agent`` for gRPC checks.
    """

    __slots__ = ("_endpoint", "connected", "head_only", "held_bytes", "target", "user_agent")
    lasting = True

    def __init__(self, endpoint: CheckEndpoint, target: CheckTarget, request: Request) -> None:
        self._endpoint = endpoint
        self.target = target
        self.head_only = request.head_only
        grpc = target.service is not None
        self.user_agent = (short(request.first("User-Agent")) or "kube-probe/") if grpc else ""
        self.connected = text_answer(200, f"{target}: {_CONNECTED}", head_only=self.head_only)
        self.held_bytes = len(self.user_agent) + len(self.connected)

    def answer(self, connection: Caller) -> None:
        """See `Reply`."""
        self._endpoint.check(connection, self)


def _seconds(target: CheckTarget) -> float:
    return UNDECLARED_SECONDS if target.deadline is None else target.deadline


class _UnclearError(Exception):
    """The headers do not say what to check."""


def _read_target(request: Request) -> tuple[int, str | None]:
    """The port and service that the headers ask for."""
    tcp = request.values(ORIGINAL_TCP_PORT)
    grpc = request.values(ORIGINAL_GRPC_PORT)
    services = request.values(ORIGINAL_GRPC_SERVICE)
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
