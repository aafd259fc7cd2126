"""What verify finds: one line a check."""

from dataclasses import dataclass
from enum import StrEnum


class Mark(StrEnum):
    """How a check came out."""

    GOOD = "✓"
    WRONG = "✗"
    UNSURE = "!"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: ``subject`` is what was looked at, ``advice`` says what to do (or is empty)."""

    mark: Mark
    subject: str
    text: str
    advice: str = ""


def good(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding(Mark.GOOD, subject, text)


def wrong(subject: str, text: str, advice: str) -> Finding:
    """Something is wrong, and this is what to do."""
    return Finding(Mark.WRONG, subject, text, advice)


def unsure(subject: str, text: str, advice: str = "") -> Finding:
    """Nothing is known to be wrong, but a reader should know."""
    return Finding(Mark.UNSURE, subject, text, advice)
