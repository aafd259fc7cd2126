"""TLS towards an app, as the kubelet speaks it (``pkg/probe/http/http.go``).

No verification, TLS 1.2 or newer, ALPN ``h2, http/1.1``, no SNI for an IP address. OpenSSL is
made as lenient as Go is: key sizes and missing secure renegotiation do not make an app sick.
"""

import asyncio
import contextlib
import functools
import ipaddress
import re
import ssl

from osm_healthcheck.wire.certificate import refusal
from osm_healthcheck.wire.errors import BadAnswerError, BrokenOffError, PlainHTTPError
from osm_healthcheck.wire.stream import CHUNK_BYTES, Stream

_OP_LEGACY_SERVER_CONNECT = 0x4  # ssl.OP_LEGACY_SERVER_CONNECT from Python 3.12
# What Go offers for TLS 1.2 (crypto/tls defaultCipherSuites): an app that wants another key
# exchange is out of the kubelet's reach too.
_CIPHERS = (
    "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:"
    "ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA"
)
# Go's curves and ML-KEM (crypto/tls defaultCurvePreferences); "?": where this OpenSSL has it, "*":
# with a key share in the first message, so that no second one is called for
_OLD_GROUPS = "X25519:P-256:P-384:P-521"
_GROUPS = f"?*X25519MLKEM768:?SecP256r1MLKEM768:?SecP384r1MLKEM1024:*{_OLD_GROUPS}"
# What an app shows of itself: certificates, and the names of those that it wants. OpenSSL makes 25
# times as much of it at worst, and keeps that as long as the connection. Go takes 256 KiB.
MAX_HANDSHAKE_BYTES = 32 * 1024
# A small certificate takes half a millisecond. Who shows more than this is read beside the loop.
HANDSHAKE_TURN_BYTES = 4 * 1024
_HANDSHAKE, _ALERT = 0x16, 0x15  # RFC 8446 section 5.1
# crypto/tls alertText, where it is not the name that RFC 8446 section 6 gives the alert
_ALERT_TEXTS = {
    "bad record mac": "bad record MAC",
    "certificate expired": "expired certificate",
    "certificate revoked": "revoked certificate",
    "certificate unknown": "unknown certificate",
    "decode error": "error decoding message",
    "decrypt error": "error decrypting message",
    "insufficient security": "insufficient security level",
    "protocol version": "protocol version not supported",
    "unknown ca": "unknown certificate authority",
    "user cancelled": "user canceled",
}
# as OpenSSL spells its reasons: TLSV13_ALERT_CERTIFICATE_REQUIRED, TLSV1_UNRECOGNIZED_NAME
_ALERT_REASON = re.compile(r"(?:sslv3|tlsv1|tlsv13) (?:alert )?([a-z ]+[a-z])")


@functools.cache
def client_context(*, http2: bool) -> ssl.SSLContext:
    """The context of all requests that offer HTTP/2, or of those that do without ALPN.

    It holds no CA certificates, since none is asked for.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= _OP_LEGACY_SERVER_CONNECT
    context.set_ciphers(_CIPHERS + ":@SECLEVEL=0")
    if http2:
        context.set_alpn_protocols(["h2", "http/1.1"])
    if set_groups := getattr(context, "set_groups", None):  # Python 3.15
        try:
            set_groups(_GROUPS)
        except ssl.SSLError:  # an OpenSSL before 3.5
            set_groups(_OLD_GROUPS)
    return context


class TLSStream:
    """TLS over a `Stream`; see `ByteStream`. ``http2`` is whether ALPN offers it."""

    def __init__(self, stream: Stream, hostname: str, *, http2: bool = True) -> None:
        self._stream = stream
        self._began = b""
        self._received = 0
        self._is_in_thread = False
        self._broken: BrokenOffError | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = client_context(http2=http2).wrap_bio(
            self._incoming, self._outgoing, server_hostname=_server_name(hostname)
        )

    async def handshake(self) -> None:
        """Agree on TLS with the app.

        Raises:
            BadAnswerError: where it does not want to, or speaks something else.
            PlainHTTPError: where that is HTTP.
        """
        while True:
            try:
                await self._advance()
            except ssl.SSLWantReadError:
                if self._received > MAX_HANDSHAKE_BYTES:
                    reason = f"tls: handshake of more than {MAX_HANDSHAKE_BYTES} bytes"
                    raise BadAnswerError(reason) from None
                try:
                    await self._flush()
                    await self._more()
                except BrokenOffError as error:
                    raise BadAnswerError(str(error)) from None
            except ssl.SSLError as error:
                if self._began == b"HTTP/":
                    raise PlainHTTPError from None
                raise BadAnswerError(self._handshake_reason(error)) from None
            else:
                break
        for number, certificate in enumerate(self._certificates()):
            if number:
                await asyncio.sleep(0)  # hundreds of small ones may have come
            if reason := await refusal(certificate):
                raise BadAnswerError(f"tls: failed to parse certificate from server: {reason}")

    async def _advance(self) -> None:
        """Go on with the handshake, as far as it goes with what has come."""
        if self._received <= HANDSHAKE_TURN_BYTES:
            self._tls.do_handshake()
            return
        # Where this is cancelled the thread goes on, and nobody else may touch what it works on.
        self._is_in_thread = True
        try:
            await asyncio.to_thread(self._tls.do_handshake)
        except ssl.SSLError:
            self._is_in_thread = False
            raise
        self._is_in_thread = False

    def _certificates(self) -> list[bytes]:
        """What the app has shown of itself; before Python 3.13 only the first can be had."""
        if chain := getattr(self._tls, "get_unverified_chain", None):
            return list(chain())
        leaf = self._tls.getpeercert(binary_form=True)
        return [leaf] if leaf else []

    @property
    def protocol(self) -> str:
        """What ALPN settled on; ``http/1.1`` where the app does not know ALPN."""
        return self._tls.selected_alpn_protocol() or "http/1.1"

    async def receive(self) -> bytes:
        """See `ByteStream`.

        An end without ``close_notify`` is an end (Go's ``Conn.readRecordOrCCS``: popular sites do
        that); whether an answer is whole is told by its own framing.
        """
        while True:
            try:
                return self._tls.read(CHUNK_BYTES)
            except ssl.SSLWantReadError:
                if self._broken is not None:  # Go's Conn does not forget it either
                    raise self._broken from None
                try:
                    await self._flush()
                    await self._more()
                except BrokenOffError as error:
                    self._broken = error
                    raise
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            except ssl.SSLError as error:
                raise BrokenOffError(_reason(error)) from None

    async def send(self, data: bytes) -> None:
        """See `ByteStream`."""
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise BrokenOffError(_reason(error)) from None
        await self._flush()

    def close(self) -> None:
        """See `ByteStream`. A TLS peer may always have an alert to send: it gets time to."""
        self.abandon()

    def abandon(self) -> None:
        """See `ByteStream`."""
        if not self._is_in_thread:
            # It waits for the app's farewell; ours is ready.
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            if farewell := self._outgoing.read():
                self._stream.send_now(farewell)
        self._stream.abandon()

    def _handshake_reason(self, error: ssl.SSLError) -> str:
        began = self._began
        if isinstance(error, ssl.SSLZeroReturnError):
            return "EOF"
        if isinstance(error, ssl.SSLEOFError):
            return "unexpected EOF" if began else "EOF"
        if began[:1] == b"\x80":
            return "tls: unsupported SSLv2 handshake received"
        if len(began) == 5 and (began[0] not in (_HANDSHAKE, _ALERT) or began[1] >= 0x10):
            return "tls: first record does not look like a TLS handshake"
        if error.reason == "PACKET_LENGTH_TOO_LONG":
            length = int.from_bytes(began[3:])
            return f"tls: oversized record received with length {length}"
        return _reason(error)

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self._stream.send(data)

    async def _more(self) -> None:
        if data := await self._stream.receive():
            self._received += len(data)
            if len(self._began) < 5:
                self._began = (self._began + data)[:5]
            self._incoming.write(data)
        else:
            self._incoming.write_eof()


def _server_name(hostname: str) -> str | None:
    try:
        ipaddress.ip_address(hostname)
    except ValueError:
        return hostname
    return None


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLEOFError):
        return "unexpected EOF"
    # an alert too new for this Python has no ``reason`` and stands in the text only
    reason = (error.reason or str(error)).replace("_", " ").lower()
    if alert := _ALERT_REASON.search(reason):
        return f"remote error: tls: {_ALERT_TEXTS.get(alert[1], alert[1])}"
    return f"tls: {reason}"
