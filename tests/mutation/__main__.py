"""Mutation testing: is there a test that fails where the code is changed?

``python -m tests.mutation rules|wire|daemon --seed 9 --sample 300``, as root, draws so many changes
by cosmic-ray's operators and runs for each the tests that run the changed line, to the first one
that fails. Which tests those are is measured first, once (a run of the suite). What survives is
printed as a diff. With ``--results FILE`` a run that was interrupted goes on where it was, and with
``--again`` what survived in it is tested once more, say with more ``--seconds``.

The tests that failed are run on the unchanged code at the end: none may fail there.
"""

import argparse
import difflib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue

from tests.mutation.covering import Covering, covering, digest
from tests.mutation.mutants import Mutant, sample
from tests.mutation.runner import Copy, Fate, copies

PARTS = {
    "rules": ("probes", "injection", "verification"),
    "wire": ("wire",),
    "daemon": ("server",),
}


def run(
    mutants: list[Mutant], covers: Covering, budget: float, processes: int
) -> Iterator[tuple[Mutant, Fate, str]]:
    """Test mutants, several at a time; each comes with its fate and the test that failed."""
    with ExitStack() as opened:
        free: SimpleQueue[Copy] = SimpleQueue()
        for one_copy in opened.enter_context(copies(processes)):
            free.put(one_copy)

        def one(mutant: Mutant) -> tuple[Mutant, Fate, str]:
            here = free.get()
            try:
                tests = covers.tests(mutant.path, mutant.line, budget)
                seconds = sum(covers.seconds[test] for test in tests)
                return mutant, *here.test(mutant, tests, seconds)
            finally:
                free.put(here)

        pool = opened.enter_context(ThreadPoolExecutor(processes))
        yield from pool.map(one, mutants)


def failing_anyway(tests: Set[str], covers: Covering) -> list[str]:
    """Those of the tests that fail on the code as it is: what they killed does not count."""
    failing: list[str] = []
    with copies(1) as [unchanged]:
        while left := sorted(tests - set(failing)):
            _, test = unchanged.run(left, 10 * sum(covers.seconds.get(test, 1) for test in left))
            if not test:
                break
            failing.append(test)
    return failing


def diff(mutant: Mutant) -> str:
    """The change, as a diff without context."""
    before = Path(mutant.path).read_text()
    after = mutant.mutated(before)
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    changed = [line for line in list(lines)[2:] if not line.startswith("@@")]
    return "\n".join([f"{mutant.path}:{mutant.line} {mutant.operator}", *changed])


def main() -> int:
    """Print what survives, and the score; 0 where nine in ten are killed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--sample", type=int, default=300, metavar="N")
    parser.add_argument("--seconds", type=float, default=20, help="of tests at most, a mutant")
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    parser.add_argument("--results", type=Path, help="fates, one a line, to go on from")
    parser.add_argument("--again", action="store_true", help="run what survived in the results")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "osm-healthcheck-ci")
    parser.add_argument("--coverage", type=Path, metavar="DIR", help="where it was measured before")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("network namespaces take root")
    paths = [
        path
        for package in PARTS[options.part]
        for path in Path("osm_healthcheck", package).rglob("*.py")
    ]
    if not paths:
        parser.error("this runs at the root of the repository")
    drawn = sample(paths, options.sample, options.seed)
    fates = _kept(options.results)
    covers = covering(options.coverage or cache / "mutation" / digest())
    alive = (Fate.SURVIVED, Fate.NO_TEST)
    left = [
        mutant
        for mutant in drawn
        if mutant not in fates or (options.again and fates[mutant][0] in alive)
    ]
    for mutant, fate, test in run(left, covers, options.seconds, options.processes):
        fates[mutant] = fate, test
        if options.results:
            with options.results.open("a") as out:
                out.write(json.dumps([asdict(mutant), fate, test]) + "\n")
        if fate in alive:
            print(f"\n{fate}: {diff(mutant)}", flush=True)
    failing = failing_anyway({fates[mutant][1] for mutant in drawn} - {""}, covers)
    print(*(f"\nfails without a change as well: {test}" for test in failing))
    counts = Counter(fates[mutant][0] for mutant in drawn if fates[mutant][1] not in failing)
    killed = counts[Fate.KILLED] + counts[Fate.TIMEOUT]
    print(f"\n{options.part}, seed {options.seed}: {killed} of {len(drawn)} killed", dict(counts))
    return int(killed < 0.9 * len(drawn))


def _kept(results: Path | None) -> dict[Mutant, tuple[Fate, str]]:
    if results is None or not results.exists():
        return {}
    lines = map(json.loads, results.read_text().splitlines())
    return {Mutant(**mutant): (Fate(fate), test) for mutant, fate, test in lines}


if __name__ == "__main__":
    sys.exit(main())
