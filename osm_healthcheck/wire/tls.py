"""TLS towards an app, as the kubelet speaks it (``pkg/probe/http/http.go``).

No verification, TLS 1.2 or newer, ALPN ``h2, http/1.1``, no SNI for an IP address. OpenSSL is
made as lenient as Go is: key sizes and missing secure renegotiation do not make an app sick.
"""

import contextlib
import functools
import ipaddress
import ssl

from osm_healthcheck.wire.errors import BadAnswerError, BrokenOffError
from osm_healthcheck.wire.stream import CHUNK_BYTES, Stream

_OP_LEGACY_SERVER_CONNECT = 0x4  # ssl.OP_LEGACY_SERVER_CONNECT from Python 3.12


@functools.cache
def client_context() -> ssl.SSLContext:
    """The one context of all probes; it holds no CA certificates, since none is asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= _OP_LEGACY_SERVER_CONNECT
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


class TLSStream:
    """TLS over a `Stream`; see `ByteStream`."""

    def __init__(self, stream: Stream, hostname: str) -> None:
        self._stream = stream
        self._began = b""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = client_context().wrap_bio(
            self._incoming, self._outgoing, server_hostname=_server_name(hostname)
        )

    async def handshake(self) -> None:
        """Agree on TLS with the app.

        Raises:
            BadAnswerError: where it does not want to, or speaks something else.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                try:
                    await self._flush()
                    await self._more()
                except BrokenOffError as error:
                    raise BadAnswerError(str(error)) from None
            except ssl.SSLError as error:
                if self._began.startswith(b"HTTP/"):
                    reason = "http: server gave HTTP response to HTTPS client"
                else:
                    reason = _reason(error)
                raise BadAnswerError(reason) from None
            else:
                return

    @property
    def protocol(self) -> str:
        """What ALPN settled on; ``http/1.1`` where the app does not know ALPN."""
        return self._tls.selected_alpn_protocol() or "http/1.1"

    async def receive(self) -> bytes:
        """See `ByteStream`."""
        while True:
            try:
                return self._tls.read(CHUNK_BYTES)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._more()
            except ssl.SSLZeroReturnError:
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
        with contextlib.suppress(ssl.SSLError):  # it waits for the app's farewell; ours is ready
            self._tls.unwrap()
        if farewell := self._outgoing.read():
            self._stream.send_now(farewell)
        self._stream.abandon()

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self._stream.send(data)

    async def _more(self) -> None:
        if data := await self._stream.receive():
            self._began = self._began or data[:5]
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
    return f"tls: {(error.reason or str(error)).replace('_', ' ').lower()}"
