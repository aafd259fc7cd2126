"""The figures of bad days.

``python -m tests.net.bad_days``, as root, takes two minutes and prints what each fault of
`faults` came to; ``--quick`` takes seconds. ``--probes N`` runs that many probes instead, of all
kinds and with all faults but the sidecar's own death (`soak`).
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence

import pytest

from . import soak
from .faults import Figures, app_restarted, envoy_killed, flooded, sidecar_killed, wire_cut

DAYS: Mapping[str, tuple[Callable[[], Figures], Callable[[], Figures]]] = {
    "sidecar killed": (lambda: sidecar_killed(2), lambda: sidecar_killed(20)),
    "Envoy killed": (lambda: envoy_killed(1), lambda: envoy_killed(20)),
    "app restarted": (lambda: app_restarted(5), lambda: app_restarted(100)),
    "wire cut": (lambda: wire_cut(1), lambda: wire_cut(10)),
    "flood": (lambda: flooded(200, 2), lambda: flooded(1000, 60)),
}
"""The days, each short and in full."""


def table(days: list[Figures]) -> str:
    """The figures in Markdown."""
    heads = "bad day", "probes", "wrong verdicts", "refused", "descriptors", "connections left"
    rows: list[Sequence[object]] = [heads, ["---"] * len(heads)]
    for one in days:
        before, after = one.descriptors
        counts = (one.probes, len(one.wrong), one.refused)
        rows.append((one.day, *(f"{n:,}" for n in counts), f"{before}, {after}", one.connections))
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    for one in days:
        if one.rate:
            lines += ["", f"{one.day}: {one.rate:,.0f} a second were reached."]
        if one.gaps:
            lines += ["", _gap(one.gaps)]
        lines += ["", *one.wrong[:10]] if one.wrong else []
    return "\n".join(lines)


def covering_threshold(gap: float, period: int) -> int:
    """The least failureThreshold that a gap (seconds) does not reach at this periodSeconds.

    A gap of less than a period can meet one probe, of less than two periods two, and so on.
    """
    return int(gap // period) + 2


def _gap(gaps: Sequence[float]) -> str:
    worst = max(gaps)
    return (
        f"Gap of a killed sidecar: median {statistics.median(gaps):.2f} s, at most {worst:.2f} s. "
        f"failureThreshold {covering_threshold(worst, 10)} covers it at periodSeconds 10, "
        f"{covering_threshold(worst, 1)} at periodSeconds 1."
    )


def main() -> int:
    """Print the table; 0 where every verdict was right and nothing is left over."""
    parser = argparse.ArgumentParser(prog="python -m tests.net.bad_days", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short days: a look, no figures")
    parser.add_argument("--probes", type=int, metavar="N", help="so many of all kinds, mixed")
    options = parser.parse_args()
    quick = options.quick
    try:
        if options.probes:
            soaked = [soak.soak(https, options.probes // len(soak.HTTPS)) for https in soak.HTTPS]
            print(soak.table(soaked))
            return int(not all(one.good for one in soaked))
        days = [day[0 if quick else 1]() for day in DAYS.values()]
    except (pytest.skip.Exception, pytest.fail.Exception) as lacks:
        print(lacks, file=sys.stderr)
        return 2
    print(table(days))
    return int(
        any(one.wrong or one.connections or one.descriptors[0] < one.descriptors[1] for one in days)
    )


if __name__ == "__main__":
    sys.exit(main())
