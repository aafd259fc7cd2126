"""``python -m tests.differential [group ...]``: the comparison as a table of classes."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.differential import http2
from tests.differential.compare import compare
from tests.differential.kubernetes import NoGoError, build
from tests.differential.record import FILE, record
from tests.differential.report import render
from tests.differential.zoo import GROUPS
from tests.io.go_http2 import FILE as HTTP2_FILE

_RECORDS = f"write {FILE.name} and {HTTP2_FILE.name} anew"


def main() -> int:
    """Compare the groups that are asked for, all by default; 1 where a difference is new."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="group", help=", ".join(GROUPS))
    parser.add_argument("--workers", type=int, default=4, help="cases at a time (default: 4)")
    parser.add_argument("--match", default="", help="only cases whose name holds this text")
    parser.add_argument("--all", action="store_true", help="known differences in full, too")
    parser.add_argument("--record", action="store_true", help=_RECORDS)
    arguments = parser.parse_args()
    if unknown := set(arguments.groups) - set(GROUPS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
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
        for group in arguments.groups or GROUPS:
            cases = [case for case in GROUPS[group]() if arguments.match in case.name]
            found = compare(cases, program, workers=arguments.workers)
            text, unexplained = render(group, len(cases), found, everything=arguments.all)
            print(text, flush=True)
            new += unexplained
    return 1 if new else 0


if __name__ == "__main__":
    sys.exit(main())
