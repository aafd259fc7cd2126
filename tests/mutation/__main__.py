"""Mutation testing: is there a test that fails where the code is changed?

``python -m tests.mutation rules|wire|daemon --seed 9 --sample 300``, as root, draws so many changes
by cosmic-ray's operators and runs for each the tests that run the changed line, to the first one
that fails. Which tests those are is measured first, once (a run of the suite). What survives is
printed as a diff. With ``--results FILE`` a run that was interrupted goes on where it was.
"""

import argparse
import difflib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue

from tests.mutation.covering import Covering, covering
from tests.mutation.mutants import Mutant, sample
from tests.mutation.runner import Copy, Fate, copy

PARTS = {
    "rules": ("probes", "injection", "verification"),
    "wire": ("wire",),
    "daemon": ("server",),
}


def run(
    mutants: list[Mutant], covers: Covering, budget: float, processes: int
) -> Iterator[tuple[Mutant, Fate]]:
    """Test mutants, several at a time; each comes with its fate as soon as that is known."""
    with ExitStack() as opened:
        free: SimpleQueue[Copy] = SimpleQueue()
        for _ in range(processes):
            free.put(opened.enter_context(copy()))

        def one(mutant: Mutant) -> tuple[Mutant, Fate]:
            here = free.get()
            try:
                tests = covers.tests(mutant.path, mutant.line, budget)
                return mutant, here.test(mutant, tests, sum(covers.seconds[test] for test in tests))
            finally:
                free.put(here)

        pool = opened.enter_context(ThreadPoolExecutor(processes))
        yield from pool.map(one, mutants)


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
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "osm-healthcheck-ci")
    parser.add_argument("--coverage", type=Path, default=cache / "mutation", metavar="DIR")
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
    covers = covering(options.coverage)
    left = [mutant for mutant in drawn if mutant not in fates]
    for mutant, fate in run(left, covers, options.seconds, options.processes):
        fates[mutant] = fate
        if options.results:
            with options.results.open("a") as out:
                out.write(json.dumps([asdict(mutant), fate]) + "\n")
        if fate in (Fate.SURVIVED, Fate.NO_TEST):
            print(f"\n{fate}: {diff(mutant)}", flush=True)
    counts = Counter(fates[mutant] for mutant in drawn)
    killed = counts[Fate.KILLED] + counts[Fate.TIMEOUT]
    print(f"\n{options.part}, seed {options.seed}: {killed} of {len(drawn)} killed", dict(counts))
    return int(killed < 0.9 * len(drawn))


def _kept(results: Path | None) -> dict[Mutant, Fate]:
    if results is None or not results.exists():
        return {}
    lines = map(json.loads, results.read_text().splitlines())
    return {Mutant(**mutant): Fate(fate) for mutant, fate in lines}


if __name__ == "__main__":
    sys.exit(main())
