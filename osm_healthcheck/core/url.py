"""URLs as the kubelet reads them: the rules of Go's ``net/url``, restated.

A probe's path goes through ``url.Parse``, gets a scheme and a host, is printed and parsed again
(``pkg/probe/http/request.go``), and a ``Location`` is resolved by ``URL.Parse`` of the same
package. What reaches the app, and whether anything does, hangs on these rules, which are not
those of ``urllib`` or ``yarl``: ``//healthz`` is a host, ``/a%zz?x=1`` is all path, ``a:b`` is no
address at all, and a blank in the query goes out as it is.

Texts are handled as UTF-8 bytes behind ``str`` (``latin-1``), so that every input has an answer.
"""

import re
from dataclasses import dataclass, replace

from osm_healthcheck.core.errors import OSMHealthcheckError
from osm_healthcheck.core.quote import quote

_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")
# net/url shouldEscape: what a path and a host may hold unescaped besides the unreserved ones
_PATH_SAFE = _UNRESERVED | frozenset("$&+,/:;=@")
_HOST_SAFE = _UNRESERVED | frozenset("!$&'()*+,;=:[]<>\"")
_USER_SAFE = _UNRESERVED | frozenset("$&+,;=")
# net/url validEncoded: what an already encoded path may hold, so that it is kept as written
_ENCODED_PATH = re.compile(r"(?:[A-Za-z0-9\-_.~!$&'()*+,;=:@\[\]/]|%[0-9A-Fa-f]{2})*")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_OPTIONAL_PORT = re.compile(r"(?::[0-9]*)?")


class URLError(OSMHealthcheckError):
    """A text that Go's ``url.Parse`` refuses; the message is Go's."""

    def __init__(self, text: str, reason: str) -> None:
        self.text = text
        self.reason = reason
        super().__init__(f"parse {quote(text.encode('utf-8', 'surrogateescape'))}: {reason}")


@dataclass(frozen=True, slots=True)
class URL:
    """A parsed URL. ``path`` is unescaped; ``raw_path`` is set where that loses something."""

    scheme: str = ""
    opaque: str = ""
    user: str | None = None
    host: str = ""
    path: str = ""
    raw_path: str = ""
    query: str = ""
    force_query: bool = False
    fragment: str = ""

    @property
    def hostname(self) -> str:
        """The host without port and brackets: what the redirect rule compares."""
        if self.host.startswith("["):
            return self.host[1:].partition("]")[0]
        return self.host.partition(":")[0]

    @property
    def port(self) -> int:
        """The port, by default the scheme's; 0 where it is no port."""
        text = self.host.rpartition(":")[2] if re.search(r":\d+$", self.host) else ""
        return int(text) if text else {"http": 80, "https": 443}.get(self.scheme, 0)

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
        shown = replace(self, user=f"{user}:***") if colon else self
        return quote(str(shown).encode("latin-1"))

    def __str__(self) -> str:
        text = f"{self.scheme}:" if self.scheme else ""
        if self.opaque:
            text += self.opaque
        else:
            path = self.escaped_path
            if self.host or self.user is not None:
                user = "" if self.user is None else f"{self.user}@"
                text += f"//{user}{_escape(self.host, _HOST_SAFE)}"
                if path and not path.startswith("/"):
                    path = "/" + path
            elif path.startswith("//"):
                text += "//"
            text += path
        if self.force_query or self.query:
            text += "?" + self.query
        return text + ("#" + _escape(self.fragment, _PATH_SAFE | {"?"}) if self.fragment else "")

    def join(self, reference: str) -> "URL":
        """Resolve ``reference`` against this URL, as a client does with a ``Location``.

        Raises:
            URLError: where ``reference`` cannot be parsed.
        """
        ref = parse(reference)
        scheme = ref.scheme or self.scheme
        if ref.scheme or ref.host or ref.user is not None:
            return _with_path(replace(ref, scheme=scheme), _resolve(ref.escaped_path, ""))
        if ref.opaque:
            return replace(ref, scheme=scheme, user=None, host="")
        if not ref.path and not ref.force_query and not ref.query:
            fragment = ref.fragment or self.fragment
            ref = replace(ref, query=self.query, fragment=fragment)
        resolved = _resolve(self.escaped_path, ref.escaped_path)
        return _with_path(replace(ref, scheme=scheme, host=self.host, user=self.user), resolved)


def parse(text: str) -> URL:
    """Parse ``text`` as Go's ``url.Parse`` does.

    Raises:
        URLError: control characters, a bad escape, a colon in the first segment, a broken host.
    """
    raw = text.encode("utf-8", "surrogateescape").decode("latin-1")
    try:
        return _parse(raw)
    except _RefusedError as refused:
        raise URLError(text, str(refused)) from None


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
        url = URL(path=path.encode("utf-8", "surrogateescape").decode("latin-1"))
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return parse(str(replace(url, scheme=scheme.lower(), host=authority)))


class _RefusedError(Exception):
    pass


def _parse(raw: str) -> URL:
    rest, _, fragment = raw.partition("#")
    if _CONTROL.search(rest):
        raise _RefusedError("net/url: invalid control character in URL")
    scheme = ""
    if rest.startswith(":"):
        raise _RefusedError("missing protocol scheme")
    if match := _SCHEME.match(rest):
        scheme, rest = match[1].lower(), rest[match.end() :]
    force_query = rest.endswith("?") and rest.count("?") == 1
    rest, _, query = rest.partition("?")
    url = URL(scheme=scheme, query=query, force_query=force_query, fragment=_unescape(fragment))
    if not rest.startswith("/"):
        if scheme:
            return replace(url, opaque=rest)
        if ":" in rest.partition("/")[0]:
            raise _RefusedError("first path segment in URL cannot contain colon")
    if rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, path = rest[2:].partition("/")
        rest = slash + path
        url = _with_authority(url, authority)
    return _with_path(url, rest)


def _with_authority(url: URL, authority: str) -> URL:
    userinfo, at, host = authority.rpartition("@")
    if at and not re.fullmatch(r"(?:[A-Za-z0-9\-._:~!$&'()*+,;=@]|%[0-9A-Fa-f]{2})*", userinfo):
        raise _RefusedError("net/url: invalid userinfo")
    if "[" in host:
        if not host.startswith("["):
            raise _RefusedError("invalid IP-literal")
        if "]" not in host:
            raise _RefusedError("missing ']' in host")
        literal, _, port = host[1:].rpartition("]")
        if "[" in literal or "]" in literal:
            raise _RefusedError("invalid IP-literal")
    else:
        colon = host.rfind(":")
        port = host[colon:] if colon >= 0 else ""
    if not _OPTIONAL_PORT.fullmatch(port):
        raise _RefusedError(f'invalid port "{port}" after host')
    if bad := re.search(r"[ <>\"\\^`{|}]", host):
        raise _RefusedError(f'invalid character "{bad[0]}" in host name')
    return replace(url, host=_unescape(host), user=userinfo if at else None)


def _with_path(url: URL, escaped: str) -> URL:
    path = _unescape(escaped)
    plain = _escape(path, _PATH_SAFE) == escaped
    return replace(url, path=path, raw_path="" if plain else escaped)


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
    done: list[str] = []
    segments = full.split("/")
    for segment in segments[1:] if full.startswith("/") else segments:
        if segment == "..":
            del done[-1:]
        elif segment != ".":
            done.append(segment)
    if segments[-1] in (".", ".."):
        done.append("")
    return "/" + "/".join(done)


def _unescape(text: str) -> str:
    if bad := _BAD_ESCAPE.search(text):
        raise _RefusedError(f'invalid URL escape "{text[bad.start() : bad.start() + 3]}"')
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)


def _escape(text: str, safe: frozenset[str]) -> str:
    return "".join(c if c in safe else f"%{ord(c):02X}" for c in text)
