"""The errors of this project, and the collector of what is to be said about an input.

Each error carries its fields and composes its own message.
"""

from collections.abc import Iterable
from typing import NamedTuple


class OSMHealthcheckError(Exception):
    """The root: whatever this package raises on purpose is one of these."""


class FieldError(NamedTuple):
    """One thing that is wrong with an input, and where; Kubernetes' ``field.Error``.

    ``where`` is the path of a field (``app.livenessProbe.httpGet.port``) or the name of an
    option (``--drain``); ``problem`` says what is wrong and, in the API server's own words where
    it has a rule (``Invalid value: 0: must be between 1 and 65535, inclusive``), what is allowed.
    """

    where: str
    problem: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


class FieldWarning(NamedTuple):
    """Something about an input that its author should know, and where, without refusing it.

    ``is_general`` says that it holds for every input of its kind, and so is printed once only;
    ``is_skip`` that it is why nothing was done to the whole resource.
    """

    where: str
    text: str
    is_general: bool = False
    is_skip: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


class InvalidInputError(OSMHealthcheckError):
    """An input with errors, all of them at once."""

    def __init__(self, errors: Iterable[FieldError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(map(str, self.errors)))


class Validation:
    """Gathers errors and warnings about one input, in the order in which they are found.

    It is handed down to whatever reads a part of the input. Whoever has to know whether one part
    had errors gives that part a collector of its own, and includes it afterwards.
    """

    def __init__(self) -> None:
        self.errors: list[FieldError] = []
        self.warnings: list[FieldWarning] = []

    def error(self, where: str, problem: str) -> None:
        """Add an error: ``problem`` is what is wrong at ``where``."""
        self.errors.append(FieldError(where, problem))

    def warn(self, where: str, text: str, *, is_general: bool = False) -> None:
        """Add a warning; a general one gets no prefix of a document and is printed once."""
        self.warnings.append(FieldWarning(where, text, is_general))

    def skip(self, where: str, text: str) -> None:
        """Add why nothing is done to the whole resource at ``where``."""
        self.warnings.append(FieldWarning(where, text, is_skip=True))

    def include(self, other: "Validation | InvalidInputError", prefix: str = "") -> None:
        """Add all that ``other`` holds, with ``prefix`` before each place."""
        self.errors += [FieldError(prefix + one.where, one.problem) for one in other.errors]
        if isinstance(other, Validation):
            self.warnings += [
                one if one.is_general else one._replace(where=prefix + one.where)
                for one in other.warnings
            ]

    def raise_errors(self) -> None:
        """Raise the errors, where there are any.

        Raises:
            InvalidInputError: with all of them.
        """
        if self.errors:
            raise InvalidInputError(self.errors)
