"""What ends a run of the benchmarks before its end."""


class BenchError(Exception):
    """Something that was measured did not behave; the message says what."""


class UsageError(Exception):
    """What was asked for cannot be run here; the message says why."""
