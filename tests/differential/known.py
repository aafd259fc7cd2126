"""Differences that are meant, or not worth mending, each with its reason."""

import re
from dataclasses import dataclass

from tests.differential.compare import Difference


@dataclass(frozen=True, slots=True)
class Known:
    """A class of differences: patterns that both sides of its `Difference.pair` match."""

    aspect: str
    kubernetes: str
    ours: str
    reason: str
    group: str = ""


KNOWN: tuple[Known, ...] = ()


def reason_for(difference: Difference) -> str:
    """Why this difference stands; ``""`` where nobody has said so."""
    theirs, own = difference.pair
    for known in KNOWN:
        if (
            known.aspect == difference.aspect
            and known.group in ("", difference.case.group)
            and re.search(known.kubernetes, theirs)
            and re.search(known.ours, own)
        ):
            return known.reason
    return ""
