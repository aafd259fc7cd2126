"""The cases: pods as users write them, what befalls them, and what the kubelet makes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .node import IPV6, Node
from .pods import Manifest, container, grpc, http_get, pod, tcp_socket
from .verdicts import COMPLETE, FAILED, HOOK_FAILED, NOT_READY, READY, RESTARTED, Pod

Fault = Callable[[Pod, Node], object]


def ask(path: str, *, of: str = "app", host: str = "127.0.0.1", port: int = 8080) -> Fault:
    """Tell the app something, from within its own container."""
    url = f"http://{host}:{port}{path}"
    return lambda pod, node: pod(
        "exec", pod.get()["metadata"]["name"], "-c", of, "--", "/app", "ask", url
    )


def stop(pod: Pod, node: Node) -> None:
    """Let the app hang: SIGSTOP."""
    node.signal(pod.container_id("app"), "STOP")


@dataclass(frozen=True)
class Case:
    """A pod and its story.

    Attributes:
        name: of the case.
        manifest: the pod, or a Job, without a mesh.
        healthy: the kubelet's verdict on the app as it starts, without a mesh and with us.
        mesh: the verdict in a mesh, without us.
        fault: what then happens to the app, if anything.
        ill: the verdict after that, without a mesh and with us.
        blind: whether a mesh hides that from the kubelet.
        probe: the container and kind of the probe that then fails.
        options: of inject.
    """

    name: str
    manifest: Manifest
    mesh: str
    healthy: str = READY
    fault: Fault | None = None
    ill: str = RESTARTED
    blind: bool = False
    probe: tuple[str, str] = ("app", "Liveness")
    options: tuple[str, ...] = ()


_CALM = {"initialDelaySeconds": 3, "timeoutSeconds": 3}
"""For liveness probes whose failures are counted: a slow start and a busy machine make none."""


def _probed(probe: Manifest, **fields: Any) -> Manifest:
    """A container that is Ready once the probe has passed, and lives as long as it does."""
    return container(livenessProbe=probe | _CALM, readinessProbe=probe, **fields)


_HTTPS = http_get(port=8443, scheme="HTTPS")
_HOOKS = {
    "postStart": {"httpGet": {"path": "/hook?started", "port": 8080}},
    "preStop": {"httpGet": {"path": "/hook?stopping", "port": 8080}},
}


def _job() -> Manifest:
    template = pod("job", container("app", "-run", "6s", livenessProbe=http_get()))
    template["spec"]["restartPolicy"] = "Never"
    spec = {"backoffLimit": 0, "template": {key: template[key] for key in ("metadata", "spec")}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": spec}


CASES = (
    Case("httpGet", pod("http", _probed(http_get())), RESTARTED, fault=ask("/ill")),
    Case(
        *("httpGet, by Istio's annotation", pod("annotated", _probed(http_get())), RESTARTED),
        fault=ask("/ill"),
        options=("--mesh", "istio"),
    ),
    Case(
        *("HTTPS, passed through", pod("https", _probed(_HTTPS)), RESTARTED),
        fault=ask("/ill"),
    ),
    Case(
        *("HTTPS, by request", pod("https", _probed(_HTTPS)), RESTARTED),
        fault=ask("/ill"),
        options=("--https", "request"),
    ),
    Case(
        *("tcpSocket", pod("tcp", _probed(tcp_socket())), READY),
        fault=ask("/close"),
        blind=True,
    ),
    Case("grpc", pod("grpc", _probed(grpc())), RESTARTED, fault=ask("/ill")),
    Case(
        *("readiness alone", pod("ready", container(readinessProbe=http_get())), NOT_READY),
        fault=ask("/ill"),
        ill=NOT_READY,
        probe=("app", "Readiness"),
    ),
    Case(
        "exec",
        pod(
            "exec",
            container(
                readinessProbe={
                    "exec": {"command": ["/app", "ask", "http://127.0.0.1:8080/"]},
                    "periodSeconds": 1,
                }
            ),
        ),
        READY,
        fault=ask("/ill"),
        ill=NOT_READY,
        probe=("app", "Readiness"),
    ),
    Case(
        "a slow start, behind a startup probe",
        pod(
            "startup",
            container(
                *("app", "-startup", "3s"),
                startupProbe=http_get("/startup", failureThreshold=10),
                livenessProbe=http_get("/startup", failureThreshold=1),
            ),
        ),
        RESTARTED,
    ),
    Case(
        "several containers",
        pod(
            "several",
            _probed(http_get()),
            container("second", "-shift", "1000", livenessProbe=http_get(port=9080) | _CALM),
        ),
        RESTARTED,
        fault=ask("/ill", of="second", port=9080),
        probe=("second", "Liveness"),
    ),
    Case(
        "a native sidecar",
        pod(
            "native",
            container("app"),
            initContainers=[
                container(
                    *("helper", "-shift", "1000"),
                    restartPolicy="Always",
                    startupProbe=http_get(port=9080),
                    livenessProbe=http_get(port=9080) | _CALM,
                )
            ],
        ),
        RESTARTED,
        fault=ask("/ill", of="helper", port=9080),
        probe=("helper", "Liveness"),
    ),
    Case(
        "lifecycle hooks",
        pod(
            "hooks",
            # Nobody waits with a hook until its own container listens.
            container(),
            container(
                "second",
                "-shift",
                "1000",
                livenessProbe=tcp_socket(8070) | _CALM,
                lifecycle=_HOOKS,
            ),
        ),
        HOOK_FAILED,
        fault=ask("/close", of="second", port=9080),
        probe=("second", "Liveness"),
    ),
    Case(
        "an app on IPv6 alone",
        pod(IPV6, _probed(http_get(), command=["/app", "-network", "tcp6"])),
        RESTARTED,
        fault=ask("/ill", host="[::1]"),
    ),
    Case("a Job", _job(), FAILED, healthy=COMPLETE),
    Case("hung (SIGSTOP)", pod("hung", _probed(http_get())), RESTARTED, fault=stop),
)
