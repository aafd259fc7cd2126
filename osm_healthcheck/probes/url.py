"""URLs as the kubelet reads them: the rules of Go's ``net/url``, restated.

A probe's path goes through ``url.Parse``, gets a scheme and a host, is printed and parsed again
(``pkg/probe/http/request.go``), and a ``Location`` is resolved by ``URL.Parse`` of the same
package. What reaches the app, and whether anything does, hangs on these rules, which are not
those of ``urllib`` or ``yarl``: ``//healthz`` is a host, ``/a%zz?x=1`` is all path, ``a:b`` is no
address at all, and a blank in the query goes out as it is.

The rules are those of Go 1.26, which Kubernetes 1.36 is built with; older ones let a host of an
``http`` URL hold more than one colon.

Texts are handled as UTF-8 bytes behind ``str`` (``latin-1``), so that every input has an answer.
"""

import ipaddress
import re
from functools import cache
from typing import NamedTuple

from osm_healthcheck.errors import OSMHealthcheckError
from osm_healthcheck.probes.quote import quote

# net/url encoding_table.go: what each part may hold unescaped
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")
_PATH_SAFE = _UNRESERVED | frozenset("$&+,/:;=@")
_HOST_SAFE = _UNRESERVED | frozenset("!$&'()*+,;=:[]<>\"")
_USER_SAFE = _UNRESERVED | frozenset("$&+,;=")
_FRAGMENT_SAFE = _PATH_SAFE | frozenset("?!()*")
# net/url validEncoded: what an already encoded part may hold, so that it is kept as written
_ENCODED_PATH = re.compile(r"[A-Za-z0-9\-_.~!$&'()*+,;=:@\[\]/%]*")
_ENCODED_FRAGMENT = re.compile(r"[A-Za-z0-9\-_.~!$&'()*+,;=:@\[\]/%?]*")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_OPTIONAL_PORT = re.compile(r"(?::[0-9]*)?")
_USERINFO = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")
_NO_PORT = 65536
_NOT_IN_HOST = re.compile("[\x00-\x20#/?@\\\\^`{|}\x7f]")


class URLError(OSMHealthcheckError):
    """A text that Go's ``url.Parse`` refuses; the message is Go's."""

    def __init__(self, text: str, reason: str) -> None:
        self.text = text
        self.reason = reason
        super().__init__(f"parse {quote(text.encode('utf-8', 'surrogateescape'))}: {reason}")


class URL(NamedTuple):
    """A parsed URL.

    ``path`` and ``fragment`` are unescaped; ``raw_path`` and ``raw_fragment`` are set where that
    loses something. ``user`` is ``name`` or ``name:password``, escaped. ``omit_host`` tells
    ``http:/x`` from ``http:///x``.
    """

    scheme: str = ""
    opaque: str = ""
    user: str | None = None
    host: str = ""
    path: str = ""
    raw_path: str = ""
    query: str = ""
    force_query: bool = False
    fragment: str = ""
    raw_fragment: str = ""
    omit_host: bool = False

    @property
    def hostname(self) -> str:
        """The host without port and brackets: what the redirect rule compares."""
        host = self._split_host()[0]
        return host[1:-1] if host.startswith("[") and host.endswith("]") else host

    @property
    def port(self) -> int:
        """The port, by default the scheme's (0 where it has none); it may be too large for one."""
        text = self._split_host()[1]
        if not text:
            return {"http": 80, "https": 443}.get(self.scheme, 0)
        digits = text.lstrip("0")
        return int(digits or "0") if len(digits) <= 5 else _NO_PORT

    @property
    def port_text(self) -> str:
        """The port as it is written; empty where it is not."""
        return self._split_host()[1]

    @property
    def userinfo(self) -> str | None:
        """Name and password, unescaped, with a colon between; ``None`` where there is no user."""
        if self.user is None:
            return None
        name, _, password = self.user.partition(":")
        return f"{_unescape(name)}:{_unescape(password)}"

    @property
    def escaped_path(self) -> str:
        """The path as it goes out."""
        if self.raw_path and _ENCODED_PATH.fullmatch(self.raw_path):
            return self.raw_path
        return "*" if self.path == "*" else _escape(self.path, _PATH_SAFE)

    @property
    def request_target(self) -> str:
        """What stands in the request line (``URL.RequestURI``)."""
        if self.opaque:
            target = f"{self.scheme}:{self.opaque}" if self.opaque.startswith("//") else self.opaque
        else:
            target = self.escaped_path or "/"
        return target + "?" + self.query if self.force_query or self.query else target

    @property
    def quoted(self) -> str:
        """In quotes and without a password, as Go's client shows it in an error."""
        user, colon, _ = (self.user or "").partition(":")
        shown = self._replace(user=f"{user}:***") if colon else self
        return quote(str(shown).encode("latin-1"))

    def __str__(self) -> str:
        text = f"{self.scheme}:" if self.scheme else ""
        if self.opaque:
            text += self.opaque
        else:
            path = self.escaped_path
            if self.host or self.user is not None or (self.scheme and path and not self.omit_host):
                user = "" if self.user is None else f"{self.user}@"
                text += f"//{user}{_escape(self.host, _HOST_SAFE)}"
            if self.host and path and not path.startswith("/"):
                text += "/"
            if not text and ":" in path.partition("/")[0]:
                text = "./"  # or else it would read as a scheme
            text += path
        if self.force_query or self.query:
            text += "?" + self.query
        if not self.fragment:
            return text
        if self.raw_fragment and _ENCODED_FRAGMENT.fullmatch(self.raw_fragment):
            return f"{text}#{self.raw_fragment}"
        return f"{text}#{_escape(self.fragment, _FRAGMENT_SAFE)}"

    def join(self, reference: str) -> "URL":
        """Resolve ``reference`` against this URL, as a client does with a ``Location``.

        Raises:
            URLError: where ``reference`` cannot be parsed.
        """
        ref = parse(reference)
        scheme = ref.scheme or self.scheme
        if ref.scheme or ref.host or ref.user is not None:
            return _with_path(ref._replace(scheme=scheme), _resolve(ref.escaped_path, ""))
        if not ref.path and not ref.force_query and not ref.query:
            ref = ref._replace(query=self.query)
            if not ref.fragment:
                ref = ref._replace(fragment=self.fragment, raw_fragment=self.raw_fragment)
        if not ref.path and self.opaque:
            return ref._replace(scheme=scheme, opaque=self.opaque)
        resolved = _resolve(self.escaped_path, ref.escaped_path)
        return _with_path(ref._replace(scheme=scheme, host=self.host, user=self.user), resolved)

    def _split_host(self) -> tuple[str, str]:
        """``splitHostPort``: the host with its brackets, and the port."""
        host, colon, port = self.host.rpartition(":")
        return (host, port) if colon and _OPTIONAL_PORT.fullmatch(f":{port}") else (self.host, "")


def parse(text: str) -> URL:
    """Parse ``text`` as Go's ``url.Parse`` does.

    Raises:
        URLError: control characters, a bad escape, a colon in the first segment, a broken host.
    """
    return _parse_raw(_raw(text))


def probe_url(scheme: str, host: str, port: int, path: str) -> URL:
    """The URL that the kubelet asks for a probe: ``formatURL`` in ``pkg/probe/http/request.go``.

    ``host`` is an address or a name without brackets. The result may have no host at all (path
    ``a:b``): then the kubelet fails without dialling.

    Raises:
        URLError: where not even the printed URL can be parsed again (a bracketed ``host``).
    """
    try:
        url = parse(path)
    except URLError:
        # "Something is busted with the path, but it's too late to reject it."
        url = URL(path=_raw(path))
    host = _raw(host)
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return _parse_raw(str(url._replace(scheme=scheme.lower(), host=authority)))


class _RefusedError(Exception):
    pass


def _raw(text: str) -> str:
    """``text`` as its bytes, each a character."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _parse_raw(raw: str) -> URL:
    rest, _, fragment = raw.partition("#")
    shown = rest
    try:
        url = _parse(rest)
        shown = raw
        return _with_fragment(url, fragment)
    except _RefusedError as refused:
        raise URLError(_readable(shown), _readable(str(refused))) from None


def _readable(raw: str) -> str:
    return raw.encode("latin-1").decode("utf-8", "surrogateescape")


def _with_fragment(url: URL, fragment: str) -> URL:
    unescaped = _unescape(fragment)
    plain = _escape(unescaped, _FRAGMENT_SAFE) == fragment
    return url._replace(fragment=unescaped, raw_fragment="" if plain else fragment)


def _parse(rest: str) -> URL:
    if _CONTROL.search(rest):
        raise _RefusedError("net/url: invalid control character in URL")
    scheme = ""
    if rest.startswith(":"):
        raise _RefusedError("missing protocol scheme")
    if match := _SCHEME.match(rest):
        scheme, rest = match[1].lower(), rest[match.end() :]
    force_query = rest.endswith("?") and rest.count("?") == 1
    rest, _, query = rest.partition("?")
    url = URL(scheme=scheme, query=query, force_query=force_query)
    if not rest.startswith("/"):
        if scheme:
            return url._replace(opaque=rest)
        if ":" in rest.partition("/")[0]:
            raise _RefusedError("first path segment in URL cannot contain colon")
    if rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, path = rest[2:].partition("/")
        rest = slash + path
        url = _with_authority(url, authority)
    elif scheme and rest.startswith("/"):
        url = url._replace(omit_host=True)
    return _with_path(url, rest)


def _with_authority(url: URL, authority: str) -> URL:
    userinfo, at, text = authority.rpartition("@")
    host = _parse_host(url.scheme, text)
    if not at:
        return url._replace(host=host)
    if not _USERINFO.fullmatch(userinfo):
        raise _RefusedError("net/url: invalid userinfo")
    name, colon, password = userinfo.partition(":")
    user, secret = (_escape(_unescape(part), _USER_SAFE) for part in (name, password))
    return url._replace(host=host, user=user + colon + secret)


def _parse_host(scheme: str, text: str) -> str:
    bracket = text.rfind("[")
    if bracket > 0:
        raise _RefusedError("invalid IP-literal")
    if bracket == 0:
        literal, close, port = text[1:].rpartition("]")
        if not close:
            raise _RefusedError("missing ']' in host")
        _check_port(port)
        host, percent, zone = literal.partition("%25")
        host = _unescape_host(host) + _unescape_host(percent + zone, zone=True)
        _check_ipv6(host)
        return f"[{host}]{port}"
    if ":" in text:
        # lists of hosts with ports stand in the URLs of databases, and only there
        strict = scheme in ("http", "https")
        _check_port(text[text.find(":") if strict else text.rfind(":") :])
    return _unescape_host(text)


def _check_port(text: str) -> None:
    if not _OPTIONAL_PORT.fullmatch(text):
        raise _RefusedError(f"invalid port {_quoted(text)} after host")


def _check_ipv6(literal: str) -> None:
    """What ``netip.ParseAddr`` takes for an IPv6 address, zone included."""
    address, percent, zone = literal.partition("%")
    try:
        if ipaddress.ip_address(address).version == 4 and not percent:
            raise _RefusedError("invalid IP-literal")
        ipaddress.IPv6Address(address)
    except ValueError:
        problem = "unable to parse IP"
    else:
        if zone or not percent:
            return
        problem = "zone must be a non-empty string"
    raise _RefusedError(f"invalid host: ParseAddr({_quoted(literal)}): {problem}")


def _unescape_host(text: str, *, zone: bool = False) -> str:
    """Only bytes that are not ASCII can be escaped in a host, in a zone those of a host too."""
    for match in re.finditer(r"%(..?)?", text):
        escape = match[0]
        if not _ESCAPE.fullmatch(escape):
            raise _RefusedError(f"invalid URL escape {_quoted(escape)}")
        byte = int(escape[1:], 16)
        allowed = byte == 0x20 or chr(byte) in _HOST_SAFE if zone else byte >= 0x80
        if escape != "%25" and not allowed:
            raise _RefusedError(f"invalid URL escape {_quoted(escape)}")
    if bad := _NOT_IN_HOST.search(text):
        raise _RefusedError(f"invalid character {_quoted(bad[0])} in host name")
    return _unescape(text)


def _with_path(url: URL, escaped: str) -> URL:
    path = _unescape(escaped)
    plain = _escape(path, _PATH_SAFE) == escaped
    return url._replace(path=path, raw_path="" if plain else escaped)


def _resolve(base: str, reference: str) -> str:
    """``resolvePath`` of ``net/url``: join two paths and take out their dot segments."""
    if not reference:
        full = base
    elif reference.startswith("/"):
        full = reference
    else:
        full = base[: base.rfind("/") + 1] + reference
    if not full:
        return ""
    path, first, segment = "/", True, ""
    for segment in full.split("/"):
        if segment == "..":
            path = path[: path.rfind("/", 1)] if "/" in path[1:] else "/"
            first = path == "/"
        elif segment != ".":
            path += segment if first else "/" + segment
            first = False
        else:
            first = False
    if segment in (".", ".."):
        path += "/"
    return path[1:] if path.startswith("//") else path


def _unescape(text: str) -> str:
    if bad := _BAD_ESCAPE.search(text):
        raise _RefusedError(f"invalid URL escape {_quoted(text[bad.start() : bad.start() + 3])}")
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)


def _escape(text: str, safe: frozenset[str]) -> str:
    return text.translate(_escapes(safe))


@cache
def _escapes(safe: frozenset[str]) -> dict[int, str]:
    """What stands for each character that is not ``safe``."""
    return {byte: f"%{byte:02X}" for byte in range(256) if chr(byte) not in safe}


def _quoted(raw: str) -> str:
    """A piece of the input in quotes, its own characters behind `_readable` again."""
    return _raw(quote(raw.encode("latin-1")))
