"""Kubernetes' prober directly at an app, and at the sidecar that answers for it.

The probe that it asks the sidecar by, and what the sidecar is told, are what ``inject`` makes of a
pod with the probe of the case.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from osm_healthcheck.errors import InvalidInputError
from osm_healthcheck.injection.containers import PROBES_VARIABLE
from osm_healthcheck.injection.inject import inject
from osm_healthcheck.injection.pods import SIDECAR
from osm_healthcheck.injection.rewrite import HTTPS_MODES, HTTPSMode
from tests.differential.case import Case
from tests.differential.compare import Difference, Seen, ask_kubernetes
from tests.differential.known import reason_for
from tests.differential.kubernetes import KubernetesProber
from tests.differential.puppet import puppet
from tests.differential.zoo import SIDECAR_GROUPS
from tests.io.sidecar import sidecar
from tests.io.wire import own_address
from tests.manifests.strategies import injection

# Go's word for any end of a connection that it sees before it has begun a request on it
_TOO_SOON = "http2: client conn could not be established"
_TRIES = 20
_LONG = 5.0
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class Injected:
    """A pod after ``inject``: its probe's handler, and what the sidecar is told."""

    handler: Mapping[str, Any]
    declared: dict[str, Any]

    @property
    def is_handed_through(self) -> bool:
        """Whether what it sends goes to the app as it is."""
        return bool(self.handler["httpGet"].get("scheme") == "HTTPS")


def cases_of(group: str) -> Iterator[tuple[str, HTTPSMode, list[Case]]]:
    """The cases of a group that ``inject`` rewrites: a name, how HTTPS is asked, the cases.

    Those over TLS come twice, handed through and by request.
    """
    every = [case for case in SIDECAR_GROUPS[group]() if _inject(case, 1, "request")]
    is_https = any(case.tls or "scheme" in case.handler.get("httpGet", {}) for case in every)
    for https in HTTPS_MODES if is_https else HTTPS_MODES[:1]:
        name = f"{group}, HTTPS by {https}" if is_https else group
        yield name, https, every


def ask_through(
    https: HTTPSMode, case: Case, prober: KubernetesProber, _: asyncio.Runner
) -> list[Difference]:
    """How the verdicts, or what the app is sent, differ; HTTPS is asked as ``https`` says.

    A verdict ``varies`` where Kubernetes' prober, asked directly again, comes to the sidecar's.
    """
    hangs = case.time_limit < _LONG
    with _address(case) as address:
        asked = replace(case, address=address, time_limit=1.0 if hangs else 10.0)
        direct = _ask_directly(asked, prober)
        through = _ask_sidecar(asked, prober, https)
        if direct.verdict == through.verdict:
            # of one that hangs, the clock says how many requests it gets
            is_sent_another = not hangs and direct.requests != through.requests
            return [Difference(case, "request", direct, through)] if is_sent_another else []
        found = Difference(case, "verdict", direct, through)
        again = (_ask_directly(asked, prober).verdict for _ in range(_TRIES))
        if not reason_for(found) and through.verdict in again:
            found = replace(found, aspect="varies")
        return [found]


def _ask_directly(case: Case, prober: KubernetesProber) -> Seen:
    for _ in range(_TRIES):
        seen = ask_kubernetes(case, prober)
        if _TOO_SOON not in seen.text:
            break
    return seen


def _ask_sidecar(case: Case, prober: KubernetesProber, https: HTTPSMode) -> Seen:
    with puppet(case.address, case) as app:
        injected = _inject(case, app.port, https)
        assert injected, case
        # for callers on loopback an app is at 127.0.0.1, unless it is said where
        with sidecar(injected.declared, "--target-host", case.address, address=case.address):
            concluded = prober.run_probe(injected.handler, case.address, {}, case.time_limit)
        requests = app.received()
        if injected.is_handed_through:
            # they name the port that was asked, which is the sidecar's (docs/differences.md)
            asked = b":%d" % injected.handler["httpGet"]["port"]
            requests = tuple(one.replace(asked, b":<port>") for one in requests)
        return Seen(concluded, requests, app.port)


@contextlib.contextmanager
def _address(case: Case) -> Iterator[str]:
    """Where the app and the sidecar are: its ports are fixed, and of IPv6 there is but one ::1."""
    if ":" not in case.address:
        yield own_address()
        return
    with _one_at_a_time:
        yield case.address


def _inject(case: Case, port: int, https: HTTPSMode) -> Injected | None:
    """What becomes of the case's probe; ``None`` where ``inject`` leaves it alone or refuses it."""
    probe = {**case.handler_for(port), "timeoutSeconds": int(case.time_limit) or 1}
    ports = [{"name": "app", "containerPort": port}]
    container = {"name": "app", "image": "app", "ports": ports, "livenessProbe": probe}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app"}}
    try:
        changed = inject({**pod, "spec": {"containers": [container]}}, injection(https=https))
    except InvalidInputError:
        return None
    if not changed.injected:
        return None
    spec: Any = changed.manifest["spec"]  # type: ignore[index]
    variables = next(one for one in spec["initContainers"] if one["name"] == SIDECAR)["env"]
    declared = next(one["value"] for one in variables if one["name"] == PROBES_VARIABLE)
    (rewritten,) = (one["livenessProbe"] for one in spec["containers"])
    rewritten = {name: value for name, value in rewritten.items() if name != "timeoutSeconds"}
    return Injected(rewritten, json.loads(declared))
