"""What is shown: Markdown tables for people, one JSON document for programs."""

import json
import os
import platform
import time
from collections.abc import Sequence

from tests.bench.environment import Cores
from tests.bench.interpreter import Interpreter
from tests.bench.measurement import Measurement, Target

_FORMAT = 1


def markdown(measurement: Measurement) -> str:
    """Return a measurement as Markdown: a table, then the targets, then the remarks."""
    heading = ["", *(column.heading for column in measurement.columns)]
    rows = [
        [name, *(column.show(result.median) for column in measurement.columns)]
        for name, result in measurement.servers.items()
    ]
    rows[0][0] = f"**{rows[0][0]}**"  # ours
    lines = [f"**{measurement.title}**", "", *_table(heading, rows), ""]
    lines += [f"- {_sentence(target)}" for target in measurement.targets]
    lines += [f"- {note}" for note in measurement.notes]
    return "\n".join([*lines, ""])


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in [heading, *rows]) for i in range(len(heading))]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return f"| {' | '.join(padded)} |"

    return [line(heading), line(rule), *(line(row) for row in rows)]


def _sentence(target: Target) -> str:
    if target.measured is None:
        return f"{target.text}: {target.verdict}"
    return f"{target.text}: {_number(target.measured)} of {_number(target.limit)}, {target.verdict}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.5g}"


def machine(cores: Cores) -> str:
    """Return a line about where this ran."""
    split = "one core for everything" if cores.shared else "server and load on a core each"
    kernel = f"{platform.system()} {platform.release()} {platform.machine()}"
    return f"{time.strftime('%Y-%m-%d')}, {kernel}, {os.cpu_count()} cores, {split}"


def document(measurements: Sequence[Measurement], python: Interpreter, cores: Cores) -> str:
    """Return everything as JSON: all rounds, medians, targets and where it ran."""
    everything = {
        "format": _FORMAT,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cores": {"all": os.cpu_count(), "server": cores.server, "load": cores.load},
        "python": {
            "version": ".".join(map(str, python.version)),
            "flags": list(python.flags),
        },
        "measurements": [measurement.as_json() for measurement in measurements],
    }
    return json.dumps(everything, indent=2) + "\n"
