"""A probe and what it becomes: the table of the wire contract, applied to one pod.

Only the handler changes. Whatever else a probe says, unknown fields included, stays as it is.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, cast

from osm_healthcheck.injection.hooks import OriginalHook
from osm_healthcheck.injection.manifest_probe import uses_the_network
from osm_healthcheck.injection.original import OriginalProbe
from osm_healthcheck.injection.pods import Manifest, Pod
from osm_healthcheck.probes.constants import (
    HEALTHCHECK_PATH,
    HEALTHCHECK_PORT,
    ORIGINAL_GRPC_PORT,
    ORIGINAL_GRPC_SERVICE,
    ORIGINAL_TCP_PORT,
)
from osm_healthcheck.probes.probe import (
    HANDLERS,
    GRPCAction,
    HTTPGetAction,
    Probe,
    TCPSocketAction,
)

HTTPSMode = Literal["passthrough", "request"]
HTTPS_MODES: tuple[HTTPSMode, ...] = ("passthrough", "request")


def rewritten(originals: Sequence[OriginalProbe], https: HTTPSMode) -> list[Manifest]:
    """What each of the probes of one pod becomes, in their order."""
    schemes = Counter((one.kind, one.scheme) for one in originals)

    def rewrite(one: OriginalProbe) -> Manifest:
        kind = one.kind
        match one.handler:
            case HTTPGetAction(scheme="HTTP"):
                alone = schemes[kind, "HTTP"] == 1
                path = kind.path if alone else f"{kind.path}/{one.container}"
                return _changed(one, {"path": path, "port": kind.port})
            case HTTPGetAction():
                if https == "passthrough" and schemes[kind, "HTTPS"] == 1:
                    return _changed(one, {"port": kind.port})
                path = f"{kind.path}/{one.container}"
                return _changed(one, {"path": path, "port": kind.port, "scheme": "HTTP"})
            case TCPSocketAction(port=port):
                return _check(one, "tcpSocket", {ORIGINAL_TCP_PORT: str(port)})
            case GRPCAction(port=port, service=service):
                headers = {ORIGINAL_GRPC_PORT: str(port)}
                if service:
                    headers[ORIGINAL_GRPC_SERVICE] = service
                return _check(one, "grpc", headers)

    return [rewrite(one) for one in originals]


def declaration_of(
    originals: Iterable[OriginalProbe], hooks: Iterable[OriginalHook] = ()
) -> dict[str, Manifest]:
    """What the sidecar is told: its ``OSM_HEALTHCHECK_PROBES``, not yet JSON."""
    declared: dict[str, Manifest] = {}
    for one in originals:
        declared.setdefault(one.container, {})[one.kind.field] = one.declaration
    for hook in hooks:
        container = declared.setdefault(hook.declared.container, {})
        lifecycle = cast("Manifest", container.setdefault("lifecycle", {}))
        lifecycle[hook.declared.hook.value] = hook.declaration
    return declared


def restored(current: Manifest, saved: Manifest) -> Manifest:
    """The probe whose original is ``saved`` and which stands there as ``current`` by now.

    Injection changed the handler only. The other fields are taken from ``current``: they may have
    been edited since, and the API server fills in defaults.
    """
    fields = {name: value for name, value in current.items() if name not in HANDLERS}
    if fields == {name: value for name, value in saved.items() if name not in HANDLERS}:
        return saved
    return {name: value for name, value in saved.items() if name in HANDLERS} | fields


def _changed(one: OriginalProbe, changes: Manifest) -> Manifest:
    action = cast("Manifest", one.value["httpGet"])
    return {**one.value, "httpGet": {**action, **changes}}


def _check(one: OriginalProbe, handler: str, headers: Mapping[str, str]) -> Manifest:
    """A request to the check endpoint, in the place of ``handler``."""
    action: Manifest = {
        "httpHeaders": [{"name": name, "value": value} for name, value in headers.items()],
        "path": HEALTHCHECK_PATH,
        "port": HEALTHCHECK_PORT,
        "scheme": "HTTP",
    }
    return {
        ("httpGet" if name == handler else name): (action if name == handler else value)
        for name, value in one.value.items()
        if name != "httpGet"  # it may stand there as null
    }


def is_check(probe: Probe) -> bool:
    """Whether 15904 answers for it, and no probe proxy."""
    return not isinstance(probe.handler, HTTPGetAction)


def why_no_probe_is_ours(pod: Pod) -> str:
    """Why none of the pod's probes is to be rewritten: it has none, or all were left alone."""
    kinds = "httpGet, tcpSocket or grpc probe"
    if any(uses_the_network(probe) for one in pod.containers for _, probe in one.probes()):
        return f"every {kinds} is left alone"
    return f"no {kinds}"
