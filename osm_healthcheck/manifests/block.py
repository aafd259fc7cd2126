"""Values written as YAML, in block or flow style."""

from dataclasses import dataclass
from typing import cast

from osm_healthcheck.manifests.scalars import Scalar, write

_NESTED = (dict, list)  # "dict | list" would be made anew at each call


@dataclass(frozen=True, slots=True)
class Style:
    """How far a mapping stands in from its key, and the dashes of a list from theirs."""

    step: int = 2
    offset: int = 0

    def entry(self, key: str, value: object, column: int) -> str:
        """One key and its value, for a mapping whose keys stand in ``column``."""
        if not is_nested(value):
            return f"{write(key)}: {inline(value)}"
        inner = column + (self.step if isinstance(value, dict) else self.offset)
        return f"{write(key)}:\n{' ' * inner}{self.item(value, inner)}"

    def mapping(self, value: dict[str, object], column: int) -> str:
        """The entries of a mapping; the first line begins without its indentation."""
        entries = [self.entry(key, entry, column) for key, entry in value.items()]
        return f"\n{' ' * column}".join(entries)

    def sequence(self, value: list[object], column: int) -> str:
        """The items of a list whose dashes stand in ``column``."""
        items = ["- " + self.item(item, column + 2) for item in value]
        return f"\n{' ' * column}".join(items)

    def item(self, value: object, column: int) -> str:
        """One item of a list, behind its dash; ``column`` is where its text begins."""
        if not is_nested(value):
            return inline(value)
        if isinstance(value, dict):
            return self.mapping(value, column)
        return self.sequence(cast("list[object]", value), column)


def is_nested(value: object) -> bool:
    """Whether ``value`` takes lines of its own: a mapping or list that holds something."""
    return bool(value) and isinstance(value, _NESTED)


def inline(value: object, *, flow: bool = False) -> str:
    """``value`` on one line, in flow style; ``flow`` says that it stands in such a style."""
    if not isinstance(value, _NESTED):
        return write(cast("Scalar", value), flow=flow)
    if isinstance(value, dict):
        entries = (
            f"{write(key, flow=True)}: {inline(one, flow=True)}" for key, one in value.items()
        )
        return "{" + ", ".join(entries) + "}"
    return "[" + ", ".join(inline(one, flow=True) for one in value) + "]"
