"""Pods and their probes, read from manifests: what the kubelet has to know of them, and no more.

What the API server would refuse about a probe is refused here, in its words
(``pkg/apis/core/validation/validation.go``); nothing else in a manifest is looked at.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.pods import Container, Pod, no_such_port, pods_in
from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.probes.ports import PORT_RANGE, is_port
from osm_healthcheck.probes.probe import FieldReader, Probe, read_probe
from osm_healthcheck.probes.quote import quoted

_TEMPLATE_PATHS = {
    "Pod": "spec",
    "PodTemplate": "template.spec",
    "CronJob": "spec.jobTemplate.spec.template.spec",
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

    def port_problem(self, kind: ProbeKind) -> str:
        """What is wrong with the port that a probe names, in the words of inject; or empty.

        The kubelet's own, which its event has, are Go's: it takes an unknown name for a number.
        """
        port = getattr(self.probes[kind].handler, "port", 0)
        if not isinstance(port, str) or port in self.ports or port.lstrip("+-").isdigit():
            return ""
        return no_such_port(port, self.name, list(self.ports))

    @property
    def field_path(self) -> str:
        """What its events are about (``pkg/kubelet/container/ref.go``, fieldPath)."""
        field = "initContainers" if self.is_sidecar else "containers"
        return f"spec.{field}{{{self.name}}}"


@dataclass(frozen=True, slots=True)
class PodSpec:
    """A pod as a manifest has it; ``grace`` is its terminationGracePeriodSeconds."""

    kind: str
    name: str
    containers: tuple[ContainerSpec, ...]
    restart_policy: str = "Always"
    grace: int = _DEFAULT_GRACE_SECONDS

    def container(self, name: str) -> ContainerSpec:
        """The container of that name, which there has to be."""
        return next(one for one in self.containers if one.name == name)


def read_pods(documents: Iterable[object], source: str) -> tuple[PodSpec, ...]:
    """Read the pods of a manifest's documents; ``source`` is what to call it.

    Kinds without a pod in them are passed over.

    Raises:
        InvalidInputError: with everything that is wrong, or where there is no pod at all.
    """
    validation = Validation()
    pods = [pod for document in documents for pod in pods_in(document, validation)]
    specs = []
    for pod in pods:
        found = Validation()
        specs.append(read_pod(pod, found))
        validation.include(found, f"{pod.where}: " if len(pods) > 1 else "")
    if not pods and not validation.errors:
        validation.error(source, "no pod in it, nor a Deployment or the like that has one")
    validation.raise_errors()
    return tuple(specs)


def only_container(pods: Iterable[PodSpec], name: str) -> tuple[PodSpec, ...]:
    """The pods that have a container of that name, with no other container left in them."""
    chosen = []
    for pod in pods:
        containers = tuple(one for one in pod.containers if one.name == name)
        if containers:
            chosen.append(replace(pod, containers=containers))
    return tuple(chosen)


def read_pod(pod: Pod, validation: Validation) -> PodSpec:
    """Read one pod; what is wrong with its probes goes to ``validation``."""
    reader = FieldReader(pod.spec, _TEMPLATE_PATHS.get(pod.kind, "spec.template.spec"), validation)
    name = pod.where.partition(" ")[2]
    namespace, _, bare = name.rpartition("/")
    owner = f"{bare}_{namespace or 'default'}"
    policy = reader.text("restartPolicy", "Always")
    if policy not in _RESTART_POLICIES:
        supported = ", ".join(map(quoted, _RESTART_POLICIES))
        reader.invalid(
            "restartPolicy", f"Unsupported value: {quoted(policy)}: supported values: {supported}"
        )
    grace = reader.number("terminationGracePeriodSeconds", _DEFAULT_GRACE_SECONDS)
    if reader.value.get("terminationGracePeriodSeconds") == 0:
        grace = 0
    sidecars = []
    for index, one in enumerate(_listed(pod, "initContainers")):
        container = FieldReader(one.value, f"{reader.path}.initContainers[{index}]", validation)
        if one.is_native_sidecar:
            sidecars.append(_read_container(one, container, owner))
        else:
            rule = "may not be set for init containers without restartPolicy=Always"
            _forbid_probes(container, rule)
    containers = [
        _read_container(
            one, FieldReader(one.value, f"{reader.path}.containers[{index}]", validation), owner
        )
        for index, one in enumerate(_listed(pod, "containers"))
    ]
    for container in _entries(reader, "ephemeralContainers"):
        _forbid_probes(container, "cannot be set for an Ephemeral Container")
    return PodSpec(pod.kind, name, (*sidecars, *containers), policy, grace)


def _listed(pod: Pod, field: str) -> list[Container]:
    return [container for container in pod.containers if container.field == field]


def _entries(reader: FieldReader, name: str) -> list[FieldReader]:
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
            readers.append(FieldReader(entry, path, reader.validation))
        else:
            reader.validation.error(path, "must be a mapping")
    return readers


def _read_container(container: Container, reader: FieldReader, owner: str) -> ContainerSpec:
    ports: dict[str, int] = {}
    for port in _entries(reader, "ports"):
        number = port.value.get("containerPort")
        if not is_port(number):
            port.invalid_value("containerPort", PORT_RANGE)
        elif port_name := port.text("name"):
            ports.setdefault(port_name, cast("int", number))
    probes = {}
    for kind in ProbeKind:
        if (field := reader.mapping(kind.field)) is None:
            continue
        if (probe := read_probe(field, kind)) is not None:
            probes[kind] = probe
    return ContainerSpec(
        container.name, probes, ports, container.is_native_sidecar, f"{owner}:{container.name}"
    )


def _forbid_probes(container: FieldReader, rule: str) -> None:
    for kind in ProbeKind:
        if container.value.get(kind.field) is not None:
            container.invalid(kind.field, f"Forbidden: {rule}")
