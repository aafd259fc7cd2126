"""Whether the libraries of a server are of versions that it works with, before they are loaded.

With others it may start, say that it is ready, and then answer no probe. ``importlib.metadata``
would know as well, at 10 ms and 2 MB of every start.
"""

import os
import re
import sys
from collections.abc import Iterator

# What pyproject.toml declares: the lowest version, and the first one that is too new.
BOUNDS: dict[str, tuple[str, str]] = {
    "aiohttp": ("3.14.4", "4"),
    "hpack": ("4.1", "4.3"),
    "prometheus_client": ("0.23.1", "1"),
    "structlog": ("25.1", ""),
    "uvloop": ("0.22.1", "1"),
}
_DIRECTORY = re.compile(r"([A-Za-z0-9_.]+)-([0-9][^-]*)(?:-.*)?\.(?:dist|egg)-info")


def unmet_requirements() -> Iterator[str]:
    """What is installed and does not do; what leaves no trace of its version is not judged."""
    installed = _versions()
    for name, (lowest, too_new) in BOUNDS.items():
        version = installed.get(name)
        if version is None:
            continue
        if _numbers(version) < _numbers(lowest):
            yield f"{name} {version} is too old: install {lowest} or newer"
        elif too_new and _numbers(version) >= _numbers(too_new):
            yield f"{name} {version} is too new: install one before {too_new}"


def _versions() -> dict[str, str]:
    """By name, the version of what an import would find."""
    found: dict[str, str] = {}
    for directory in sys.path:
        try:
            with os.scandir(directory or ".") as entries:
                matches = [_DIRECTORY.fullmatch(entry.name) for entry in entries]
        except OSError:  # not there, or an archive
            continue
        for match in filter(None, matches):
            found.setdefault(match[1].lower().replace(".", "_"), match[2])
    return found


def _numbers(version: str) -> list[int]:
    """The numbers that a version begins with: of ``4.0.0a1``, 4, 0 and 0."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    return [int(number) for number in numbers[0].split(".")] if numbers else []
