"""What an app shows of itself in a TLS handshake: how much, and who waits while it is read."""

import asyncio
import contextlib
import functools
import ssl
import tempfile
import threading
from datetime import datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from osm_healthcheck.wire.errors import BadAnswerError
from osm_healthcheck.wire.tls import HANDSHAKE_TURN_BYTES, MAX_HANDSHAKE_BYTES, TLSStream
from tests.io.wire import TIMEOUT


@functools.cache
def server_context(size: int) -> ssl.SSLContext:
    """A server that shows small certificates of so many bytes in all, or a few more."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=datetime(2025, 1, 1),
        not_valid_after=datetime(2035, 1, 1),
    )
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    count = size // len(ssl.PEM_cert_to_DER_cert(certificate.decode())) + 1
    own = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(certificate * count + own)
        file.flush()
        context.load_cert_chain(file.name)
    return context


class MemoryApp:
    """A server's side of TLS in memory, in place of a `Stream`. ``given`` counts its bytes."""

    def __init__(self, size: int) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = server_context(size)
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.given = 0
        self.is_abandoned = False

    async def send(self, data: bytes) -> None:
        self._incoming.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()

    async def receive(self) -> bytes:
        piece = self._outgoing.read(2048)
        self.given += len(piece)
        return piece

    def send_now(self, data: bytes) -> None:
        self._incoming.write(data)

    def abandon(self) -> None:
        self.is_abandoned = True


def stream(app: Any) -> TLSStream:
    return TLSStream(app, "127.0.0.1")


def test_much_is_read_beside_the_loop_and_little_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, bool]] = []
    do_handshake = ssl.SSLObject.do_handshake

    def noted(tls: ssl.SSLObject) -> None:
        if not tls.server_side:
            calls.append((app.given, threading.current_thread() is threading.main_thread()))
        do_handshake(tls)

    monkeypatch.setattr(ssl.SSLObject, "do_handshake", noted)
    for size in (0, 16 * 1024):
        app = MemoryApp(size)
        asyncio.run(stream(app).handshake())
    assert {is_on_loop for given, is_on_loop in calls if given <= HANDSHAKE_TURN_BYTES} == {True}
    assert {is_on_loop for given, is_on_loop in calls if given > HANDSHAKE_TURN_BYTES} == {False}


@pytest.mark.parametrize("more", [-2048, 2 * 2048])
def test_an_app_may_show_so_much(more: int) -> None:
    app = MemoryApp(MAX_HANDSHAKE_BYTES + more)
    if more < 0:
        asyncio.run(stream(app).handshake())
        return
    with pytest.raises(BadAnswerError) as caught:
        asyncio.run(stream(app).handshake())
    assert str(caught.value) == "tls: handshake of more than 32768 bytes"


def test_what_a_thread_works_on_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, over = threading.Event(), threading.Event()
    unwrapped: list[ssl.SSLObject] = []
    do_handshake = ssl.SSLObject.do_handshake

    def slow(tls: ssl.SSLObject) -> None:
        if not tls.server_side and app.given > HANDSHAKE_TURN_BYTES:
            begun.set()
            over.wait(TIMEOUT)
        do_handshake(tls)

    async def run() -> None:
        secure = stream(app)
        work = asyncio.create_task(secure.handshake())
        assert await asyncio.to_thread(begun.wait, TIMEOUT)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        secure.abandon()
        over.set()

    app = MemoryApp(16 * 1024)
    monkeypatch.setattr(ssl.SSLObject, "do_handshake", slow)
    monkeypatch.setattr(ssl.SSLObject, "unwrap", unwrapped.append)
    asyncio.run(run())
    assert app.is_abandoned
    assert unwrapped == []
