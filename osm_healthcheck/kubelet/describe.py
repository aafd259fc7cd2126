"""What ``kubectl describe pod`` prints of a probe and of a time (``pkg/describe/describe.go``)."""

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


def age(seconds: float) -> str:
    """A time span as ``kubectl`` prints it (``duration.HumanDuration`` of apimachinery)."""
    whole = int(seconds)
    if whole < 120:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 10:
        rest = whole % 60
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        rest = minutes % 60
        return f"{hours}h{rest}m" if rest else f"{hours}h"
    return f"{hours}h" if hours < 48 else f"{hours // 24}d"
