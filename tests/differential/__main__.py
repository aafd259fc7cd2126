"""``python -m tests.differential [group ...]``: the comparison as a table of classes."""

import argparse
import sys
import tempfile
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from tests.differential import http2
from tests.differential.case import Case
from tests.differential.compare import compare
from tests.differential.kubernetes import NoGoError, build
from tests.differential.record import FILE, record
from tests.differential.report import DIRECTLY_AND_THROUGH, render
from tests.differential.through import ask_through, cases_of
from tests.differential.zoo import GROUPS, SIDECAR_GROUPS
from tests.io.go_http2 import FILE as HTTP2_FILE

_SIDECAR = "compare the app asked directly with the app asked through the sidecar; texts are not"
_RECORDS = f"write {FILE.name} and {HTTP2_FILE.name} anew"


def main() -> int:
    """Compare the groups that are asked for, all by default; 1 where a difference is new."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="group", help=", ".join(SIDECAR_GROUPS))
    parser.add_argument("--sidecar", action="store_true", help=_SIDECAR)
    parser.add_argument("--workers", type=int, default=4, help="cases at a time (default: 4)")
    parser.add_argument("--match", default="", help="only cases whose name holds this text")
    parser.add_argument("--all", action="store_true", help="known differences in full, too")
    parser.add_argument("--record", action="store_true", help=_RECORDS)
    arguments = parser.parse_args()
    groups = SIDECAR_GROUPS if arguments.sidecar else GROUPS
    if unknown := set(arguments.groups) - set(groups):
        parser.error(f"no such group: {', '.join(sorted(unknown))}; there are {', '.join(groups)}")
    with tempfile.TemporaryDirectory() as directory:
        try:
            program = build(Path(directory))
        except NoGoError as error:
            print(error, file=sys.stderr)
            return 2
        if arguments.record:
            record(program)
            http2.record(program)
            return 0
        new = 0
        for text, unexplained in _reports(arguments, arguments.groups or groups, program):
            print(text, flush=True)
            new += unexplained
    return 1 if new else 0


def _reports(
    arguments: argparse.Namespace, groups: Iterable[str], program: Path
) -> Iterator[tuple[str, int]]:
    def matching(cases: Iterable[Case]) -> list[Case]:
        return [case for case in cases if arguments.match in case.name]

    workers, everything = arguments.workers, arguments.all
    for group in groups:
        if not arguments.sidecar:
            cases = matching(GROUPS[group]())
            found = compare(cases, program, workers=workers)
            yield render(group, len(cases), found, everything=everything)
            continue
        for name, https, all_cases in cases_of(group):
            cases = matching(all_cases)
            found = compare(cases, program, partial(ask_through, https), workers=workers)
            sides = DIRECTLY_AND_THROUGH
            yield render(name, len(cases), found, sides, everything=everything)


if __name__ == "__main__":
    sys.exit(main())
