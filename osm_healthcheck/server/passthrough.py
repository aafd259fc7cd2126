"""TLS bytes from the kubelet to the app and back, without a look inside."""

import asyncio
import socket
from collections.abc import Sequence
from time import perf_counter

from osm_healthcheck.probes.targets import ANSWER_MARGIN, HTTPTarget
from osm_healthcheck.server.reply import Caller
from osm_healthcheck.server.results import Results, TargetResult
from osm_healthcheck.wire.dial import Network, dial
from osm_healthcheck.wire.errors import BrokenOffError, NoSocketError, RefusedError
from osm_healthcheck.wire.stream import Stream

# Of what a caller sends the kernel keeps so much until the app reads it; left alone, it keeps up to
# 4 MiB. It doubles the number.
UPSTREAM_BUFFER_BYTES = 4 * 1024


async def pass_through(
    connection: Caller,
    target: HTTPTarget,
    addresses: Sequence[str],
    first: bytes,
    network: Network,
    results: Results,
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Connect ``connection``, whose caller began with ``first``, to the app of ``target``.

    Where the app refuses there is nobody who could say so in TLS: the connection is closed, which
    fails the probe as a refusal does. Where the app stalls or resets, the connection is reset: FIN
    would be the end of an answer without a length (Go takes it for one without ``close_notify``).
    That comes after the kubelet has given up itself: Go minds no end of a redirect's body, and one
    before that would have it follow a redirect that it does not follow without us.
    """
    limit = target.deadline + 2 * ANSWER_MARGIN
    too_late = f"not over after {target.deadline:.3f} s"
    started = perf_counter()
    stream: Stream | None = None
    heard = False
    broken = False
    reason = ""
    try:
        async with asyncio.timeout(limit):
            stream, _ = await dial(addresses, target.port, network)
            stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UPSTREAM_BUFFER_BYTES)
            upstream = loop.create_task(_to_app(connection, stream, first))
            try:
                while data := await stream.receive():
                    heard = True
                    await connection.write(data)
            finally:
                upstream.cancel()
        result, reason = TargetResult.PASSED, "passed through"
        if perf_counter() - started > target.deadline:  # it ended because its caller did
            result, reason = TargetResult.TIMEOUT, too_late
        elif not heard:
            result, reason = TargetResult.BROKEN, "the app closed the connection without a byte"
    except RefusedError as error:
        result, reason = TargetResult.REFUSED, str(error)
    except NoSocketError as error:
        result, reason = TargetResult.FAILURE, str(error)
    except BrokenOffError as error:
        broken = True
        result, reason = TargetResult.BROKEN, str(error)
    except TimeoutError:
        broken = True
        result, reason = TargetResult.TIMEOUT, too_late
    except asyncio.CancelledError:
        # The caller left first, as the kubelet does once it has its answer, or none in time.
        if (took := perf_counter() - started) > target.deadline:
            results.record(target, TargetResult.TIMEOUT, took, too_late)
        elif heard:
            results.record(target, TargetResult.PASSED, took, "passed through")
        raise
    finally:
        if stream is not None:
            stream.abandon()
        if broken:
            connection.reset()
        else:
            connection.close()
    results.record(target, result, perf_counter() - started, reason)


async def _to_app(connection: Caller, stream: Stream, data: bytes) -> None:
    try:
        while data:
            if left := stream.try_to_send(data):
                taken = connection.held_up()
                await stream.send(left)
                taken.set_result(None)
            data = await connection.receive()
        stream.end()
    except BrokenOffError:
        pass  # the other direction sees it too, and says so
