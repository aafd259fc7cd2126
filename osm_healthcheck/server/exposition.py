"""Prometheus' text format, version 0.0.4, written out line by line.

A pod pays for it: prometheus-client takes 14 ms of the event loop for the 64 targets of a full
page, 1.6 MB, and 32 ms for the first scrape. The tests read every page with that library's parser.
Names and units are those of Prometheus' guide to naming.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-format-details
"""

import sys
from collections.abc import Iterable, Iterator, Mapping

from osm_healthcheck import __version__

HEADERS = b"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
_PREFIX = "osm_healthcheck_"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def family(name: str, kind: str, text: str) -> tuple[str, str]:
    """The lines before the samples of ``name``, which come without the prefix of all of ours."""
    return f"# HELP {_PREFIX}{name} {text}", f"# TYPE {_PREFIX}{name} {kind}"


def sample(name: str, labels: str, value: float) -> str:
    """The line of one sample; ``labels`` are those of `joined`, or empty."""
    return f"{_PREFIX}{name}{{{labels}}} {value}" if labels else f"{_PREFIX}{name} {value}"


def joined(labels: Mapping[str, str]) -> str:
    """Labels as a sample has them."""
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())


def build_info(name: str, text: str) -> Iterator[str]:
    """The versions of this program and of Python; always 1."""
    yield from family(name, "gauge", text)
    python = ".".join(map(str, sys.version_info[:3]))
    yield sample(name, joined({"version": __version__, "python_version": python}), 1)


def log_lines_dropped(name: str, lost: int, left_out: int) -> Iterator[str]:
    """Log lines that could not be written, and those past the limits on their number."""
    yield from family(
        name,
        "counter",
        "Log lines that standard error did not take, or past the limit on their rate.",
    )
    yield sample(name, joined({"reason": "not_written"}), lost)
    yield sample(name, joined({"reason": "rate_limit"}), left_out)


def encoded(lines: Iterable[str]) -> bytes:
    """Lines as the body of a scrape, or a part of it, has them."""
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
