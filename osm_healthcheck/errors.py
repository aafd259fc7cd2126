"""The errors of this project. Each carries its fields and composes its own message."""

from collections.abc import Iterable
from dataclasses import dataclass


class OSMHealthcheckError(Exception):
    """The root: whatever this package raises on purpose is one of these."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong with an input, and where.

    ``where`` is the path of a field (``app.livenessProbe.httpGet.port``) or the name of an
    option (``--drain``); ``problem`` says what is wrong and, in the API server's own words where
    it has a rule (``Invalid value: 0: must be between 1 and 65535, inclusive``), what is allowed.
    """

    where: str
    problem: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


class InvalidInputError(OSMHealthcheckError):
    """An input with mistakes, all of them at once."""

    def __init__(self, mistakes: Iterable[FieldError]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(map(str, self.mistakes)))
