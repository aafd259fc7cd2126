"""Pods and their probes, read from manifests: what the kubelet has to know of them, and no more.

What the API server would refuse about a probe is refused here, in its words
(``pkg/apis/core/validation/validation.go``); everything else in a manifest is none of ours.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from osm_healthcheck.core.constants import ProbeKind
from osm_healthcheck.core.errors import InvalidInputError, Mistake
from osm_healthcheck.core.ports import PORT_RANGE, is_port
from osm_healthcheck.core.probes import Probe, Reader, quoted, read_probe

# Where the pod's spec stands in each kind that has one.
_POD_SPECS = {
    "Pod": ("spec",),
    "PodTemplate": ("template", "spec"),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
    **dict.fromkeys(
        (
            "DaemonSet",
            "Deployment",
            "Job",
            "ReplicaSet",
            "ReplicationController",
            "StatefulSet",
        ),
        ("spec", "template", "spec"),
    ),
}
_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_DEFAULT_GRACE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A container that has probes or could have.

    ``ports`` are its named ports, ``owner`` is how the kubelet calls it in an error; a sidecar is
    an init container with ``restartPolicy: Always``.
    """

    name: str
    probes: Mapping[ProbeKind, Probe] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    is_sidecar: bool = False
    owner: str = ""


@dataclass(frozen=True, slots=True)
class PodSpec:
    """A pod as a manifest has it; ``grace`` is its terminationGracePeriodSeconds."""

    kind: str
    name: str
    containers: tuple[ContainerSpec, ...]
    restart_policy: str = "Always"
    grace: int = _DEFAULT_GRACE_SECONDS


def read_pods(documents: Iterable[object], source: str) -> tuple[PodSpec, ...]:
    """Read the pods of a manifest's documents; ``source`` is what to call it.

    Kinds without a pod in them are passed over.

    Raises:
        InvalidInputError: with everything that is wrong, or where there is no pod at all.
    """
    objects = list(_objects(documents))
    mistakes: list[Mistake] = []
    pods = []
    with_pods = [
        one for one in objects if isinstance(one, Mapping) and one.get("kind") in _POD_SPECS
    ]
    for index, one in enumerate(objects):
        if not isinstance(one, Mapping) or not isinstance(one.get("kind"), str):
            problem = "not a Kubernetes object: a mapping with apiVersion and kind is wanted"
            mistakes.append(Mistake(f"{source}, object {index + 1}", problem))
    for one in with_pods:
        found: list[Mistake] = []
        pods.append(_read_pod(one, found))
        prefix = f"{one['kind']}/{_name(one)}: " if len(with_pods) > 1 else ""
        mistakes += [Mistake(prefix + mistake.where, mistake.problem) for mistake in found]
    if not with_pods and not mistakes:
        kinds = ", ".join(sorted({str(one.get("kind")) for one in objects if one})) or "nothing"
        wanted = ", ".join(sorted(_POD_SPECS))
        mistakes.append(Mistake(source, f"no pod in it, found {kinds}; wanted is one of {wanted}"))
    if mistakes:
        raise InvalidInputError(mistakes)
    return tuple(pods)


def _objects(documents: Iterable[object]) -> Iterator[Mapping[str, object]]:
    for document in documents:
        if document is None:
            continue
        if isinstance(document, Mapping) and isinstance(document.get("items"), list | tuple):
            yield from _objects(document["items"])
        else:
            yield cast("Mapping[str, object]", document)


def _name(document: Mapping[str, object]) -> str:
    metadata = document.get("metadata")
    name = None
    if isinstance(metadata, Mapping):
        name = metadata.get("name") or metadata.get("generateName")
    return str(name or "unnamed")


def _read_pod(document: Mapping[str, object], mistakes: list[Mistake]) -> PodSpec:
    kind = str(document["kind"])
    name = _name(document)
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    owner = f"{name}_{metadata.get('namespace') or 'default'}({metadata.get('uid') or ''})"
    reader: Reader = Reader(document, "", mistakes)
    for step in _POD_SPECS[kind]:
        inner = reader.mapping(step)
        if inner is None:
            if reader.value.get(step) is None:
                reader.invalid(step, "Required value")
            return PodSpec(kind, name, ())
        reader = Reader(inner.value, inner.path.removeprefix("."), mistakes)
    policy = reader.text("restartPolicy", "Always")
    if policy not in _RESTART_POLICIES:
        supported = ", ".join(map(quoted, _RESTART_POLICIES))
        reader.invalid(
            "restartPolicy", f"Unsupported value: {quoted(policy)}: supported values: {supported}"
        )
    grace = reader.number("terminationGracePeriodSeconds", _DEFAULT_GRACE_SECONDS)
    if reader.value.get("terminationGracePeriodSeconds") == 0:
        grace = 0
    containers = [
        _read_container(one, owner, is_sidecar=False) for one in _entries(reader, "containers")
    ]
    if not containers and not isinstance(reader.value.get("containers"), list | tuple):
        reader.invalid("containers", "Required value")
    sidecars = []
    for one in _entries(reader, "initContainers"):
        if one.value.get("restartPolicy") == "Always":
            sidecars.append(_read_container(one, owner, is_sidecar=True))
        else:
            rule = "may not be set for init containers without restartPolicy=Always"
            _forbid_probes(one, rule)
    for one in _entries(reader, "ephemeralContainers"):
        _forbid_probes(one, "cannot be set for an Ephemeral Container")
    return PodSpec(kind, name, (*sidecars, *containers), policy, grace)


def _entries(reader: Reader, name: str) -> list[Reader]:
    entries = reader.value.get(name)
    if entries is None:
        return []
    if not isinstance(entries, list | tuple):
        reader.invalid_value(name, "must be a list")
        return []
    readers = []
    for index, entry in enumerate(entries):
        path = f"{reader.path}.{name}[{index}]"
        if isinstance(entry, Mapping):
            readers.append(Reader(entry, path, reader.mistakes))
        else:
            reader.mistakes.append(Mistake(path, "must be a mapping"))
    return readers


def _read_container(container: Reader, owner: str, *, is_sidecar: bool) -> ContainerSpec:
    name = container.text("name")
    if not name:
        container.invalid("name", "Required value")
    ports: dict[str, int] = {}
    for port in _entries(container, "ports"):
        number = port.value.get("containerPort")
        if not is_port(number):
            port.invalid_value("containerPort", PORT_RANGE)
        elif port_name := port.text("name"):
            ports.setdefault(port_name, cast("int", number))
    probes = {}
    for kind in ProbeKind:
        if (reader := container.mapping(kind.field)) is None:
            continue
        if (probe := read_probe(reader, kind)) is not None:
            probes[kind] = probe
    return ContainerSpec(name, probes, ports, is_sidecar, f"{owner}:{name}")


def _forbid_probes(container: Reader, rule: str) -> None:
    for kind in ProbeKind:
        if container.value.get(kind.field) is not None:
            container.invalid(kind.field, f"Forbidden: {rule}")
