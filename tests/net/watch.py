"""Probing on and on while something happens to the pod."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from osm_healthcheck.kubelet.address import PodAddress
from osm_healthcheck.kubelet.pod_spec import ContainerSpec, PodSpec
from osm_healthcheck.kubelet.prober import probe
from osm_healthcheck.probes.constants import ProbeKind

from .kubelet import Kubelet, probes_of, word
from .namespaces import PATIENCE

_PERIOD_SECONDS = 0.02
_AT_A_TIME = 64


@dataclass(frozen=True)
class Seen:
    """A probe that was run, its verdict and its text; times are those of ``time.monotonic``."""

    name: str
    started: float
    ended: float
    verdict: str
    text: str


class Watch:
    """Runs each probe of a pod again and again, every one for itself."""

    def __init__(self, kubelet: Kubelet, pod: PodSpec, host: str) -> None:
        self.seen: list[Seen] = []
        self.names = {f"{container.name} {kind}" for container, kind in probes_of(pod)}
        self._pod = pod
        self._address = PodAddress(host)
        self._changed = threading.Condition()
        self._stopped = False
        self._work = kubelet.start(self._run())

    def wait_for_each(self, condition: Callable[[Seen], bool], times: int = 1) -> None:
        """Wait until every probe was seen so many times, from now on, to fulfil a condition."""
        begun = time.monotonic()

        def found() -> bool:
            counts = Counter(
                one.name for one in self.seen if one.started >= begun and condition(one)
            )
            return all(counts[name] >= times for name in self.names)

        with self._changed:
            assert self._changed.wait_for(lambda: found() or self._work.done(), PATIENCE)
        assert not self._work.done(), self._work.result()

    def end(self) -> None:
        """Let the probes that are under way come to their end, and run no more."""
        self._stopped = True
        self._work.result()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for container, kind in probes_of(self._pod):
                group.create_task(self._repeat(container, kind))
        await self._address.network.lingering.settle()

    async def _repeat(self, container: ContainerSpec, kind: ProbeKind) -> None:
        while not self._stopped:
            started = time.monotonic()
            outcome = await probe(kind, container, self._address)
            text = outcome.verdict.error or outcome.verdict.output
            seen = Seen(f"{container.name} {kind}", started, time.monotonic(), word(outcome), text)
            with self._changed:
                self.seen.append(seen)
                self._changed.notify_all()
            await asyncio.sleep(_PERIOD_SECONDS)


@contextmanager
def watching(kubelet: Kubelet, pod: PodSpec, host: str) -> Iterator[Watch]:
    """Probe while the block runs. It begins once every probe was run."""
    watch = Watch(kubelet, pod, host)
    try:
        watch.wait_for_each(lambda _: True)
        yield watch
    finally:
        watch.end()


@dataclass(frozen=True)
class Flood:
    """Many probes in a short time: how often each had which verdict, and how long it took."""

    verdicts: Counter[tuple[str, str]]
    seconds: float


async def flood(pod: PodSpec, host: str, rate: int, seconds: int) -> Flood:
    """Run ``rate`` probes a second for so many seconds, a pod's probes in turn.

    No more than `_AT_A_TIME` are under way: a machine too slow for the rate takes longer, which
    shows in `Flood.seconds`.
    """
    probes = list(probes_of(pod))
    address = PodAddress(host)
    verdicts: Counter[tuple[str, str]] = Counter()
    numbers = iter(range(rate * seconds))
    begun = time.monotonic()

    async def work() -> None:
        for number in numbers:
            await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
            container, kind = probes[number % len(probes)]
            outcome = await probe(kind, container, address)
            verdicts[f"{container.name} {kind}", word(outcome)] += 1

    await asyncio.gather(*(work() for _ in range(_AT_A_TIME)))
    took = time.monotonic() - begun
    await address.network.lingering.settle()
    return Flood(verdicts, took)
