"""The pods in a manifest: a read-only view on each, whatever kind holds it.

The manifest stays a plain mapping, so that unknown fields are kept. Kinds are matched with
their API group: a custom resource that happens to be called ``Job`` passes through untouched.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from osm_healthcheck.errors import FieldWarning, Validation
from osm_healthcheck.injection.manifest_probe import Manifest as Manifest
from osm_healthcheck.probes.constants import ProbeKind
from osm_healthcheck.probes.ports import PORT_RANGE, is_port
from osm_healthcheck.probes.quote import quoted

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
SIDECAR = "osm-healthcheck"
INIT_CONTAINER = "osm-healthcheck-init"

# The containers of the meshes: their probes are their own, and no port of theirs is the app's.
# osm-edge calls its Pipy just "sidecar"; a container of the user may be called that too.
PROXIES = frozenset(
    "envoy sidecar istio-proxy kuma-sidecar linkerd-proxy consul-dataplane envoy-sidecar".split()
)
_MESH_CONTAINERS = frozenset(
    "osm-init fsm-init fsm-healthcheck istio-init istio-validation enable-core-dump kuma-init "
    "kuma-validation linkerd-init linkerd-network-validator linkerd-debug "
    "consul-connect-inject-init".split()
)
_OSM_EDGE_PROXY = "sidecar"
_OSM_EDGE_INITS = ("osm-init", "fsm-init")  # FSM is osm-edge, renamed

_PROBE_FIELDS = tuple((kind, kind.field) for kind in ProbeKind)
_CONTAINER_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_TEMPLATE = ("spec", "template")
_PATHS: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "Pod"): (),
    ("", "PodTemplate"): ("template",),
    ("", "ReplicationController"): _TEMPLATE,
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "StatefulSet"): _TEMPLATE,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("batch", "Job"): _TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", *_TEMPLATE),
}
# What of a document is changed in place: mappings and lists by their keys, entries of lists alike.
_Parts = dict[str, "_Parts"]
_CONTAINER: _Parts = {"lifecycle": {}}
_RESOURCES: _Parts = {"requests": {}, "limits": {}}
_SPEC: _Parts = {
    "initContainers": _CONTAINER,
    "containers": _CONTAINER,
    "resources": _RESOURCES,
}
_POD: _Parts = {"metadata": {"annotations": {}}, "spec": _SPEC}
_DOCUMENT: _Parts = {
    **_POD,
    "template": _POD,
    "spec": {**_SPEC, "template": _POD, "jobTemplate": {"spec": {"template": _POD}}},
}
_DOCUMENT["items"] = _DOCUMENT
_GROUPS = {"extensions": "apps"}  # where Deployments and the like lived before Kubernetes 1.16


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod; ``field`` is the list that it stands in."""

    value: Manifest
    field: str

    @property
    def name(self) -> str:
        """Its name, which is unique in the pod."""
        return str(self.value["name"])

    @property
    def starts_before_containers(self) -> bool:
        """Whether it stands in ``initContainers``."""
        return self.field == "initContainers"

    @property
    def is_native_sidecar(self) -> bool:
        """Whether it is an init container that keeps running (Kubernetes 1.29 and newer)."""
        return self.starts_before_containers and self.value.get("restartPolicy") == "Always"

    def probes(self) -> Iterator[tuple[ProbeKind, object]]:
        """The probes that it has, as they stand in the manifest."""
        for kind, field in _PROBE_FIELDS:
            if (value := self.value.get(field)) is not None:
                yield kind, value

    def ports(self) -> list[Manifest]:
        """The entries of ``ports`` that are mappings."""
        ports = self.value.get("ports")
        return [port for port in ports if isinstance(port, dict)] if isinstance(ports, list) else []

    def port_named(self, name: int | str) -> Manifest | None:
        """The first entry of ``ports`` called ``name``; ``None`` where there is none.

        As the kubelet's ``probe.ResolveContainerPort`` does it: in this container only.
        """
        return next((port for port in self.ports() if port.get("name") == name), None)

    def protocol_of(self, port: int | str) -> str:
        """The protocol of the port called ``port``; empty where it is a number."""
        named = self.port_named(port) if isinstance(port, str) else None
        return str(named.get("protocol") or "TCP") if named else ""

    def resolve_port(self, port: int | str) -> int:
        """The number of ``port``: itself, or that of the container's port of that name.

        Raises:
            ValueError: where no port has that name, or its number is none; it says so.
        """
        if isinstance(port, int):
            return port
        named = self.port_named(port)
        if named is None or (number := named.get("containerPort")) is None:
            names = [str(one["name"]) for one in self.ports() if one.get("name")]
            raise ValueError(no_such_port(port, self.name, names))
        if not is_port(number):
            raise ValueError(
                f"Invalid value: {quoted(port)}: names containerPort {quoted(number)}: {PORT_RANGE}"
            )
        return cast("int", number)


def no_such_port(port: str, container: str, names: Sequence[str]) -> str:
    """What is wrong with a probe's ``port`` that is not among the ``names`` of its container's."""
    known = f"its named ports are {', '.join(names)}" if names else "it has no named ports"
    return f"Invalid value: {quoted(port)}: container {container} has no port of that name; {known}"


@dataclass(frozen=True)
class Pod:
    """A pod, or the template of one: a mapping with ``metadata`` and ``spec``.

    ``where`` names it for a reader (``Deployment shop/web``), ``kind`` is what holds it;
    ``is_live`` says that it was read from a cluster, ``namespace`` is empty where none is named,
    ``is_applied`` says that it came there by ``kubectl apply``, and not ``--server-side``.
    """

    value: Manifest
    where: str
    kind: str
    containers: tuple[Container, ...]
    is_live: bool = False
    namespace: str = ""
    is_applied: bool = False

    @property
    def spec(self) -> Manifest:
        """Its ``spec``."""
        return cast("Manifest", self.value["spec"])

    @property
    def annotations(self) -> dict[str, object]:
        """Its annotations: the manifest's own, or an empty mapping where it has none."""
        return metadata_of(self.value, "annotations")

    @property
    def labels(self) -> dict[str, object]:
        """Its labels: the manifest's own, or an empty mapping where it has none."""
        return metadata_of(self.value, "labels")

    def container(self, name: str) -> Container | None:
        """The container of that name, in either list."""
        return self._by_name.get(name)

    def is_mesh_container(self, container: Container) -> bool:
        """Whether ``container`` is one that a mesh has injected."""
        if container.name == _OSM_EDGE_PROXY:
            return any(self.container(name) is not None for name in _OSM_EDGE_INITS)
        return container.name in PROXIES or container.name in _MESH_CONTAINERS

    @cached_property
    def _by_name(self) -> dict[str, Container]:
        return {one.name: one for one in reversed(self.containers)}


def pods_in(
    manifest: object, validation: Validation, *, of: tuple[str, str] | None = None
) -> list[Pod]:
    """Find the pods in one document, those in the items of a ``List`` included.

    Other kinds hold none. What is no Kubernetes object, or has a pod that cannot be read, is an
    error in ``validation``. ``of`` is the apiVersion and kind that the list around it has named.
    """
    if not isinstance(manifest, dict):
        validation.error("document", "is not a Kubernetes object: it must be a mapping")
        return []
    version, kind = manifest.get("apiVersion"), manifest.get("kind")
    if of and not version and not kind:
        version, kind = of
    if not isinstance(kind, str) or not kind or not isinstance(version, str) or not version:
        missing = "kind" if not isinstance(kind, str) or not kind else "apiVersion"
        validation.error(missing, "Required value: this is not a Kubernetes object")
        return []
    group = version.rpartition("/")[0]
    key = (_GROUPS.get(group, group), kind)
    if isinstance(items := manifest.get("items"), list) and kind.endswith("List"):
        return _pods_in_list(key, version, items, validation)
    if key not in _PATHS:
        return []
    where = f"{kind} {name_of(manifest)}"
    template: object = manifest
    path = ""
    for name in _PATHS[key]:
        path = f"{path}.{name}".lstrip(".")
        template = template.get(name) if isinstance(template, dict) else None
        if not isinstance(template, dict):
            validation.error(f"{where}: {path}", "Required value: must be a mapping")
            return []
    found = Validation()
    containers = _read_containers(cast("Manifest", template), where, found)
    validation.include(found)
    if found.errors:
        return []
    metadata = manifest.get("metadata")
    is_live = isinstance(metadata, dict) and bool(metadata.get("uid"))
    is_applied = LAST_APPLIED in metadata_of(manifest, "annotations")
    namespace = metadata.get("namespace") if isinstance(metadata, dict) else None
    return [
        Pod(
            cast("Manifest", template),
            where,
            kind,
            tuple(containers),
            is_live,
            namespace if isinstance(namespace, str) else "",
            is_applied,
        )
    ]


def metadata_of(manifest: Manifest, field: str) -> dict[str, object]:
    """The ``labels`` or ``annotations`` of an object; an empty mapping where it has none."""
    metadata = manifest.get("metadata")
    found = metadata.get(field) if isinstance(metadata, dict) else None
    return found if isinstance(found, dict) else {}


def is_known_kind(version: str, kind: str) -> bool:
    """Whether objects of this apiVersion and kind hold a pod."""
    group = version.rpartition("/")[0]
    return (_GROUPS.get(group, group), kind) in _PATHS


def _pods_in_list(
    key: tuple[str, str], version: str, items: list[object], validation: Validation
) -> list[Pod]:
    single = (key[0], key[1].removesuffix("List"))
    if key != ("", "List") and single not in _PATHS:
        return []
    pods = []
    for number, item in enumerate(items, 1):
        found = Validation()
        pods += pods_in(item, found, of=(version, single[1]) if single in _PATHS else None)
        validation.include(found, f"item {number}: ")
    return pods


def name_of(manifest: Manifest) -> str:
    """The name of an object, with its namespace, for a reader."""
    metadata = manifest.get("metadata")
    if not isinstance(metadata, dict):
        return "(no name)"
    name = metadata.get("name") or metadata.get("generateName") or "(no name)"
    namespace = metadata.get("namespace")
    # a message is one line, whatever stands there
    return " ".join((f"{namespace}/{name}" if namespace else str(name)).split())


def _read_containers(value: Manifest, where: str, validation: Validation) -> list[Container]:
    metadata = value.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        validation.error(f"{where}: metadata", "Invalid value: must be a mapping")
    elif metadata and not isinstance(metadata.get("annotations") or {}, dict):
        validation.error(f"{where}: metadata.annotations", "Invalid value: must be a mapping")
    spec = value.get("spec")
    if not isinstance(spec, dict):
        validation.error(f"{where}: spec", "Required value: must be a mapping")
        return []
    if not spec.get("containers"):
        validation.error(f"{where}: spec.containers", "Required value")
    containers: list[Container] = []
    names: set[str] = set()
    for field in ("initContainers", "containers"):
        listed = spec.get(field) or []
        if not isinstance(listed, list):
            validation.error(f"{where}: spec.{field}", "Invalid value: must be a list")
            continue
        for index, one in enumerate(listed):
            path = f"{where}: spec.{field}[{index}]"
            if not isinstance(one, dict):
                validation.error(path, "Invalid value: must be a mapping")
                continue
            name = one.get("name")
            if not isinstance(name, str) or not _CONTAINER_NAME.fullmatch(name):
                validation.error(
                    f"{path}.name",
                    f"Invalid value: {quoted(name)}: must be up to 63 of a-z, 0-9 and -, "
                    "with no - at the ends",
                )
                continue
            if name in names:
                validation.error(f"{path}.name", f"Duplicate value: {quoted(name)}")
            names.add(name)
            containers.append(Container(one, field))
    return containers


@dataclass(frozen=True, slots=True)
class InjectedPod:
    """A pod that was injected, by its ``where``, and how much of it was rewritten."""

    where: str
    probes: int
    hooks: int


@dataclass(frozen=True, slots=True)
class ManifestChange:
    """A document after a command, and warnings about it; the document given is unchanged.

    ``injected`` are the pods in it that were, ``given_back`` those that no longer are, by their
    ``where``.
    """

    manifest: object
    warnings: tuple[FieldWarning, ...] = ()
    injected: tuple[InjectedPod, ...] = ()
    given_back: tuple[str, ...] = ()


def each_pod(manifest: object, change: Callable[[Pod, Validation], object]) -> ManifestChange:
    """Call ``change`` for the pods in a `copy_for_change`, each with its own ``Validation``.

    Raises:
        InvalidInputError: with every error in the document.
    """
    changed = copy_for_change(manifest)
    validation = Validation()
    for pod in pods_in(changed, validation):
        found = Validation()
        change(pod, found)
        validation.include(found)
    validation.raise_errors()
    return ManifestChange(changed, tuple(validation.warnings))


def copy_for_change(manifest: object) -> object:
    """A copy of a document in which pods may be changed, as far as injection changes them.

    What is deeper, probes and variables say, is shared with ``manifest``: it is replaced as a whole
    and never changed in place. A copy of all would take longer than the injection.
    """
    return _copied(manifest, _DOCUMENT)


def _copied(value: object, parts: _Parts) -> object:
    if isinstance(value, dict):
        copy = dict(value)
        for key, of_part in parts.items():
            if key in copy:
                copy[key] = _copied(copy[key], of_part)
        return copy
    if isinstance(value, list):
        return [_copied(entry, parts) if isinstance(entry, dict) else entry for entry in value]
    return value
