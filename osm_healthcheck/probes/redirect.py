"""When the kubelet follows a redirect, and with what.

The rule is ``RedirectChecker(false)`` of ``pkg/probe/http/http.go`` on top of ``Client.do`` in Go's
``net/http``: followed while the host *name* of the URL stays that of the first request (ports and
schemes may change, the ``Host`` header does not count), at most ten requests.
"""

import re
from binascii import b2a_base64
from typing import NamedTuple

from osm_healthcheck.errors import OSMHealthcheckError
from osm_healthcheck.probes.quote import quote
from osm_healthcheck.probes.request import CLOSE, GZIP, Headers
from osm_healthcheck.probes.url import URL, URLError, parse

MAX_REQUESTS = 10
# Of a ``Location``, and of the URL that it makes. The kubelet sets none: a URL is as long as a head
# may be, and is read and written a dozen times, in one turn of the event loop.
MAX_URL_BYTES = 8 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# makeHeadersCopier in Go's client.go: they describe a body, which 307 and 308 alone would keep
_BODY_HEADERS = frozenset(
    {b"content-encoding", b"content-language", b"content-location", b"content-type"}
)
# httpguts.ValidHostHeader, and removeZone
_HOST_HEADER = re.compile(r"[A-Za-z0-9!$%&'()*+,\-.:;=\[\]_~]*")
_ZONE = re.compile(r"%[^%\]]*\]")
_UP_TO_PATH = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?(?://[^/?#]*)?")
_KEEP_BODY = frozenset({307, 308})


class RedirectError(OSMHealthcheckError):
    """A redirect that makes the probe fail: one too many, or to nowhere. The words are Go's."""


class _TooLongError(RedirectError):
    def __init__(self) -> None:
        super().__init__(f"redirect to a URL of more than {MAX_URL_BYTES} bytes")


class Hop(NamedTuple):
    """One request of a probe: where it goes and what it carries.

    ``host`` overrides the ``Host`` header (``""``: the URL's own host and port); ``headers`` are
    the probe's own; ``referer`` is where a redirect came from.
    """

    url: URL
    host: str
    headers: Headers
    referer: str = ""

    @property
    def authority(self) -> str:
        """What the ``Host`` header says; empty where it cannot be one (``Request.write``)."""
        host = self.host or self.url.host
        if not _HOST_HEADER.fullmatch(host):
            return ""
        return _ZONE.sub("]", host)

    @property
    def lines(self) -> Headers:
        """All header lines but ``Host``, with those that the URLs call for."""
        lines = self.headers
        if self.url.user is None and not self.referer:
            return lines
        userinfo = self.url.userinfo
        if userinfo is not None and not _get(lines, b"Authorization"):
            credentials = b2a_base64(userinfo.encode("latin-1"), newline=False)
            lines = _set(lines, b"Authorization", b"Basic " + credentials)
        if self.referer:
            referer = _get(lines, b"Referer") or self.referer.encode("latin-1")
            lines = _set(lines, b"Referer", referer)
        return lines


def location_of(status: int, headers: Headers) -> str:
    """The ``Location`` of a redirect that a client may follow, or ``""``."""
    if status in _REDIRECTS:
        for name, value in headers:
            if len(name) == 8 and name.lower() == b"location":
                return value.decode("utf-8", "surrogateescape")
    return ""


def next_hop(status: int, location: str, hops: list[Hop]) -> Hop | None:
    """The request that follows ``hops`` on a redirect with ``status`` to ``location``.

    ``None`` where the kubelet stops and takes the redirect itself for the (warning) answer. Of
    ``hops`` count their number, the first and the last.

    Raises:
        RedirectError: where it fails the probe instead.
    """
    first, last = hops[0], hops[-1]
    is_long = len(location.encode("utf-8", "surrogateescape")) > MAX_URL_BYTES
    if is_long and (start := _UP_TO_PATH.match(location)):
        location = start[0]  # which tells whether it leads elsewhere
        if len(location) > MAX_URL_BYTES:
            raise _TooLongError
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
    if is_long or len(str(url)) > MAX_URL_BYTES:
        raise _TooLongError
    if url.scheme not in ("http", "https"):
        raise RedirectError(f'Get {url.quoted}: unsupported protocol scheme "{url.scheme}"')
    if url.port > 65535:
        raise RedirectError(f"Get {url.quoted}: dial tcp: address {url.port_text}: invalid port")
    # a Location with a scheme ends the probe's Host header, on all requests that follow
    keeps_host = last.host != last.url.host and not parse(location).scheme
    headers = last.headers
    if status not in _KEEP_BODY:
        headers = tuple(line for line in headers if line[0].lower() not in _BODY_HEADERS)
    return Hop(url, last.host if keeps_host else "", headers, _referer(last.url, url))


def _quoted(location: str) -> str:
    return quote(location.encode("utf-8", "surrogateescape"))


def _referer(last: URL, url: URL) -> str:
    if (last.scheme, url.scheme) == ("https", "http"):
        return ""
    return str(last._replace(user=None))


def _get(lines: Headers, name: bytes) -> bytes:
    """``Header.Get``: the first value, ``b""`` where there is none."""
    return next((value for n, value in lines if n.lower() == name.lower()), b"")


def _set(lines: Headers, name: bytes, value: bytes) -> Headers:
    """``Header.Set``: this value, and no other.

    It goes where ``Request.write`` has it: ``User-Agent`` comes first, the others by name, and what
    is the transport's own (not a declared line that looks like it) last.
    """
    kept = [line for line in lines if line[0].lower() != name.lower()]
    after = (at for at, line in enumerate(kept) if line[0] > name and line[0] != b"User-Agent")
    last = len(kept) - bool(kept and (kept[-1] is CLOSE or kept[-1] is GZIP))
    kept.insert(next(after, last), (name, value))
    return tuple(kept)
