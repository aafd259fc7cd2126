"""Differences as text: by class, with one example each."""

import re
from collections import defaultdict

from tests.differential.compare import Difference
from tests.differential.known import reason_for

_MAX_SHOWN = 300
_REPEATED = re.compile(r"(.{1,16}?)\1{9,}")


BESIDE_OURS = ("Kubernetes", "ours")
DIRECTLY_AND_THROUGH = ("directly", "through the sidecar")


def render(
    group: str,
    count: int,
    found: list[Difference],
    sides: tuple[str, str] = BESIDE_OURS,
    *,
    everything: bool = False,
) -> tuple[str, int]:
    """The report of a group of ``count`` cases, and how many differences nobody has explained."""
    one, other = sides
    by_aspect: dict[str, int] = defaultdict(int)
    classes: dict[tuple[str, ...], list[Difference]] = defaultdict(list)
    known: dict[str, int] = defaultdict(int)
    for difference in found:
        by_aspect[difference.aspect] += 1
        reason = reason_for(difference)
        if reason:
            known[reason] += 1
        if not reason or everything:
            classes[difference.key].append(difference)
    counts = ", ".join(f"{aspect} {number}" for aspect, number in sorted(by_aspect.items()))
    lines = [f"{group}: {count} cases; differences: {counts or 'none'}"]
    lines += [f"  known, {number} times: {reason}" for reason, number in sorted(known.items())]
    for (_, aspect, _, _), members in sorted(classes.items(), key=lambda one: -len(one[1])):
        example = members[0]
        theirs, own = example.pair
        lines += [
            f"  {aspect}, {len(members)} times, e.g. {example.case.name}: {_shown(example)}",
            f"    {one}: {_shortened(theirs)}",
            f"    {other}: {_shortened(own)}",
        ]
    return "\n".join(lines), sum(1 for difference in found if not reason_for(difference))


def _shown(example: Difference) -> str:
    script = "; ".join(f"{reply.pieces!r} {reply.end}" for reply in example.case.script)
    return _shortened(f"{dict(example.case.handler)} {script}")


def _shortened(text: str) -> str:
    def count(match: re.Match[str]) -> str:
        return f"{match[1]}*{len(match[0]) // len(match[1])}"

    text = _REPEATED.sub(count, text)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
