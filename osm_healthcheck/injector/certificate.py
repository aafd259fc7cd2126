"""The certificate of the webhook: tried first, then put into the live TLS context.

A context that is handed another certificate serves it from the next handshake on, and loses no
request; handed a pair that does not match, it would fail every one.
"""

import asyncio
import logging
import os
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from osm_healthcheck.errors import OSMHealthcheckError
from osm_healthcheck.server.logs import Log
from osm_healthcheck.server.rate_limit import RateLimit

CHAIN_FILE, KEY_FILE = "tls.crt", "tls.key"  # of a Secret of type kubernetes.io/tls
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_WATCH_SECONDS = 1.0
_LINES_PER_SECOND, _LINES_BURST = 1, 5
_HANDSHAKE_TURNS = 6  # flights of a handshake, more than there are


class CertificateError(OSMHealthcheckError):
    """A certificate cannot be served; the text says why."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What a certificate says of itself: its end in Unix time, and host names and addresses."""

    expiry: float
    names: frozenset[str]


class ServingCertificate:
    """The TLS context of the webhook. ``installed`` is set from the first certificate on.

    ``expiry`` is the end of the certificate in use, in Unix time.
    """

    def __init__(self) -> None:
        self.context = _server_context()
        self.installed = asyncio.Event()
        self.expiry = 0.0

    @property
    def expires(self) -> str:
        """``expiry`` for people: ISO 8601, in UTC."""
        return datetime.fromtimestamp(self.expiry, UTC).isoformat()

    def install(self, chain: bytes, key: bytes) -> None:
        """Serve this certificate, in PEM, to connections that come from now on.

        Raises:
            CertificateError: where it cannot be served; what was served before still is.
        """
        found = examined(chain, key)
        _load(self.context, chain, key)
        self.expiry = found.expiry
        self.installed.set()


class CertificateDirectory:
    """Files that somebody else renews: cert-manager, by way of a Secret's volume, or a person."""

    def __init__(
        self,
        directory: Path,
        certificate: ServingCertificate,
        log: Log,
        problem: Callable[[str], None],
    ) -> None:
        self._paths = (directory / CHAIN_FILE, directory / KEY_FILE)
        self._certificate = certificate
        self._log = log
        self._problem = problem
        self._seen: object = None
        self._limit = RateLimit(_LINES_PER_SECOND, _LINES_BURST)

    async def watch(self) -> None:
        """Install what is in the directory, now and whenever it changes; does not return.

        The kubelet replaces a Secret's files by a link to another directory: what they are is
        looked at by path, as no event of one file would tell.
        """
        while True:
            self.look()
            await asyncio.sleep(_WATCH_SECONDS)

    def look(self) -> None:
        """Install the certificate if its files are other ones than last time."""
        try:
            found = [os.stat(path) for path in self._paths]  # noqa: PTH116
            state: object = [(one.st_ino, one.st_mtime_ns, one.st_size) for one in found]
        except OSError as error:
            state = f"{error.filename}: {error.strerror}"
        if state == self._seen:
            return
        self._seen = state
        try:
            if isinstance(state, str):
                raise CertificateError(state)
            self._certificate.install(*(path.read_bytes() for path in self._paths))
        except (CertificateError, OSError) as error:
            text = "certificate cannot be served"
            self._log.limited(logging.ERROR, self._limit, text, error=str(error))
            if not self._certificate.installed.is_set():
                self._problem(f"no certificate: {error}")
        else:
            self._log.info("certificate in use", expires=self._certificate.expires)
            self._problem("")


def certificates_in(pem: bytes) -> list[bytes]:
    """The certificates of a chain or bundle, each in PEM."""
    return _PEM.findall(pem)


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _load(context: ssl.SSLContext, chain: bytes, key: bytes) -> None:
    """``load_cert_chain`` takes files alone: this one is in memory, and nobody else's to read.

    Raises:
        CertificateError: where the two are no pair.
    """
    file = os.memfd_create("certificate")
    try:
        os.write(file, chain + b"\n" + key)
        context.load_cert_chain(f"/proc/self/fd/{file}", password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise CertificateError(_reason(error)) from None
    finally:
        os.close(file)


def _no_password() -> str:
    raise ValueError("the key is encrypted: store it without a password")


def examined(chain: bytes, key: bytes, trusted: bytes = b"") -> Examined:
    """Make a handshake in memory with a certificate, and look at it.

    Args:
        chain: the certificate and what is between it and its CA, in PEM.
        key: its key, in PEM.
        trusted: the CAs of the client, in PEM; without any it trusts the certificate itself.

    Raises:
        CertificateError: where such a client would not take it.
    """
    leaf = certificates_in(chain)
    if not leaf:
        raise CertificateError(f"{CHAIN_FILE} holds no certificate in PEM")
    scratch = _server_context()
    _load(scratch, chain, key)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the leaf itself is trusted
    try:
        trusting.load_verify_locations(cadata=(trusted or leaf[0]).decode("ascii", "replace"))
    except ssl.SSLError as error:
        raise CertificateError(f"what is trusted is no certificate: {_reason(error)}") from None
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server)
    server = scratch.wrap_bio(to_server, to_client, server_side=True)
    try:
        for _ in range(_HANDSHAKE_TURNS):
            for side in (client, server):
                _step(side)
        peer = client.getpeercert()
    except (ssl.SSLError, ValueError) as error:
        raise CertificateError(_reason(error)) from None
    seen: dict[str, Any] = dict(peer or {})
    names = frozenset(str(name) for _, name in seen.get("subjectAltName", ()))
    return Examined(float(ssl.cert_time_to_seconds(seen["notAfter"])), names)


def _step(side: ssl.SSLObject) -> None:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{error.verify_message}"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "").lower().replace("_", " ")
        return {
            "key values mismatch": f"{KEY_FILE} is not the key of {CHAIN_FILE}",
            "": f"{CHAIN_FILE} or {KEY_FILE} is not PEM",
        }.get(reason, reason)
    return str(error)
