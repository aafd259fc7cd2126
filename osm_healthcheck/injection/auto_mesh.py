"""``--mesh auto``: the mesh that shows in the manifests. Nothing is guessed.

It shows on the pod or on its Namespace earlier in the input: by the label or annotation that turns
its injection on, by its other annotations on the pod, by a container that it adds. A pod's own
label or annotation beats its Namespace's, and our own label, which names a mesh, beats all. A pod
that says no to every mesh that shows, or whose Namespace does, is in none, and is left alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from osm_healthcheck.injection.mesh import Mesh
from osm_healthcheck.injection.pods import Manifest, Pod, metadata_of, name_of
from osm_healthcheck.injection.record import MESH
from osm_healthcheck.probes.quote import quoted

# As the meshes spell them: strconv.ParseBool (Consul), YAML's booleans (Istio), Linkerd's
# ``ingress``, and ``enabled``. Istio takes any other text for no, others for nothing.
_ON = frozenset("enabled true yes y on 1 t ingress".split())
_OFF = frozenset("disabled false no n off 0 f".split())


@dataclass(frozen=True, slots=True)
class NoMesh:
    """A pod of which no single mesh is known.

    ``is_wanted`` says that it is not to be in one, and so needs nothing; else it is a mistake to
    inject it. ``reason`` says why.
    """

    reason: str
    is_wanted: bool = False


@dataclass(slots=True)
class _Shown:
    """The meshes that show, and those that a pod or namespace is kept out of, each with how."""

    meshes: dict[str, str] = field(default_factory=dict)
    kept_out: dict[str, str] = field(default_factory=dict)


class MeshFinder:
    """Finds the meshes of pods, and remembers the Namespaces that came before them."""

    def __init__(self, meshes: Iterable[Mesh]) -> None:
        self._meshes = {mesh.name: mesh for mesh in meshes}
        self._namespaces: dict[str, _Shown] = {}
        self._named: dict[str, object] = {}

    def remember_namespaces(self, manifest: object) -> None:
        """Remember the Namespaces in a document, those in a List included."""
        if not isinstance(manifest, dict):
            return
        items = manifest.get("items")
        for one in items if isinstance(items, list) else [manifest]:
            if isinstance(one, dict) and one.get("kind") == "Namespace":
                name = name_of(one)
                self._namespaces[name] = self._shown_by(one, f"Namespace {name}")
                self._named[name] = metadata_of(one, "labels").get(MESH)

    def meshes_of_namespace(self, name: str) -> Mapping[str, str]:
        """The meshes that inject the pods of a Namespace that came before, and what says so."""
        return self._namespaces.get(name, _Shown()).meshes

    def mesh_of(self, pod: Pod) -> Mesh | NoMesh:
        """The mesh of ``pod``, as it stands there: what injection wrote shows the mesh, too."""
        if named := pod.labels.get(MESH) or self._named.get(pod.namespace):
            known = ", ".join(self._meshes)
            return self._meshes.get(str(named)) or NoMesh(
                f"the label {MESH}: {quoted(named)} names no mesh; there are {known}"
            )
        shown = self._shown_by(pod.value, pod.kind)
        for mesh in self._meshes.values():
            for name in mesh.containers:
                if pod.container(name):
                    shown.meshes[mesh.name] = f"the container {name}"
        namespace = self._namespaces.get(pod.namespace, _Shown())
        for name, by in namespace.meshes.items():
            if name not in shown.kept_out:
                shown.meshes.setdefault(name, by)
        if len(shown.meshes) == 1:
            return self._meshes[next(iter(shown.meshes))]
        if shown.meshes:
            named = ", ".join(f"{name} by {by}" for name, by in shown.meshes.items())
            return NoMesh(f"more than one mesh shows: {named}; name one with --mesh")
        if kept_out := namespace.kept_out | shown.kept_out:
            named = ", ".join(kept_out.values())
            return NoMesh(f"no mesh: {named} keeps it out of one", is_wanted=True)
        return NoMesh(self._advice(pod.namespace))

    def _shown_by(self, manifest: Manifest, what: str) -> _Shown:
        """What the labels and annotations of a pod or Namespace say; ``what`` names it."""
        shown = _Shown()
        annotations = metadata_of(manifest, "annotations")
        found = {**annotations, **metadata_of(manifest, "labels")}
        for mesh in self._meshes.values():
            self._read(mesh, found, annotations, what, shown)
        return shown

    def _read(
        self,
        mesh: Mesh,
        found: Mapping[str, object],
        annotations: Mapping[str, object],
        what: str,
        shown: _Shown,
    ) -> None:
        for key in mesh.injected_by:
            value = str(found.get(key, "")).lower()
            by = f"{key}: {quoted(found.get(key))} of the {what}"
            if value in _OFF:
                shown.kept_out[mesh.name] = by
                return
            if value in _ON:
                shown.meshes[mesh.name] = by
                return
        if mesh.revision and mesh.revision in found:
            shown.meshes[mesh.name] = f"the label {mesh.revision} of the {what}"
            return
        key = next((one for one in annotations if one.startswith(mesh.prefixes)), "")
        if key and not what.startswith("Namespace "):
            shown.meshes[mesh.name] = f"the annotation {key} of the {what}"

    def _advice(self, namespace: str) -> str:
        is_seen = namespace in self._namespaces
        where = f" or on its Namespace {quoted(namespace)}" if is_seen else ""
        is_unknown = bool(namespace) and not is_seen
        before = f"put its Namespace {quoted(namespace)} before it, or " if is_unknown else ""
        names = "|".join(self._meshes)
        return (
            f"no mesh shows in the manifest{where}: {before}choose one with --mesh {names} (none "
            "takes an init container with NET_ADMIN)"
        )
