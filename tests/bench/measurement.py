"""What a measurement hands over: figures per server and round, their medians, and targets."""

import dataclasses
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

Figures = dict[str, float]


@dataclass(frozen=True)
class Column:
    """One column of the table: which figure, under what heading, in what unit and precision."""

    key: str
    heading: str
    decimals: int = 0
    divisor: float = 1.0

    def show(self, figures: Figures) -> str:
        """Return the figure as text; a dash where there is none."""
        if self.key not in figures:
            return "-"
        return f"{figures[self.key] / self.divisor:,.{self.decimals}f}"


@dataclass(frozen=True)
class Target:
    """What was promised, what was measured, and whether that is enough (None: not known)."""

    text: str
    limit: float
    measured: float | None
    met: bool | None

    @classmethod
    def at_most(cls, text: str, limit: float, measured: float | None) -> Self:
        """Judge a figure that should not exceed its limit."""
        return cls(text, limit, measured, None if measured is None else measured <= limit)

    @property
    def verdict(self) -> str:
        """Return "met", "missed" or why it is neither."""
        return {True: "met", False: "missed", None: "not measured"}[self.met]


@dataclass(frozen=True)
class ServerResult:
    """The figures of one server, a mapping per round, and the median of each figure."""

    rounds: list[Figures]
    median: Figures

    @classmethod
    def of(cls, rounds: list[Figures]) -> Self:
        """Take the median of each figure that every round has."""
        keys = [key for key in rounds[0] if all(key in figures for figures in rounds)]
        return cls(rounds, {key: statistics.median(f[key] for f in rounds) for key in keys})


@dataclass(frozen=True)
class Measurement:
    """One table: its name, what it shows, the servers' figures, targets and remarks."""

    name: str
    title: str
    columns: tuple[Column, ...]
    servers: dict[str, ServerResult]
    targets: list[Target]
    notes: list[str]

    def as_json(self) -> dict[str, object]:
        """Return everything but the layout of the table."""
        everything = dataclasses.asdict(self)
        del everything["columns"]
        return everything


def ratios(rounds: dict[str, list[Figures]], figure: str, base: str, name: str) -> None:
    """Give every server the ratio of a figure to that of a base server in the same round."""
    if base not in rounds:
        return
    for figures in rounds.values():
        for mine, theirs in zip(figures, rounds[base], strict=True):
            mine[name] = mine[figure] / theirs[figure]


def ratio(rounds: dict[str, list[Figures]], figure: str, name: str, base: str) -> float:
    """Return the median, over the rounds, of one server's figure to that of another."""
    pairs = zip(rounds[name], rounds[base], strict=True)
    return statistics.median(mine[figure] / theirs[figure] for mine, theirs in pairs)


def percentile(ordered: list[int], share: float) -> int:
    """Return the value that this share of the ordered values does not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def results(rounds: dict[str, list[Figures]]) -> dict[str, ServerResult]:
    """Return the result of every server."""
    return {name: ServerResult.of(figures) for name, figures in rounds.items()}


def rotations(names: Iterable[str]) -> list[list[str]]:
    """Return the orders in which every name is first once, second once, and so on."""
    order = list(names)
    return [order[turn:] + order[:turn] for turn in range(len(order))]
