"""What ``verify`` prints: a block a pod, a line a check, what to do below it, and a summary."""

import json
import os
from collections.abc import Sequence
from typing import TextIO

from osm_healthcheck.probes.quote import printable
from osm_healthcheck.verification.findings import Finding, Mark

# A pod, as a reader knows it, and what was found out about it.
Verified = tuple[str, Sequence[Finding]]
_COLOURS = {Mark.GOOD: "32", Mark.WRONG: "31", Mark.UNSURE: "33"}


def wants_colour(stream: TextIO) -> bool:
    """Whether ``stream`` is a terminal that takes colours (see https://no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not plain


def as_text(found: Sequence[Verified], *, only_failed: bool, colour: bool) -> str:
    """The report for people; ``only_failed`` leaves out all that is not wrong."""
    lines = []
    for where, findings in _chosen(found) if only_failed else found:
        lines.append(printable(where))
        for one in findings:
            mark = f"\x1b[{_COLOURS[one.mark]}m{one.mark}\x1b[0m" if colour else str(one.mark)
            lines.append(f"  {mark} {printable(f'{one.subject}: {one.text}')}")
            if one.advice:
                lines.append(f"      → {printable(one.advice)}")
    return "\n".join([*lines, _summary(found)])


def as_json(found: Sequence[Verified], *, only_failed: bool, colour: bool) -> str:
    """The same for programs."""
    chosen = _chosen(found) if only_failed else found
    return json.dumps([_object(*one) for one in chosen], indent=2, ensure_ascii=False)


def is_right(findings: Sequence[Finding]) -> bool:
    """Whether nothing in it is wrong."""
    return all(one.mark is not Mark.WRONG for one in findings)


def _chosen(found: Sequence[Verified]) -> list[Verified]:
    """What is wrong, of the pods that have it."""
    return [
        (where, [one for one in findings if one.mark is Mark.WRONG])
        for where, findings in found
        if not is_right(findings)
    ]


def _summary(found: Sequence[Verified]) -> str:
    wrong = sum(not is_right(findings) for _, findings in found)
    marks = [one.mark for _, findings in found for one in findings]
    counts = ", ".join(f"{marks.count(mark)} {mark}" for mark in Mark if mark in marks)
    pods = f"{len(found)} pod{'s' * (len(found) != 1)}"
    if not wrong:
        return f"{pods}: nothing is wrong ({counts})"
    of_them = f" with {wrong} of them" if len(found) > 1 else ""
    return f"{pods}: something is wrong{of_them} ({counts})"


def _object(where: str, findings: Sequence[Finding]) -> dict[str, object]:
    return {
        "resource": where,
        "ok": is_right(findings),
        "checks": [
            {
                "result": one.mark.name.lower(),
                "subject": one.subject,
                "text": one.text,
                "advice": one.advice,
            }
            for one in findings
        ],
    }
