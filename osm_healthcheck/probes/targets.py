"""What the sidecar may reach: the declared probes, in tables by which a request looks them up.

A port that is in none of these tables is never dialled for a caller.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.probes.hooks import DeclaredHook
from osm_healthcheck.probes.probe import GRPCAction, HTTPGetAction, Probe
from osm_healthcheck.probes.request import ProbeHeaders, probe_headers

# The kubelet stops its clock at timeoutSeconds; an answer has to be with it before that.
ANSWER_MARGIN = 0.05
# characters of a service that nobody declared, in answers and in the log
MAX_SHOWN_SERVICE = 80


class DeclaredProbe(NamedTuple):
    """One probe of one container. Its port is a number and its handler not ``exec``."""

    container: str
    kind: ProbeKind
    probe: Probe

    def __str__(self) -> str:
        return f"{self.container}/{self.kind.value}"


# Targets are told apart by identity: results are kept for each, on every probe.
@dataclass(frozen=True, slots=True, eq=False)
class CheckTarget:
    """What 15904 asks: a port, or with ``service`` a gRPC health service on it.

    A request does not say which container or kind it is for, so ``probes`` are all that it may
    be; ``deadline`` (seconds from the request) is the longest of theirs.
    """

    port: int
    service: str | None = None
    probes: tuple[DeclaredProbe, ...] = ()
    deadline: float | None = None

    def __str__(self) -> str:
        if self.service is None:
            return f"tcp://:{self.port}"
        service = self.service
        if not self.probes and len(service) > MAX_SHOWN_SERVICE:  # a caller made it up
            service = f"{service[:MAX_SHOWN_SERVICE]}…"
        return f"grpc://:{self.port}/{service}"


@dataclass(frozen=True, slots=True, eq=False)
class HTTPTarget:
    """What a probe proxy asks for one declared ``httpGet``; ``deadline`` in seconds."""

    declared: DeclaredProbe
    action: HTTPGetAction
    port: int
    headers: ProbeHeaders
    deadline: float

    @property
    def probes(self) -> tuple[DeclaredProbe, ...]:
        """The one probe that this stands for, in the form that a check target has."""
        return (self.declared,)

    def __str__(self) -> str:
        return f"{self.action.scheme.lower()}://:{self.port}{self.action.path}"


@dataclass(frozen=True, slots=True, eq=False)
class HookTarget:
    """What 15904 asks for one declared lifecycle hook."""

    declared: DeclaredHook
    action: HTTPGetAction
    port: int
    headers: ProbeHeaders

    @property
    def deadline(self) -> None:
        """The kubelet's client of hooks has no timeout."""
        return

    @property
    def probes(self) -> tuple[DeclaredHook, ...]:
        """The one hook that this stands for, in the form that a check target has."""
        return (self.declared,)

    def __str__(self) -> str:
        return f"{self.action.scheme.lower()}://:{self.port}{self.action.path}"


class Routes(NamedTuple):
    """What one probe proxy serves: HTTP by path, and the TLS bytes of its one HTTPS probe."""

    http: Mapping[str, HTTPTarget]
    tls: HTTPTarget | None


class Targets(NamedTuple):
    """All that was declared.

    ``routes`` has the kinds that need a listener, and no others; ``hooks`` are by path; ``ports``
    are those of the app.
    """

    checks: Mapping[tuple[int, str | None], CheckTarget]
    routes: Mapping[ProbeKind, Routes]
    hooks: Mapping[str, HookTarget]
    ports: frozenset[int]

    def all(self) -> "list[CheckTarget | HTTPTarget | HookTarget]":
        """Each target once, by kind of probe, then checks, then hooks."""
        http = [target for routes in self.routes.values() for target in routes.http.values()]
        return list(dict.fromkeys([*http, *self.checks.values(), *self.hooks.values()]))


def targets_of(declared: Iterable[DeclaredProbe], hooks: Iterable[DeclaredHook] = ()) -> Targets:
    """Build the tables for ``declared`` and ``hooks``, at most one for a container and kind."""
    hook_targets = {hook.path: _hook_target(hook) for hook in hooks}
    checks: dict[tuple[int, str | None], list[DeclaredProbe]] = {}
    http: dict[ProbeKind, list[HTTPTarget]] = {}
    ports = set()
    for one in declared:
        match one.probe.handler:
            case HTTPGetAction() as action:
                target = _http_target(one, action)
                http.setdefault(one.kind, []).append(target)
                ports.add(target.port)
            case handler:
                port = int(getattr(handler, "port", 0))
                service = handler.service if isinstance(handler, GRPCAction) else None
                checks.setdefault((port, service), []).append(one)
                ports.add(port)
    return Targets(
        checks=MappingProxyType(
            {
                key: CheckTarget(*key, tuple(probes), max(_deadline(p.probe) for p in probes))
                for key, probes in checks.items()
            }
        ),
        routes=MappingProxyType({kind: _routes(kind, http[kind]) for kind in http}),
        hooks=MappingProxyType(hook_targets),
        ports=frozenset(ports | {target.port for target in hook_targets.values()}),
    )


def _routes(kind: ProbeKind, targets: list[HTTPTarget]) -> Routes:
    """Every probe answers under its container's name, the bare path where it is unambiguous.

    It is where one container has a scheme-HTTP probe of the kind, or none has and one has HTTPS.
    TLS bytes carry no path: only a single HTTPS probe can have them passed through.
    """
    paths = {f"{kind.path}/{target.declared.container}": target for target in targets}
    plain = [target for target in targets if target.action.scheme == "HTTP"]
    secure = [target for target in targets if target.action.scheme == "HTTPS"]
    bare = plain or secure
    if len(bare) == 1:
        paths[kind.path] = bare[0]
    return Routes(MappingProxyType(paths), secure[0] if len(secure) == 1 else None)


def _http_target(declared: DeclaredProbe, action: HTTPGetAction) -> HTTPTarget:
    headers = probe_headers(action.http_headers)
    return HTTPTarget(declared, action, int(action.port), headers, _deadline(declared.probe))


def _hook_target(hook: DeclaredHook) -> HookTarget:
    action = hook.action
    return HookTarget(hook, action, int(action.port), probe_headers(action.http_headers))


def _deadline(probe: Probe) -> float:
    return probe.timeout_seconds - ANSWER_MARGIN
