"""The probes of a manifest, original or injected, each with its rewritten form."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from osm_healthcheck import __version__
from osm_healthcheck.errors import FieldWarning, Validation
from osm_healthcheck.injection.manifest_probe import own_port_of
from osm_healthcheck.injection.original import OriginalProbe, original_probes
from osm_healthcheck.injection.pods import Pod, copy_for_change, pods_in
from osm_healthcheck.injection.rewrite import declaration_of, rewritten
from osm_healthcheck.injection.uninject import LOST_RECORD, has_lost_record, undo
from osm_healthcheck.probes.constants import HEALTHCHECK_PORT, ProbeKind
from osm_healthcheck.probes.ports import OwnPorts
from osm_healthcheck.probes.probe import FieldReader, Probe, read_probe


@dataclass(frozen=True, slots=True)
class ProbePair:
    """One probe: as the manifest's author wrote it (port as a number), and rewritten."""

    pod: str
    container: str
    kind: ProbeKind
    original: Probe
    rewritten: Probe

    @property
    def name(self) -> str:
        """How to call it: ``app liveness``."""
        return f"{self.container} {self.kind.value}"


@dataclass(frozen=True, slots=True)
class PodProbes:
    """The probes of one pod, and what its sidecar is told; whether a probe of it is rewritten."""

    name: str
    pairs: tuple[ProbePair, ...]
    declaration: Mapping[str, object]
    warnings: tuple[FieldWarning, ...]
    is_injected: bool = True


def find_probe_pairs(
    manifest: object, container: str | None, ports: Mapping[int, int]
) -> list[PodProbes]:
    """The probes of a document that the sidecar answers for, of one ``container`` or all.

    ``ports`` are ports of the pod that are others here: probes are aimed at those.

    Raises:
        InvalidInputError: with everything that is wrong.
    """
    validation = Validation()
    found: list[PodProbes] = []
    for pod in pods_in(copy_for_change(manifest), validation):
        of_pod = Validation()
        found.append(_read(pod, container, ports, of_pod))
        validation.include(of_pod)
    validation.raise_errors()
    return found


def _read(
    pod: Pod, only: str | None, ports: Mapping[int, int], validation: Validation
) -> PodProbes:
    # what stands there now has to be read first: undoing works in place
    current = {
        (container.name, kind): value
        for container in pod.containers
        for kind, value in container.probes()
    }
    undone = undo(pod, __version__, validation)
    if undone is pod and has_lost_record(pod):
        validation.error(pod.where, LOST_RECORD)
        return PodProbes(pod.where, (), {}, ())
    originals = [_mapped(one, ports) for one in original_probes(undone, validation)]
    pairs = []
    for one, value in zip(originals, rewritten(originals, "passthrough"), strict=True):
        now = current.get((one.container, one.kind))
        if not ports and own_port_of(now, OwnPorts()) and isinstance(now, dict):
            value = now
        probe = read_probe(FieldReader(value, f"{pod.where}: {one.container}"), one.kind)
        if probe is not None and only in (None, one.container):
            pairs.append(ProbePair(pod.where, one.container, one.kind, one.declared.probe, probe))
    injected = any(own_port_of(one, OwnPorts()) for one in current.values())
    declared = declaration_of(originals)
    return PodProbes(pod.where, tuple(pairs), declared, tuple(validation.warnings), injected)


def _mapped(one: OriginalProbe, ports: Mapping[int, int]) -> OriginalProbe:
    """``one`` aimed at the port on which the app listens here."""
    port = ports.get(int(one.handler.port))
    if port is None:
        return one

    def aimed(probe: Mapping[str, object]) -> dict[str, object]:
        return {
            name: {**value, "port": port} if isinstance(value, Mapping) else value
            for name, value in probe.items()
        }

    probe = one.declared.probe._replace(handler=replace(one.handler, port=port))
    return OriginalProbe(
        aimed(one.value), aimed(one.declaration), one.declared._replace(probe=probe)
    )


def ports_of(pairs: Iterable[ProbePair]) -> list[int]:
    """The ports of the pod that the probes ask, directly and through the sidecar."""
    handlers = [probe.handler for pair in pairs for probe in (pair.original, pair.rewritten)]
    ports = {int(port) for one in handlers if (port := getattr(one, "port", 0))}
    return sorted(ports | {HEALTHCHECK_PORT})


def names_of(pods: Sequence[PodProbes]) -> str:
    """The containers that have probes, for a message."""
    names = dict.fromkeys(str(name) for pod in pods for name in pod.declaration)
    return ", ".join(names) or "none with probes"
