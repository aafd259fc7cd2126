"""What can go wrong between us and an app. Nothing else leaves this package.

``OSError`` and ``ssl.SSLError`` end here. A deadline is the caller's business
and stays ``TimeoutError``.
"""

import errno
import os

from osm_healthcheck.errors import OSMHealthcheckError


class WireError(OSMHealthcheckError):
    """An app could not be asked, or did not answer as it should."""


class DialError(WireError):
    """No connection; ``code`` is the ``errno`` that says why."""

    def __init__(self, address: str, port: int, code: int) -> None:
        self.address = address
        self.port = port
        self.code = code
        self.reason = (
            "connection refused" if code == errno.ECONNREFUSED else os.strerror(code).lower()
        )
        super().__init__(self._text(f"dial {authority(address, port)}", self.reason))

    @staticmethod
    def _text(what: str, reason: str) -> str:
        return f"{what}: {reason}"


class RefusedError(DialError):
    """The app, or the network on the way to it: refused, unreachable or reset while dialling."""


class NoSocketError(DialError):
    """There is no socket left here to dial with: the app was not asked at all."""

    @staticmethod
    def _text(what: str, reason: str) -> str:
        return f"{what}: the app was not asked, because there is no socket to ask with: {reason}"


class BadAnswerError(WireError):
    """The app answered in another language, or ended the connection without an answer."""


class MalformedError(BadAnswerError):
    """An answer whose head is no HTTP/1, or ends before it is whole. The words are Go's."""


class PlainHTTPError(BadAnswerError):
    """The app answered TLS in plain HTTP. The words are Go's (``http.ErrSchemeMismatch``)."""

    def __init__(self) -> None:
        super().__init__("http: server gave HTTP response to HTTPS client")


class UnprocessedError(BadAnswerError):
    """The app took the connection and not the request, which it has not looked at: ask again."""


class BrokenOffError(WireError):
    """An answer that had begun ended before it was whole."""


class StreamResetError(BrokenOffError):
    """An HTTP/2 stream that the app gave up; ``code`` is RFC 9113's name for why."""

    def __init__(self, stream: int, code: str) -> None:
        self.code = code
        super().__init__(f"stream error: stream ID {stream}; {code}; received from peer")


def authority(address: str, port: int) -> str:
    """``address`` and ``port`` as a URL holds them, with brackets around an IPv6 address."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
