"""What injection leaves in the annotations of a pod, so that all of it can be undone."""

import json
from dataclasses import dataclass, field
from typing import cast

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.pods import Manifest, Pod
from osm_healthcheck.probes.constants import DECLARED_PROBES

PREFIX = "healthcheck.openservicemesh.io/"
PROBES = f"{PREFIX}original-probes"
FIELDS = f"{PREFIX}original-fields"
VERSION = f"{PREFIX}version"
INJECT = f"{PREFIX}inject"
SKIP_CONTAINERS = f"{PREFIX}skip-containers"
WARNINGS = f"{PREFIX}warnings"  # the injector's, for pods whose creator sees none: one a line
MESH = f"{PREFIX}mesh"  # a label, of a pod or a namespace
_LIFECYCLE = "lifecycle"
_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_OURS = (PROBES, FIELDS, VERSION)


@dataclass(frozen=True, slots=True)
class RaisedQuantity:
    """A quantity of ``spec.resources``: what stood there, and what we wrote."""

    was: object
    written: str


@dataclass(slots=True)
class Record:
    """What was there before.

    ``probes`` are the original probes by container and field, ``hooks`` the original lifecycle
    hooks by container and name (``preStop``). ``annotations`` are the mesh's, by
    name: what stood there (``None``: nothing) and what we wrote. ``empty`` are fields that were
    there and held nothing: ``metadata``, ``metadata.annotations``, ``spec.initContainers``.
    ``resources`` are the pod's own quantities that were raised, by path (``requests.cpu``).
    """

    version: str
    probes: dict[str, dict[str, Manifest]] = field(default_factory=dict)
    annotations: dict[str, tuple[str | None, str]] = field(default_factory=dict)
    empty: dict[str, object] = field(default_factory=dict)
    resources: dict[str, RaisedQuantity] = field(default_factory=dict)
    hooks: dict[str, dict[str, Manifest]] = field(default_factory=dict)

    def as_annotations(self) -> dict[str, str]:
        """The annotations that hold it; the second only where it has something to say."""
        originals: dict[str, Manifest] = {name: dict(saved) for name, saved in self.probes.items()}
        for name, hooks in self.hooks.items():
            originals.setdefault(name, {})[_LIFECYCLE] = hooks
        found = {PROBES: _json(originals)}
        rest: Manifest = dict(self.empty)
        if self.annotations:
            rest["annotations"] = {
                name: {"was": was, "is": written}
                for name, (was, written) in self.annotations.items()
            }
        if self.resources:
            rest["resources"] = {
                path: {"was": one.was, "is": one.written} for path, one in self.resources.items()
            }
        if rest:
            found[FIELDS] = _json(rest)
        return {**found, VERSION: self.version}


def read_record(pod: Pod, known_version: str, validation: Validation) -> Record | None:
    """Read what an earlier injection has left; ``None`` where there is none, or it is broken.

    ``known_version`` is our own: what a newer version wrote is not undone by an older one.
    """
    if not has_record(pod):
        return None
    annotations = pod.annotations
    where = f"{pod.where}: metadata.annotations"
    version = annotations.get(VERSION)
    if _numbers(version) is None:
        validation.error(f"{where}: {VERSION}", "Invalid value: must be the version that injected")
        return None
    if is_newer(pod, known_version):
        validation.error(
            f"{where}: {VERSION}",
            f"injected by osm-healthcheck {version}, this is {known_version}: use that one",
        )
        return None
    record = Record(str(version))
    try:
        _read_probes(annotations.get(PROBES), record)
        if FIELDS in annotations:
            _read_fields(annotations[FIELDS], record)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        validation.error(
            where,
            f"{PROBES} or {FIELDS} is not what inject wrote: it cannot be undone; start from "
            "the original manifest",
        )
        return None
    return record


def has_record(pod: Pod) -> bool:
    """Whether an earlier injection has left anything in the annotations of ``pod``."""
    return not pod.annotations.keys().isdisjoint(_OURS)


def is_newer(pod: Pod, known_version: str) -> bool:
    """Whether a version that is newer than ``known_version`` has injected ``pod``."""
    return (_numbers(pod.annotations.get(VERSION)) or ()) > (_numbers(known_version) or ())


def remove_record(annotations: Manifest) -> None:
    """Take the record out of a pod's annotations."""
    for name in (*_OURS, WARNINGS, DECLARED_PROBES):
        annotations.pop(name, None)


def _read_probes(text: object, record: Record) -> None:
    for container, probes in json.loads(cast("str", text)).items():
        if hooks := probes.pop(_LIFECYCLE, None):
            if not all(isinstance(hook, dict) for hook in hooks.values()):
                raise TypeError
            record.hooks[container] = hooks
        for name, probe in probes.items():
            if not isinstance(probe, dict):
                raise TypeError
            record.probes.setdefault(container, {})[name] = probe


def _read_fields(text: object, record: Record) -> None:
    fields = json.loads(cast("str", text))
    for name, entry in fields.pop("annotations", {}).items():
        was, written = entry["was"], entry["is"]
        if not isinstance(written, str) or not isinstance(was, str | None):
            raise TypeError
        record.annotations[name] = (was, written)
    for path, entry in fields.pop("resources", {}).items():
        record.resources[path] = RaisedQuantity(entry["was"], str(entry["is"]))
    record.empty = dict(fields.items())


def _numbers(version: object) -> tuple[int, ...] | None:
    parts = version.split(".") if isinstance(version, str) else []
    numbers = tuple(int(part) for part in parts if part.isascii() and part.isdigit())
    return numbers if parts and len(numbers) == len(parts) else None
