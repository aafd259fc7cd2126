"""When the kubelet follows a redirect, and with what.

The rule is ``RedirectChecker(false)`` of ``pkg/probe/http/http.go`` on top of ``Client.do`` in Go's
``net/http``: followed while the host *name* of the URL stays that of the first request (ports and
schemes may change, the ``Host`` header does not count), at most ten requests.
"""

from dataclasses import dataclass

from osm_healthcheck.core.errors import OSMHealthcheckError
from osm_healthcheck.core.quote import quote
from osm_healthcheck.core.request import Headers
from osm_healthcheck.core.url import URL, URLError, parse

MAX_REQUESTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class RedirectError(OSMHealthcheckError):
    """A redirect that makes the probe fail: one too many, or to nowhere. The words are Go's."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One request of a probe: where it goes and what it carries.

    ``host`` overrides the ``Host`` header (``""``: the URL's own host and port).
    """

    url: URL
    host: str
    headers: Headers


def location_of(status: int, headers: Headers) -> str:
    """The ``Location`` of a redirect that a client may follow, or ``""``."""
    if status in _REDIRECTS:
        for name, value in headers:
            if len(name) == 8 and name.lower() == b"location":
                return value.decode("utf-8", "surrogateescape")
    return ""


def next_hop(location: str, hops: list[Hop]) -> Hop | None:
    """The request that follows ``hops`` on a redirect to ``location``.

    ``None`` where the kubelet stops and takes the redirect itself for the (warning) answer.

    Raises:
        RedirectError: where it fails the probe instead.
    """
    first, last = hops[0], hops[-1]
    try:
        url = last.url.join(location)
    except URLError as error:
        raise RedirectError(
            f"Get {last.url.quoted}: failed to parse Location header {_quoted(location)}: {error}"
        ) from None
    if url.hostname != first.url.hostname:
        return None
    if len(hops) >= MAX_REQUESTS:
        raise RedirectError(f"Get {_quoted(location)}: stopped after {MAX_REQUESTS} redirects")
    if url.scheme not in ("http", "https"):
        raise RedirectError(f'Get {url.quoted}: unsupported protocol scheme "{url.scheme}"')
    if url.port > 65535:
        raise RedirectError(f"Get {url.quoted}: dial tcp: address {url.port}: invalid port")
    # an absolute Location names its own host: the probe's Host header ends there
    host = first.host if not parse(location).scheme else ""
    return Hop(url, host, _with_referer(first.headers, last.url, url))


def _quoted(location: str) -> str:
    return quote(location.encode("utf-8", "surrogateescape"))


def _with_referer(headers: Headers, last: URL, url: URL) -> Headers:
    if (last.scheme, url.scheme) == ("https", "http"):
        return headers
    if any(name.lower() == b"referer" for name, _ in headers):
        return headers
    return (*headers, (b"Referer", str(last).encode("latin-1")))
