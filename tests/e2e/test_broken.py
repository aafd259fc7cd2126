"""What is broken on purpose is noticed: else the verdicts of the cases would prove nothing."""

from collections.abc import Callable

import pytest

from .cases import ask
from .control_plane import ControlPlane
from .node import Node
from .pods import APP, Manifest, container, http_get, pod, with_mesh, with_us
from .process import until
from .verdicts import NOT_READY, READY, RESTARTED, Pod

pytestmark = pytest.mark.e2e


def _part(manifest: Manifest, name: str) -> Manifest:
    spec = manifest["spec"]
    parts: dict[str, Manifest] = {
        one["name"]: one for one in spec["initContainers"] + spec["containers"]
    }
    return parts[name]


def _no_bypass(manifest: Manifest) -> None:
    part = _part(manifest, "osm-healthcheck-init")
    part["command"], part["args"] = ["/bin/sh", "-c", "exit 0"], []


def _port_off_by_one(manifest: Manifest) -> None:
    _part(manifest, "app")["livenessProbe"]["httpGet"]["port"] += 1


def _yes_to_everything(manifest: Manifest) -> None:
    part = _part(manifest, "osm-healthcheck")
    part["image"], part["command"], part["args"] = APP, ["/app", "-shift", str(15901 - 8080)], []
    part.pop("startupProbe")
    part.pop("livenessProbe")


@pytest.mark.parametrize(
    ("breaks", "healthy", "ill"),
    [
        (None, READY, RESTARTED),
        (_no_bypass, NOT_READY, None),
        (_port_off_by_one, RESTARTED, None),
        (_yes_to_everything, READY, READY),
    ],
    ids=["nothing", "no bypass", "port off by one", "yes to everything"],
)
def test_what_is_broken_is_noticed(
    kube: ControlPlane,
    machine: Node,
    request: pytest.FixtureRequest,
    breaks: Callable[[Manifest], None] | None,
    healthy: str,
    ill: str | None,
) -> None:
    """The story of an app that falls ill, told by a sound pod and by broken ones."""
    name = request.node.callspec.id.replace(" ", "-")
    probe = http_get(failureThreshold=3)
    manifest = pod("shop", container(livenessProbe=probe))
    injected = with_us(manifest)
    if breaks:
        breaks(injected)
    pods = {}
    for variant, one in {"plain": manifest, "ours": with_mesh(injected)}.items():
        namespace = kube.namespace(f"{name}-{variant}")
        kube.kubectl.apply(one, namespace=namespace)
        pods[variant] = Pod(kube, namespace, "shop")
    plain, ours = pods["plain"], pods["ours"]
    assert plain.wait_for_verdict() == READY
    if healthy == NOT_READY:
        until(lambda: ours.failures("osm-healthcheck", "Startup") > 3, "our startup probe fails")
        assert ours.verdict() is None
    else:
        # Without a readiness probe a pod is Ready before it is asked anything.
        passing = READY if healthy != READY else None
        assert ours.wait_for_verdict(other_than=passing) == healthy
    if ill is not None:
        for each in plain, ours:
            ask("/ill")(each, machine)
        assert plain.wait_for_verdict(other_than=READY) == RESTARTED
        if ill == READY:
            assert ours.verdict() == READY
        else:
            assert ours.wait_for_verdict(other_than=READY) == ill
    for each in plain, ours:
        kube.kubectl("delete", "namespace", each.namespace, "--wait=false")
