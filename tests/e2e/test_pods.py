"""Each case without a mesh, in a mesh, and in a mesh with us: the kubelet's verdicts."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from .cases import CASES, Case
from .control_plane import ControlPlane
from .node import Node
from .pods import with_mesh, with_us
from .table import Table
from .verdicts import COMPLETE, READY, RESTARTED, Pod

pytestmark = pytest.mark.e2e

_AT_ONCE = 3
_THRESHOLD = 3


@dataclass(frozen=True)
class Story:
    """What the kubelet made of a case, by surrounding: without a mesh, in one, in one with us.

    Attributes:
        healthy: its first verdict.
        ill: its verdict after the fault.
        failures: how often the probe failed after the fault.
        restarted: the containers that were restarted.
        events: of each pod, for the reader of a failure.
    """

    healthy: dict[str, str]
    ill: dict[str, str]
    failures: dict[str, int]
    restarted: dict[str, set[str]]
    events: dict[str, str]


def _tell(case: Case, cluster: ControlPlane, machine: Node) -> Story:
    name = re.sub("[^a-z]+", "-", case.name.lower()).strip("-")
    variants = {
        "plain": case.manifest,
        "mesh": with_mesh(case.manifest),
        "ours": with_mesh(with_us(case.manifest, *case.options)),
    }
    pods = {}
    for variant, manifest in variants.items():
        namespace = cluster.namespace(f"{name}-{variant}")
        cluster.kubectl.apply(manifest, namespace=namespace)
        pods[variant] = Pod(cluster, namespace, case.manifest["metadata"]["name"])
    # A Job is Ready for a while.
    passing = READY if case.healthy == COMPLETE else None
    story = Story({}, {}, {}, {}, {})
    for variant, pod in pods.items():
        story.healthy[variant] = pod.wait_for_verdict(other_than=passing)
    if case.fault is not None:
        before = {}
        for variant, pod in pods.items():
            before[variant] = pod.failures(*case.probe)
            if story.healthy[variant] == READY:
                case.fault(pod, machine)
        # What a mesh hides never comes: it is looked at when the others are done.
        for variant in sorted(pods, key=lambda variant: variant == "mesh"):
            pod = pods[variant]
            hidden = variant == "mesh" and case.blind
            verdict = pod.verdict() if hidden else pod.wait_for_verdict(other_than=READY)
            story.ill[variant] = str(verdict)
            least = before[variant] + (_THRESHOLD if verdict == RESTARTED else 0)
            failures = pod.failures_at_least(least, *case.probe)
            story.failures[variant] = failures - before[variant]
            story.restarted[variant] = {one for one, count in pod.restarts().items() if count}
    for variant, pod in pods.items():
        story.events[variant] = pod("events")
        cluster.kubectl("delete", "namespace", f"{name}-{variant}", "--wait=false")
    return story


@pytest.fixture(scope="module")
def tell(
    request: pytest.FixtureRequest, whole: tuple[ControlPlane, Node]
) -> Iterator[Callable[[Case], Story]]:
    """Tells a case's story. Those of all cases that are to be run are under way, some at once."""
    parameters = [
        item.callspec.params for item in request.session.items if hasattr(item, "callspec")
    ]
    cases = [one["case"] for one in parameters if isinstance(one.get("case"), Case)]
    with ThreadPoolExecutor(_AT_ONCE) as executor:
        stories = {case.name: executor.submit(_tell, case, *whole) for case in cases}
        yield lambda case: stories[case.name].result()
        executor.shutdown(cancel_futures=True)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_case(case: Case, tell: Callable[[Case], Story], table: Table) -> None:
    story = tell(case)
    table.row(f"{case.name}: healthy", story.healthy)
    assert story.healthy == {"plain": case.healthy, "mesh": case.mesh, "ours": case.healthy}, (
        story.events
    )
    if case.fault is None:
        return
    table.row(f"{case.name}: ill", story.ill)
    mesh = case.mesh if case.mesh != READY or case.blind else case.ill
    assert story.ill == {"plain": case.ill, "mesh": mesh, "ours": case.ill}, story.events
    if case.ill == RESTARTED:
        counted = {one: story.failures[one] for one in ("plain", "ours")}
        assert counted == {"plain": _THRESHOLD, "ours": _THRESHOLD}, story.events
        assert story.restarted["plain"] == story.restarted["ours"] == {case.probe[0]}
