"""What ``verify --logs`` prints."""

import json
from collections.abc import Sequence

from osm_healthcheck.probes.quote import printable
from osm_healthcheck.verification.log_errors import Log


def as_text(logs: Sequence[tuple[str, Log]]) -> str:
    """The report for people."""
    lines = []
    for name, log in logs:
        lines += [printable(f"{name}: line {one.number}: {one}") for one in log.errors]
        if not log.levelled:
            lines.append(printable(f"{name}: none of its {log.lines} lines is JSON with a level"))
            continue
        lines.append(
            printable(f"{name}: {len(log.errors)} of {log.lines} lines of level error or worse")
        )
    return "\n".join(lines)


def as_json(logs: Sequence[tuple[str, Log]]) -> str:
    """The same for programs."""
    found = [
        {"file": name, "line": one.number, **one.fields} for name, log in logs for one in log.errors
    ]
    return json.dumps(found, indent=2, ensure_ascii=False)
