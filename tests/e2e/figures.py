"""What the sidecar costs on a node, as the kubelet accounts it: `.ci/e2e --figures`.

Each table is of this machine and of one run; OSM's Go daemon in the same pod is the measure.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .control_plane import NODE, ControlPlane
from .pods import Manifest, container, http_get, pod, with_mesh, with_us
from .process import until
from .whole_cluster import GO_DAEMON, OURS, whole_cluster

_IMAGES = {"osm-healthcheck": OURS["sidecar"], "OSM's Go daemon": GO_DAEMON}
_ROUNDS = 5
_MAX_PODS = 110
_WINDOW = 60.0
"""Seconds over which CPU time is measured."""
_MIB = 1 << 20


@dataclass(frozen=True)
class Usage:
    """What the kubelet accounts to the containers of one name, in all.

    Attributes:
        memory: the working sets, in bytes, one a container.
        cpu: CPU time in seconds since the start.
    """

    memory: list[int]
    cpu: float


def _usage(cluster: ControlPlane, name: str) -> Usage:
    # As old as the kubelet's last look, ten seconds or so.
    summary = cluster.api(f"/api/v1/nodes/{NODE}/proxy/stats/summary")
    found = [
        one
        for of in summary["pods"]
        for one in of.get("containers", [])
        if one["name"] == name and "workingSetBytes" in one.get("memory", {})
    ]
    cpu = sum(one["cpu"].get("usageCoreNanoSeconds", 0) for one in found) / 1e9
    return Usage([one["memory"]["workingSetBytes"] for one in found], cpu)


def _dropped_in(name: str, image: str, period: int | None) -> Manifest:
    """A pod with a daemon as OSM's injector adds it: with no declared probes.

    Its app's readiness and liveness are asked through it every so many seconds; or never.
    """
    ask = {
        "httpGet": {
            "path": "/osm-healthcheck",
            "port": 15904,
            "httpHeaders": [{"name": "Original-Tcp-Port", "value": "8080"}],
        },
        "periodSeconds": period,
    }
    probes = {"readinessProbe": ask, "livenessProbe": ask} if period else {}
    app = container()
    app.update(probes)
    daemon = {
        "name": "osm-healthcheck",
        "image": image,
        "command": ["/osm-healthcheck", "--verbosity", "info"],
        "resources": {"requests": {"cpu": "10m"}},
    }
    manifest = pod(name, app, daemon)
    annotation = {"traffic.sidecar.istio.io/excludeInboundPorts": "15904"}
    manifest["metadata"]["annotations"] = annotation
    return with_mesh(manifest)


def _all_ready(cluster: ControlPlane, namespace: str, count: int) -> Callable[[], bool]:
    def ready() -> bool:
        pods = cluster.api(f"/api/v1/namespaces/{namespace}/pods")["items"]
        conditions = [
            one["status"]
            for of in pods
            for one in of["status"].get("conditions", [])
            if one["type"] == "Ready"
        ]
        return conditions == ["True"] * count

    return ready


def _remove(cluster: ControlPlane, namespace: str) -> None:
    cluster.kubectl("delete", "namespace", namespace, "--timeout=300s", seconds=310)


def _settled(cluster: ControlPlane) -> Usage:
    """The daemon's usage once the kubelet has looked again since now."""
    seen = {_usage(cluster, "osm-healthcheck").cpu}
    until(lambda: len(seen | {_usage(cluster, "osm-healthcheck").cpu}) > 1, "a new look", 90)
    return _usage(cluster, "osm-healthcheck")


def memory(cluster: ControlPlane) -> Iterator[list[str]]:
    """The working set of one daemon, idle and asked twice a second."""
    for name, image in _IMAGES.items():
        row = [name]
        for period in (None, 1):
            namespace = cluster.namespace(f"memory-{period or 'idle'}-{len(name)}")
            cluster.kubectl.apply(_dropped_in("shop", image, period), namespace=namespace)
            until(_all_ready(cluster, namespace, 1), f"{name} is Ready")
            time.sleep(_WINDOW)  # what is measured is what it comes to in a while
            [used] = _usage(cluster, "osm-healthcheck").memory
            row.append(f"{used / _MIB:.1f}")
            _remove(cluster, namespace)
        yield row


def starts(cluster: ControlPlane) -> Iterator[list[str]]:
    """Seconds from `kubectl apply` to Ready; the app's readiness is asked every second."""
    app = container(readinessProbe=http_get())
    bare = pod("shop", app)
    exec_probe = {
        "exec": {"command": ["/app", "ask", "http://127.0.0.1:8080/"]},
        "periodSeconds": 1,
    }
    # A mesh's own httpGet probe would never pass: what is beside us has an exec probe.
    meshed = with_mesh(pod("shop", container(readinessProbe=exec_probe)))
    variants: dict[str, Any] = {
        "no mesh": bare,
        "mesh (and an exec probe)": meshed,
        "mesh, with us": with_mesh(with_us(bare)),
        "mesh, with us by Istio's annotation": with_mesh(with_us(bare, "--mesh", "istio")),
    }
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(_ROUNDS):
        for number, (name, manifest) in enumerate(variants.items()):
            namespace = cluster.namespace(f"start-{turn}-{number}")
            begin = time.monotonic()
            cluster.kubectl.apply(manifest, namespace=namespace)
            until(_all_ready(cluster, namespace, 1), f"{name} is Ready")
            taken[name].append(time.monotonic() - begin)
            _remove(cluster, namespace)
    for name, seconds in taken.items():
        yield [name, f"{statistics.median(seconds):.1f}", f"{min(seconds):.1f}-{max(seconds):.1f}"]


def crowd(cluster: ControlPlane) -> Iterator[list[str]]:
    """As many meshed pods as the node takes, each asked twice every ten seconds, as by default."""
    for name, image in _IMAGES.items():
        namespace = cluster.namespace(f"crowd-{len(name)}")
        pods = [_dropped_in(f"shop-{number}", image, 10) for number in range(_MAX_PODS)]
        cluster.kubectl.apply(*pods, namespace=namespace)
        until(_all_ready(cluster, namespace, _MAX_PODS), f"all with {name} are Ready", 1200)
        before, start = _settled(cluster), time.monotonic()
        time.sleep(_WINDOW)
        after, passed = _settled(cluster), time.monotonic() - start
        total = sum(after.memory) / _MIB
        row = [name, str(len(after.memory)), f"{total:.0f}"]
        row.append(f"{statistics.median(after.memory) / _MIB:.1f}")
        yield [*row, f"{1000 * (after.cpu - before.cpu) / passed:.1f}"]
        _remove(cluster, namespace)


_TABLES: tuple[tuple[str, list[str], Callable[[ControlPlane], Iterator[list[str]]]], ...] = (
    ("seconds from apply to Ready", ["pod", "median", "range"], starts),
    ("working set of one daemon, MiB", ["daemon", "idle", "asked twice a second"], memory),
    (
        "all daemons of a full node",
        ["daemon", "pods", "memory in all, MiB", "median of one, MiB", "CPU in all, millicores"],
        crowd,
    ),
)


def main() -> None:
    """Print the tables, in Markdown."""
    with whole_cluster() as (cluster, _):
        for title, head, rows in _TABLES:
            print(f"\n{title}\n")
            for row in (head, ["---", *["--:"] * (len(head) - 1)]):
                print(f"| {' | '.join(row)} |", flush=True)
            for row in rows(cluster):
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
