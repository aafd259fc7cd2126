"""One attempt at each kind of probe: ``pkg/probe/tcp``, ``pkg/probe/grpc``, and the choice.

Every failure is put in the words of the kubelet, whose client is Go's ``net`` or grpc-go.
"""

import asyncio
from collections.abc import Mapping

from osm_healthcheck.kubelet.address import (
    USER_AGENT,
    LookupFailedError,
    PodAddress,
    dial_error,
    resolve,
)
from osm_healthcheck.kubelet.httpget import get
from osm_healthcheck.kubelet.verdict import Result, Verdict, go_duration
from osm_healthcheck.probes.probe import (
    ExecAction,
    GRPCAction,
    Handler,
    TCPSocketAction,
)
from osm_healthcheck.wire.dial import check_dial
from osm_healthcheck.wire.errors import (
    DialError,
    WireError,
    authority,
)


async def run_handler(
    handler: Handler | None,
    time_limit: float,
    pod: PodAddress,
    ports: Mapping[str, int],
    *,
    owner: str = "",
) -> Verdict:
    """Try ``handler`` once, as ``prober.runProbe`` does; ``time_limit`` in seconds.

    ``ports`` are the container's named ports, ``owner`` is ``pod_namespace(uid):container``.
    An ``exec`` handler is not run: its verdict is unknown.
    """
    match handler:
        case None:
            return Verdict(Result.UNKNOWN, error=f"missing probe handler for {owner}")
        case ExecAction():
            return Verdict(Result.UNKNOWN, error="exec probes run inside the container")
        case GRPCAction():
            return await _check_grpc(handler, time_limit, pod)
    try:
        port = resolve_container_port(handler.port, ports)
    except ValueError as error:
        return Verdict(Result.UNKNOWN, error=str(error))
    if isinstance(handler, TCPSocketAction):
        return await _connect_tcp(handler.host or pod.ip, port, time_limit, pod)
    return await get(handler, port, time_limit, pod)


def resolve_container_port(port: int | str, named: Mapping[str, int]) -> int:
    """The number of a probe's port, a name looked up among the container's ports.

    ``ResolveContainerPort`` of ``pkg/probe/util.go``; a name that is digits is taken for them.

    Raises:
        ValueError: with the kubelet's words.
    """
    if isinstance(port, str):
        if port in named:
            port = named[port]
        else:
            digits = port[1:] if port[:1] in ("-", "+") else port
            if not (digits.isascii() and digits.isdigit()):
                raise ValueError(f'strconv.Atoi: parsing "{port}": invalid syntax')
            port = int(port)
    if not 0 < port < 65536:
        raise ValueError(f"invalid port number: {port}")
    return port


async def _connect_tcp(host: str, port: int, time_limit: float, pod: PodAddress) -> Verdict:
    try:
        async with asyncio.timeout(time_limit):
            await check_dial(await resolve(host), pod.port(host, port), pod.network)
    except (DialError, LookupFailedError) as error:
        return Verdict(Result.FAILURE, dial_error(error))
    except TimeoutError:
        where = authority(host, pod.port(host, port))
        return Verdict(Result.FAILURE, f"dial tcp {where}: i/o timeout")
    return Verdict(Result.SUCCESS)


async def _check_grpc(action: GRPCAction, time_limit: float, pod: PodAddress) -> Verdict:
    from osm_healthcheck.wire import grpc_health

    host = authority(pod.ip, action.port)
    deadline = asyncio.get_running_loop().time() + time_limit
    port = pod.port(pod.ip, action.port)
    channel = grpc_health.Channel((pod.ip,), port, pod.network)
    try:
        async with asyncio.timeout_at(deadline):
            await channel.connect()
    except TimeoutError:
        return Verdict(
            Result.FAILURE,
            f'timeout: failed to connect service "{host}" within {go_duration(time_limit)}: '
            "context deadline exceeded",
        )
    try:
        async with asyncio.timeout_at(deadline):
            await channel.check(host, action.service, deadline, USER_AGENT.encode())
    except (TimeoutError, grpc_health.DeadlineExceededError):
        took = go_duration(time_limit)
        return Verdict(Result.FAILURE, f"timeout: health rpc did not complete within {took}")
    except WireError as error:
        return Verdict(Result.FAILURE, str(error))
    finally:
        channel.abandon()
    return Verdict(Result.SUCCESS, "service healthy")
