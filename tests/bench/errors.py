"""What ends a run of the benchmarks before its end, or leaves a competitor out."""

import signal
import sys
from collections.abc import Callable


class BenchError(Exception):
    """Something that was measured did not behave; the message says what."""


class UsageError(Exception):
    """What was asked for cannot be run here; the message says why."""


class LeftOutError(Exception):
    """A competitor cannot be had here; the message says which one and why."""


def run(work: Callable[[], None]) -> int:
    """Do ``work``, and print the error that ends it; the exit code, also on SIGTERM and Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        work()
    except (BenchError, UsageError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0
