"""A probe's request, as much of it as decides the answer."""

from functools import cache
from typing import NamedTuple

from osm_healthcheck.probes.request import Headers


class Request(NamedTuple):
    """The head of a request.

    ``path`` is as the caller wrote it, without the query. ``headers`` are pairs of bytes as they
    came. ``http11`` is false for HTTP/1.0, whose callers know no chunks. ``has_body`` is whether
    the head announces one, which nobody reads.
    """

    method: str
    path: str
    headers: Headers = ()
    http11: bool = True
    has_body: bool = False

    @property
    def head_only(self) -> bool:
        """Whether the caller wants no body."""
        return self.method == "HEAD"

    def values(self, name: str) -> list[str]:
        """All values of the header ``name``, in the order in which they came."""
        wanted = _lowered(name)
        size = len(wanted)  # looked at first, because it costs less than letters
        return [
            value.decode("utf-8", "surrogateescape")
            for key, value in self.headers
            if len(key) == size and key.lower() == wanted
        ]

    def first(self, name: str) -> str:
        """The first value of the header ``name``, ``""`` where there is none."""
        return next(iter(self.values(name)), "")


@cache  # of the few names that are asked for
def _lowered(name: str) -> bytes:
    return name.lower().encode("latin-1")
