"""Pipy's part: the ``Probes`` of osm-edge's configuration.

Pipy reads of each list the first probe: its port says that it is meant, ``Original-Http-Port``
and ``Original-Http-Path`` among its ``httpHeaders`` say where the app is. Without them it would
ask ``127.0.0.1:80`` for ``/``.
"""

from collections.abc import Sequence
from typing import cast

from osm_healthcheck.injection.original import OriginalProbe
from osm_healthcheck.injection.pods import Manifest
from osm_healthcheck.injection.rewrite import HTTPSMode, rewritten
from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.probes.url import probe_url

_ASSUMED_PORTS = {"HTTP": 80, "HTTPS": 443}
_LISTS = {
    ProbeKind.LIVENESS: "LivenessProbes",
    ProbeKind.READINESS: "ReadinessProbes",
    ProbeKind.STARTUP: "StartupProbes",
}


def pipy_config(originals: Sequence[OriginalProbe], https: HTTPSMode) -> Manifest:
    """``{"Spec": {"Probes": …}}``: by kind its probes, Pipy's own first, or ``None``."""
    changed = list(zip(originals, rewritten(originals, https), strict=True))
    changed.sort(key=lambda pair: not pair[0].scheme)
    return {
        "Spec": {
            "Probes": {
                name: [_probe(one, after) for one, after in changed if one.kind is kind] or None
                for kind, name in _LISTS.items()
            }
        }
    }


def _probe(original: OriginalProbe, after: Manifest) -> Manifest:
    """A rewritten probe as the API server has it: with the defaults filled in."""
    probe = original.declared.probe
    action = dict(cast("Manifest", after["httpGet"]))
    fields = {
        "path": action.get("path") or "/",
        "port": action["port"],
        "scheme": action.get("scheme") or "HTTP",
    }
    headers = [*cast("list[Manifest]", action.get("httpHeaders") or []), *_where(original)]
    delay = probe.initial_delay_seconds
    grace = probe.termination_grace_period_seconds
    return {
        "httpGet": {**fields, **({"httpHeaders": headers} if headers else {})},
        **({"initialDelaySeconds": delay} if delay else {}),
        "timeoutSeconds": probe.timeout_seconds,
        "periodSeconds": probe.period_seconds,
        "successThreshold": probe.success_threshold,
        "failureThreshold": probe.failure_threshold,
        **({"terminationGracePeriodSeconds": grace} if grace else {}),
    }


def _where(original: OriginalProbe) -> list[Manifest]:
    """The headers that tell Pipy where the app is, beyond what it assumes."""
    if not original.scheme:
        return []
    port = int(original.handler.port)
    found: list[Manifest] = []
    if port != _ASSUMED_PORTS[original.scheme]:
        found.append({"name": "Original-Http-Port", "value": str(port)})
    path = getattr(original.handler, "path", "/")
    target = probe_url("http", "127.0.0.1", port, path).request_target
    if original.scheme == "HTTP" and target != "/":
        found.append({"name": "Original-Http-Path", "value": target})
    return found
