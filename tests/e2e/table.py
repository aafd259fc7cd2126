"""The table that a run leaves: each case, and the kubelet's verdict in each surrounding."""

from collections.abc import Mapping

_COLUMNS = {"plain": "without a mesh", "mesh": "in a mesh", "ours": "in a mesh, with us"}


class Table:
    """Rows as they come."""

    def __init__(self) -> None:
        self._rows: list[list[str]] = []

    def row(self, case: str, verdicts: Mapping[str, str]) -> None:
        """Add a case and its verdicts, by surrounding."""
        self._rows.append([case, *(verdicts.get(one, "") for one in _COLUMNS)])

    def __str__(self) -> str:
        """In Markdown; empty where there are no rows."""
        if not self._rows:
            return ""
        head = [["case", *_COLUMNS.values()], ["---"] * (len(_COLUMNS) + 1)]
        return "\n".join(f"| {' | '.join(row)} |" for row in [*head, *self._rows])
