"""Values written as YAML, in block or flow style."""

from dataclasses import dataclass
from typing import cast

from osm_healthcheck.manifests.scalars import Scalar, write


@dataclass(frozen=True, slots=True)
class Style:
    """How far a mapping stands in from its key, and the dashes of a list from theirs."""

    step: int = 2
    offset: int = 0

    def entry(self, key: str, value: object, column: int) -> str:
        """One key and its value, for a mapping whose keys stand in ``column``."""
        name = write(key)
        if not is_nested(value):
            return f"{name}: {inline(value)}"
        if isinstance(value, dict):
            inner = column + self.step
            return f"{name}:\n{' ' * inner}{self.mapping(value, inner)}"
        inner = column + self.offset
        return f"{name}:\n{' ' * inner}{self.sequence(cast('list[object]', value), inner)}"

    def mapping(self, value: dict[str, object], column: int) -> str:
        """The entries of a mapping; the first line begins without its indentation."""
        return f"\n{' ' * column}".join(
            self.entry(key, entry, column) for key, entry in value.items()
        )

    def sequence(self, value: list[object], column: int) -> str:
        """The items of a list whose dashes stand in ``column``."""
        return f"\n{' ' * column}".join(f"- {self.item(item, column + 2)}" for item in value)

    def item(self, value: object, column: int) -> str:
        """One item of a list, behind its dash; ``column`` is where its text begins."""
        if not is_nested(value):
            return inline(value)
        if isinstance(value, dict):
            return self.mapping(value, column)
        return self.sequence(cast("list[object]", value), column)


def is_nested(value: object) -> bool:
    """Whether ``value`` takes lines of its own: a mapping or list that holds something."""
    return isinstance(value, dict | list) and bool(value)


def inline(value: object, *, flow: bool = False) -> str:
    """``value`` on one line, in flow style; ``flow`` says that it stands in such a style."""
    if isinstance(value, dict):
        entries = (
            f"{write(key, flow=True)}: {inline(one, flow=True)}" for key, one in value.items()
        )
        return "{" + ", ".join(entries) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(inline(one, flow=True) for one in value) + "]"
    return write(cast("Scalar", value), flow=flow)
