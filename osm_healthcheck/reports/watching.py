"""Running probes for a command: once, or for as long as somebody watches."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from osm_healthcheck.kubelet.address import PodAddress, resolve
from osm_healthcheck.kubelet.pod_spec import PodSpec
from osm_healthcheck.kubelet.prober import probe
from osm_healthcheck.kubelet.verdict import Result
from osm_healthcheck.kubelet.watch import Watch, without_exec
from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.reports.reports import JSONReport, Report, TextReport


async def once(pods: Sequence[PodSpec], host: str, ports: Mapping[int, int], output: str) -> int:
    """Run each probe once, all at the same time; 0 where all succeed, 1 where not.

    Raises:
        LookupFailedError: where ``host`` has no address.
    """
    address = PodAddress((await resolve(host))[0], ports)
    report: Report = JSONReport() if output == "json" else TextReport()
    names = [
        (pod, container, kind)
        for pod in pods
        for container in without_exec(pod).containers
        for kind in ProbeKind
        if kind in container.probes
    ]
    outcomes = await asyncio.gather(
        *(probe(kind, container, address) for _, container, kind in names)
    )
    found = {
        (pod.name, container.name, kind): outcome
        for (pod, container, kind), outcome in zip(names, outcomes, strict=True)
    }
    await address.network.lingering.settle()
    report.once(pods, found)
    return 0 if all(outcome.result is Result.SUCCESS for outcome in outcomes) else 1


async def watch(
    pods: Sequence[PodSpec],
    host: str,
    ports: Mapping[int, int],
    output: str,
    duration: float | None,
) -> int:
    """Watch ``pods`` for ``duration`` seconds or until told to end; 0 where all is well, else 1.

    Raises:
        LookupFailedError: where ``host`` has no address.
        OSError: where the output has nowhere to go.
    """
    address = PodAddress((await resolve(host))[0], ports)
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, over.set)
    report = _report(output, over)
    watches = [Watch(pod, address, report) for pod in pods]
    report.begin(watches, address)
    work = asyncio.create_task(_run(watches))
    waiting = asyncio.create_task(over.wait())
    try:
        await asyncio.wait((work, waiting), timeout=duration, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (work, waiting):
            task.cancel()
        await asyncio.gather(work, waiting, return_exceptions=True)
        await address.network.lingering.settle()
        report.end()
    if not work.cancelled():
        work.result()
    if report.failure is not None:
        raise report.failure
    return 0 if all(one.is_healthy for one in watches) else 1


async def _run(watches: Sequence[Watch]) -> None:
    begun = 0
    async with asyncio.TaskGroup() as group:
        for one in watches:
            group.create_task(one.run(begun))
            begun += len(one.scheduled)


def _report(output: str, over: asyncio.Event) -> Report:
    if output == "json":
        return JSONReport(over)
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        from osm_healthcheck.reports.table import TableReport

        return TableReport(over)
    return TextReport(over)
