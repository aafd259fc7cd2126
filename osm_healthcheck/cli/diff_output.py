"""What a command would change, as a unified diff that ``patch -p1`` and ``git apply`` take."""

import difflib
import os
import re
import shutil
import sys
import tempfile
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import IO, cast

from osm_healthcheck.cli.sources import STDIN, source_name
from osm_healthcheck.manifests.documents import Format

_SPOOLED = 1 << 23  # bytes of output that stay in memory until the last document is good
_CONTEXT = 3  # lines
_QUOTED = re.compile(r'[\x00-\x1f"\\\x7f]')
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_NO_NEWLINE = "\\ No newline at end of file\n"


Opcode = tuple[str, int, int, int, int]
_Chain = tuple[tuple[int, int], "_Chain | None"]


class Diff:
    """Standard output: the differences of each file, once everything is known to be good."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_SPOOLED)  # noqa: SIM115
        self._begin(STDIN)
        self.has_differences = False

    def __enter__(self) -> "Diff":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def begin(self, path: str) -> None:
        """What follows comes from ``path``."""
        self._end()
        self._begin(path)

    def write(self, before: str, after: str, form: Format) -> None:
        """Add one document, which stands right behind the one before."""
        old, new = (_LINE.findall(text) for text in (before, after))
        low, new_low = len(self._old), len(self._new)
        if before == after:
            opcodes: Sequence[Opcode] = [("equal", 0, len(old), 0, len(new))]
        else:
            opcodes = list(differences(old, new))
        self._opcodes += [
            (tag, low + i, low + j, new_low + k, new_low + m) for tag, i, j, k, m in opcodes
        ]
        self._old += old
        self._new += new

    def commit(self) -> None:
        """Copy it to standard output."""
        self._end()
        self._file.seek(0)
        shutil.copyfileobj(cast("IO[bytes]", self._file), sys.stdout.buffer)
        sys.stdout.buffer.flush()

    def _begin(self, path: str) -> None:
        self._name = source_name(path)
        self._old: list[str] = []
        self._new: list[str] = []
        self._opcodes: list[Opcode] = []

    def _end(self) -> None:
        """Write the differences of the file at hand."""
        for number, hunk in enumerate(_hunks(self._opcodes)):
            if not number:
                header = f"--- {_header('a', self._name)}\n+++ {_header('b', self._name)}\n"
                self._file.write(os.fsencode(header))
            self._file.write("".join(self._lines(hunk)).encode("utf-8"))
            self.has_differences = True

    def _lines(self, hunk: list[Opcode]) -> Iterator[str]:
        first, last = hunk[0], hunk[-1]
        yield f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@\n"
        for tag, low, high, new_low, new_high in hunk:
            if tag == "equal":
                yield from _marked(" ", self._old[low:high])
            else:
                yield from _marked("-", self._old[low:high])
                yield from _marked("+", self._new[new_low:new_high])


def differences(old: Sequence[str], new: Sequence[str]) -> Iterator[Opcode]:
    """What differs, looked for between the lines that are there once on either side.

    In a list of like objects most lines repeat, and `difflib` takes cubic time for those.
    """
    low = new_low = 0
    for high, new_high in [*_anchors(old, new), (len(old), len(new))]:
        between = difflib.SequenceMatcher(None, old[low:high], new[new_low:new_high], False)
        for tag, i, j, k, m in between.get_opcodes():
            yield tag, low + i, low + j, new_low + k, new_low + m
        low, new_low = high, new_high


def _anchors(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Where lines stand that are there once on either side: as many as are in the same order."""
    once = {line for line, count in Counter(old).items() if count == 1}
    once &= {line for line, count in Counter(new).items() if count == 1}
    places = {line: index for index, line in enumerate(new) if line in once}
    # The longest sequence that rises, by patience sorting: of each length the one that ends lowest.
    ends: list[int] = []
    chain: _Chain
    chains: list[_Chain] = []
    for index, line in enumerate(old):
        if line in once:
            length = bisect_left(ends, places[line])
            chain = ((index, places[line]), chains[length - 1] if length else None)
            ends[length : length + 1] = [places[line]]
            chains[length : length + 1] = [chain]
    found: list[tuple[int, int]] = []
    last = chains[-1] if chains else None
    while last:
        place, last = last
        found.append(place)
    return found[::-1]


def _hunks(opcodes: Sequence[Opcode]) -> Iterator[list[Opcode]]:
    """The changes, each with the lines around it; those that are near each other together."""
    hunk: list[Opcode] = []
    equal: Opcode | None = None  # what is the same since the last change, of several documents
    for opcode in opcodes:
        if opcode[0] == "equal":
            equal = (*(equal or opcode)[:2], opcode[2], (equal or opcode)[3], opcode[4])
            continue
        if equal:
            _, low, high, new_low, new_high = equal
            if hunk and high - low > 2 * _CONTEXT:
                yield [*hunk, ("equal", low, low + _CONTEXT, new_low, new_low + _CONTEXT)]
                hunk = []
            if not hunk:
                low, new_low = max(low, high - _CONTEXT), max(new_low, new_high - _CONTEXT)
            hunk.append(("equal", low, high, new_low, new_high))
        hunk.append(opcode)
        equal = None
    if hunk and equal:
        count = min(_CONTEXT, equal[2] - equal[1])
        hunk.append(("equal", equal[1], equal[1] + count, equal[3], equal[3] + count))
    if hunk:
        yield hunk


def _header(side: str, name: str) -> str:
    """A file's name, as git writes it: of two sides, and in quotes where it could not end a line.

    A tab ends one with blanks: GNU patch would take the rest for a date.
    """
    path = f"{side}/{name.removeprefix('./').lstrip('/')}"
    if _QUOTED.search(path):
        return '"' + _QUOTED.sub(lambda match: f"\\{ord(match[0]):03o}", path) + '"'
    return f"{path}\t" if " " in path else path


def _range(low: int, high: int) -> str:
    """A hunk's lines, as POSIX has it: where there are none, the line before them."""
    return f"{low + (high > low)},{high - low}"


def _marked(mark: str, lines: list[str]) -> Iterator[str]:
    for line in lines:
        yield mark + line
        if not line.endswith("\n"):
            yield "\n" + _NO_NEWLINE
