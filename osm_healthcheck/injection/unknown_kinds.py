"""Custom resources that hold pods with probes: they pass through, and the reader is told so."""

from collections.abc import Iterator

from osm_healthcheck.errors import Validation
from osm_healthcheck.injection.pods import is_known_kind, name_of
from osm_healthcheck.probes.constants import ProbeKind


def warn_of_unknown_kinds(
    manifest: object, validation: Validation, *, of: tuple[str, str] = ("", "")
) -> None:
    """Warn of each object of a kind that inject does not know, and in which there are probes.

    ``of`` is the apiVersion and kind that the list around it names: its items may have none.
    """
    if not isinstance(manifest, dict):
        return
    version, kind = str(manifest.get("apiVersion") or of[0]), str(manifest.get("kind") or of[1])
    items = manifest.get("items")
    if kind.endswith("List") and isinstance(items, list):
        of = ("", "") if kind == "List" else (version, kind.removesuffix("List"))
        for number, item in enumerate(items, 1):
            found = Validation()
            warn_of_unknown_kinds(item, found, of=of)
            validation.include(found, f"item {number}: ")
        return
    places = [] if is_known_kind(version, kind) else list(dict.fromkeys(_places(manifest, "")))
    if places:
        validation.warn(
            f"{kind} {name_of(manifest)}",
            f"left alone: inject does not know the kind {kind} of {version}; it has probes in "
            f"{', '.join(places)}",
        )


def _places(value: object, path: str) -> Iterator[str]:
    """The paths of the mappings in ``value`` whose containers have probes."""
    if isinstance(value, dict):
        for key, entry in value.items():
            if key in ("containers", "initContainers") and _has_probe(entry):
                yield path
            yield from _places(entry, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _places(entry, f"{path}[{index}]")


def _has_probe(containers: object) -> bool:
    return isinstance(containers, list) and any(
        isinstance(container, dict) and container.get(kind.field) is not None
        for container in containers
        for kind in ProbeKind
    )
