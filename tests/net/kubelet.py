"""The kubelet on the node: the prober of ``osm_healthcheck.kubelet``, with the node's sockets."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from osm_healthcheck.injection.pods import SIDECAR
from osm_healthcheck.kubelet.address import PodAddress
from osm_healthcheck.kubelet.pod_spec import ContainerSpec, PodSpec
from osm_healthcheck.kubelet.prober import Outcome, probe
from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.wire.dial import Network

from .namespaces import Namespace

T = TypeVar("T")

Verdicts = Mapping[str, str]
"""What each probe of a pod came to, by container and kind: {"web liveness": "success"}."""


class Kubelet:
    """Probes from a node. Its sockets are made in a thread that lives there."""

    def __init__(self, node: Namespace) -> None:
        self._thread = ThreadPoolExecutor(1, initializer=node.enter)

    def call(self, function: Callable[..., T], *arguments: Any, **more: Any) -> T:
        """Call a function on the node and wait for it."""
        return self._thread.submit(function, *arguments, **more).result()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something on the node and wait for it."""
        return self.start(work).result()

    def start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Have something done on the node meanwhile."""
        return self._thread.submit(asyncio.run, work)

    def verdicts(self, pod: PodSpec, *hosts: str) -> dict[str, Verdicts]:
        """Run each probe of a pod once at each of these addresses, all at the same time."""
        return self.run(verdicts(pod, hosts))

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()


async def verdicts(pod: PodSpec, hosts: Iterable[str]) -> dict[str, Verdicts]:
    """See `Kubelet.verdicts`."""

    network = Network()

    async def one(host: str) -> Verdicts:
        names = list(probes_of(pod))
        address = PodAddress(host, network=network)
        outcomes = await asyncio.gather(*(probe(kind, one, address) for one, kind in names))
        return {
            f"{container.name} {kind}": word(outcome)
            for (container, kind), outcome in zip(names, outcomes, strict=True)
        }

    hosts = list(hosts)
    found = await asyncio.gather(*map(one, hosts))
    await network.lingering.settle()
    return dict(zip(hosts, found, strict=True))


def probes_of(pod: PodSpec) -> Iterator[tuple[ContainerSpec, ProbeKind]]:
    """The probes of a pod but for those of our own container."""
    for container in pod.containers:
        if container.name != SIDECAR:
            for kind in ProbeKind:
                if kind in container.probes:
                    yield container, kind


def word(outcome: Outcome) -> str:
    """A verdict in a word: success, warning, failure; "no verdict" where it is thrown away."""
    return "no verdict" if outcome.verdict.error is not None else str(outcome.verdict.result)
