"""Why a probe has the verdict that it has, and why the sidecar has another one.

The messages of the kubelet say what happened, not what to do about it. Here the likely reasons
are tried out, one after another, by asking again in another way.
"""

import re
from dataclasses import dataclass, replace

from osm_healthcheck.diagnosis.probe_pairs import ProbePair
from osm_healthcheck.kubelet.address import PodAddress
from osm_healthcheck.kubelet.pod_spec import ContainerSpec
from osm_healthcheck.kubelet.prober import Outcome, probe
from osm_healthcheck.kubelet.verdict import Result
from osm_healthcheck.probes.constants import HEALTHCHECK_PORT, HEALTHZ_PATH
from osm_healthcheck.probes.probe import (
    GRPCAction,
    HTTPGetAction,
    HTTPHeader,
    Probe,
    TCPSocketAction,
)
from osm_healthcheck.wire.listening import listening_addresses

PATIENCE_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Comparison:
    """A probe's two verdicts; ``why`` is empty where both are well."""

    pair: ProbePair
    direct: Outcome
    through: Outcome
    why: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the sidecar's verdict is the direct one; without a sidecar it has none."""
        if self.is_unanswered or self.is_undeclared:
            return False
        return verdict(self.direct) == verdict(self.through)

    @property
    def is_undeclared(self) -> bool:
        """Whether the sidecar itself refused: 403, which the app did not say."""
        return "statuscode: 403" in _text(self.through) and (
            "statuscode: 403" not in _text(self.direct)
        )

    @property
    def is_unanswered(self) -> bool:
        """Whether nobody took the connection to the sidecar."""
        return ": dial tcp " in self.through.verdict.output


def verdict(outcome: Outcome) -> str:
    """``success``, ``warning``, ``failure``, or ``no verdict`` where there was an error."""
    return "no verdict" if outcome.verdict.error is not None else outcome.verdict.result.value


async def compare(pair: ProbePair, app: PodAddress, sidecar: PodAddress) -> Comparison:
    """Ask ``pair`` directly and through the sidecar."""
    direct = await _ask(pair, pair.original, app)
    return Comparison(pair, direct, await _ask(pair, pair.rewritten, sidecar))


async def compare_forwarded(pair: ProbePair, address: PodAddress) -> Comparison:
    """`examine` by forwarded ports, all at ``address``.

    Who forwards them takes every connection itself: for a ``tcpSocket`` probe that says nothing of
    the app, and so the sidecar's word is all there is.
    """
    comparison = await examine(pair, address, address)
    is_tcp = isinstance(pair.original.handler, TCPSocketAction)
    if not is_tcp or comparison.is_unanswered or comparison.is_undeclared:
        return comparison
    why = "the sidecar's word alone: a port-forward itself takes every connection"
    return replace(comparison, direct=comparison.through, why=why)


async def is_serving(pair: ProbePair, sidecar: PodAddress) -> bool:
    """Whether the sidecar says that it runs; it is asked as for ``pair``, and not hurried."""
    healthz = Probe(HTTPGetAction(HEALTHCHECK_PORT, HEALTHZ_PATH), timeout_seconds=PATIENCE_SECONDS)
    return (await _ask(pair, healthz, sidecar)).result is Result.SUCCESS


async def examine(
    pair: ProbePair, app: PodAddress, sidecar: PodAddress, patience: int = PATIENCE_SECONDS
) -> Comparison:
    """`compare`, and find out why it is so; a slow app is given ``patience`` seconds for that."""
    comparison = await compare(pair, app, sidecar)
    why = ""
    if not comparison.agrees:
        why = await _about_sidecar(comparison, sidecar)
    if not why and (not comparison.agrees or verdict(comparison.direct) != "success"):
        why = await _about_app(comparison, app, patience)
    return replace(comparison, why=why)


async def _ask(pair: ProbePair, spec: Probe, address: PodAddress) -> Outcome:
    container = ContainerSpec(pair.container, {pair.kind: spec})
    return await probe(pair.kind, container, address)


async def _about_sidecar(comparison: Comparison, sidecar: PodAddress) -> str:
    """What is wrong with the sidecar, or with what it was told; empty where nothing shows."""
    handler = comparison.pair.rewritten.handler
    port = int(getattr(handler, "port", 0))
    said = _text(comparison.through)
    if comparison.is_unanswered:
        if port != HEALTHCHECK_PORT and await is_serving(comparison.pair, sidecar):
            return (
                f"not declared: the sidecar runs, but it was not told of a probe for port {port}; "
                "its OSM_HEALTHCHECK_PROBES must name this one"
            )
        return f"sidecar not running: {said.partition(': ')[2]}"
    if comparison.is_undeclared:
        target = int(getattr(comparison.pair.original.handler, "port", 0))
        return (
            f"not declared: the sidecar may not ask port {target}, or not for this caller; look "
            "at its OSM_HEALTHCHECK_PROBES and --allow-from"
        )
    if "Client.Timeout" in said and "Client.Timeout" not in _text(comparison.direct):
        seconds = comparison.direct.seconds
        return (
            f"timeout too short: the app took {seconds:.2f}s of "
            f"{comparison.pair.original.timeout_seconds}s when asked directly; the sidecar answers "
            "50 ms before the kubelet gives up"
        )
    if "statuscode: 404" in said and port != HEALTHCHECK_PORT:
        path = handler.path if isinstance(handler, HTTPGetAction) else ""
        return f"not declared: the sidecar knows no probe at {path}, or the app answers it so"
    return ""


async def _about_app(comparison: Comparison, app: PodAddress, patience: int) -> str:
    """What is wrong with the app, or with the probe."""
    pair, said = comparison.pair, _text(comparison.direct)
    spec, handler = pair.original, pair.original.handler
    port = app.port(app.ip, int(getattr(handler, "port", 0)))
    if "connection refused" in said or (
        isinstance(handler, GRPCAction) and "failed to connect" in said
    ):
        if elsewhere := sorted(listening_addresses(port)):
            if isinstance(handler, GRPCAction) and _covers(elsewhere, app.ip):
                return f"not a gRPC server: what listens on port {port} does not speak HTTP/2"
            where = ", ".join(elsewhere)
            return f"listening on another address only: port {port} on {where}, not on {app.ip}"
        return f"not listening: nobody listens on port {port} of {app.ip}"
    if "Client.Timeout" in said or "i/o timeout" in said or said.startswith("timeout:"):
        patient = await _ask(pair, spec._replace(timeout_seconds=patience), app)
        if patient.result is Result.SUCCESS:
            return (
                f"timeout too short: the app needs {patient.seconds:.2f}s, timeoutSeconds is "
                f"{spec.timeout_seconds}"
            )
        return f"no answer: not within {patience}s either"
    if (status := re.search(r"statuscode: (\d+)", said)) and isinstance(handler, HTTPGetAction):
        for host in ("localhost", f"localhost:{port}"):
            headers = (HTTPHeader("Host", host),)
            other = spec._replace(handler=replace(handler, http_headers=headers))
            if (await _ask(pair, other, app)).result is Result.SUCCESS:
                return (
                    f"wrong Host: the app answers {status[1]} for Host {app.ip}:{handler.port} and "
                    f"is well for {host}; set a Host among the probe's httpHeaders"
                )
        return f"status code: the app answers {status[1]}"
    if comparison.direct.verdict.result is Result.WARNING:
        return (
            "redirect: to another host, or without a Location; the kubelet does not follow it and "
            "takes it for a success"
        )
    if comparison.direct.verdict.error is not None:
        return f"broken answer: {comparison.direct.verdict.error}; the kubelet does not count it"
    if verdict(comparison.direct) == "success":
        return (
            f"the app is well when asked directly; through the sidecar: {_text(comparison.through)}"
        )
    return said


def _text(outcome: Outcome) -> str:
    return outcome.verdict.error or outcome.verdict.output


def _covers(addresses: list[str], ip: str) -> bool:
    return any(address in (ip, "0.0.0.0", "::") for address in addresses)
