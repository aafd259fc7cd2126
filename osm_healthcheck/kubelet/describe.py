"""A probe in one line, as ``kubectl describe pod`` prints it (``pkg/describe/describe.go``)."""

from osm_healthcheck.probes.probe import (
    ExecAction,
    GRPCAction,
    HTTPGetAction,
    Probe,
    TCPSocketAction,
)
from osm_healthcheck.probes.url import URL


def describe(probe: Probe) -> str:
    """The line for ``probe``: what it asks, then its times and thresholds."""
    times = (
        f"delay={probe.initial_delay_seconds}s timeout={probe.timeout_seconds}s "
        f"period={probe.period_seconds}s #success={probe.success_threshold} "
        f"#failure={probe.failure_threshold}"
    )
    match probe.handler:
        case HTTPGetAction() as action:
            # Go's URL.String escapes the path: a "?" in it shows as %3F
            path = action.path.encode("utf-8", "surrogateescape").decode("latin-1")
            host = f"[{action.host}]" if ":" in action.host else action.host
            url = URL(scheme=action.scheme.lower(), host=f"{host}:{action.port}", path=path)
            what = f"http-get {url}"
        case TCPSocketAction() as action:
            what = f"tcp-socket {action.host}:{action.port}"
        case GRPCAction() as action:
            what = f"grpc <pod>:{action.port} {action.service}"
        case ExecAction() as action:
            what = f"exec [{' '.join(action.command)}]"
    return f"{what} {times}"
