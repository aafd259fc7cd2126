"""What ends a run of the benchmarks before its end, or leaves a competitor out."""


class BenchError(Exception):
    """Something that was measured did not behave; the message says what."""


class UsageError(Exception):
    """What was asked for cannot be run here; the message says why."""


class LeftOutError(Exception):
    """A competitor cannot be had here; the message says which one and why."""
