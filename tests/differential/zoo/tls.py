"""Apps over TLS: certificates, versions, groups, ALPN; and bytes that are no TLS."""

import datetime
import ipaddress
import ssl
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.differential.case import Case, End, Reply, http_get
from tests.differential.zoo.http1 import SHORT

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"
NAME = "wrong.example"
URI = "http://uri.example/a"
EMAIL = "mail@wrong.example"
NOT_BEFORE = "250102030405Z"
# what stands in the certificate, and what stands there instead
PATCHES: dict[str, tuple[bytes, bytes]] = {
    "none": (b"", b""),
    "negative serial": (b"\x02\x04\x11\x22\x33\x44", b"\x02\x04\x91\x22\x33\x44"),
    "dNSName": (b"\x82\x0d" + NAME.encode(), b"\x82\x0dwrong.exampl\xff"),
    "dNSName with NUL": (b"\x82\x0d" + NAME.encode(), b"\x82\x0dwrong.exampl\x00"),
    "rfc822Name": (EMAIL.encode(), EMAIL.encode()[:-1] + b"\xe9"),
    "URI": (URI.encode(), URI.encode()[:-1] + b"\xe9"),
    "IP of another length": (b"\x87\x04\x7f\x00\x00\x01", b"\x82\x04\x61\x62\x63\x64"),
    "IP too short": (b"\x87\x04\x7f\x00\x00\x01", b"\x87\x02\x7f\x00\x82\x00"),
    "UTCTime month": (NOT_BEFORE.encode(), b"251302030405Z"),
    "UTCTime day": (NOT_BEFORE.encode(), b"250230030405Z"),
    "UTCTime leap day": (NOT_BEFORE.encode(), b"240229030405Z"),
    "UTCTime letters": (NOT_BEFORE.encode(), b"2501020304xxZ"),
    "UTCTime no zone": (NOT_BEFORE.encode(), b"2501020304055"),
    "UTCTime 24:00": (NOT_BEFORE.encode(), b"250102240405Z"),
}
RAW = [
    b"",
    b"\x15\x03\x01\x00\x02\x02\x28",
    b"\x15\x03\x03\x00\x02\x02\x46",
    b"\x15\x03\x03\x00\x02\x01\x00",
    b"\x16\x03\x03\x00\x04\x00\x00\x00\x00",
    b"\x16\x03",
    b"\x17\x03\x03\x00\x02hi",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"HTTP/",
    b"HTTX/1.1 400 Bad Request\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"\x00" * 50,
    b"\x16\x03\x03\xff\xff" + b"x" * 100,
    b"\x80\x2e\x01\x03\x01",
]


@cache
def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def _certificate() -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "app")])
    names: list[x509.GeneralName] = [
        x509.DNSName(NAME),
        x509.RFC822Name(EMAIL),
        x509.UniformResourceIdentifier(URI),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(_key().public_key())
        .serial_number(0x11223344)
        .not_valid_before(datetime.datetime(2025, 1, 2, 3, 4, 5))
        .not_valid_after(datetime.datetime(2035, 1, 2, 3, 4, 5))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(_key(), hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.DER)


def context(
    patch: str = "none", change: Callable[[ssl.SSLContext], object] = lambda _context: None
) -> ssl.SSLContext:
    """A server's context, its certificate changed by one of `PATCHES`, itself by ``change``."""
    old, new = PATCHES[patch]
    der = _certificate()
    assert len(old) == len(new)
    assert old in der
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as directory:
        pem = Path(directory, "pem")
        key = _key().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        pem.write_bytes(ssl.DER_cert_to_PEM_cert(der.replace(old, new)).encode() + key)
        made.load_cert_chain(pem)
    change(made)
    return made


def _only(version: ssl.TLSVersion, context: ssl.SSLContext) -> None:
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")


CHANGES: dict[str, Callable[[ssl.SSLContext], object]] = {
    "TLS 1.0": partial(_only, ssl.TLSVersion.TLSv1),
    "TLS 1.1": partial(_only, ssl.TLSVersion.TLSv1_1),
    "TLS 1.2": partial(_only, ssl.TLSVersion.TLSv1_2),
    "TLS 1.3": partial(_only, ssl.TLSVersion.TLSv1_3),
    "P-521": lambda context: context.set_ecdh_curve("secp521r1"),
    "secp256k1": lambda context: context.set_ecdh_curve("secp256k1"),
    "X448": lambda context: context.set_ecdh_curve("X448"),
    "ALPN http/1.1": lambda context: context.set_alpn_protocols(["http/1.1"]),
    "ALPN http/1.0": lambda context: context.set_alpn_protocols(["http/1.0"]),
}


def over_tls(plain: Iterator[Case]) -> Iterator[Case]:
    """The cases of another group over TLS."""
    _certificate()
    made = context()
    for case in plain:
        handler = http_get(**{**case.handler["httpGet"], "scheme": "HTTPS"})
        yield replace(case, group=f"{case.group}-tls", handler=handler, tls=lambda: made)


def cases() -> Iterator[Case]:
    """All of them."""
    handler = http_get(scheme="HTTPS")
    _certificate()  # once, before the workers' threads ask for it
    for patch in PATCHES:
        yield Case(
            "tls", f"certificate: {patch}", (Reply((OK,)),), handler, partial(context, patch)
        )
    for name, change in CHANGES.items():
        changed = partial(context, "none", change)
        yield Case("tls", name, (Reply((OK,)),), handler, changed)
    ends: tuple[End, ...] = ("close", "truncate", "reset", "hang")
    for answer in (OK, OK[:-2], OK[:20], b"", b"HTTP/1.1 200 OK\r\n\r\nbody", b"nonsense"):
        for end in ends:
            pause = (0.05,) if end == "reset" else ()
            limit = SHORT if end == "hang" else 10.0
            replies = (Reply((answer, *pause), end),)
            yield Case("tls", f"{answer!r}, {end}", replies, handler, context, time_limit=limit)
    for raw in RAW:
        for end in (one for one in ends if one != "truncate"):
            pause = (0.05,) if end == "reset" else ()
            limit = SHORT if end == "hang" else 10.0
            replies = (Reply((raw, *pause), end),)
            yield Case(
                "tls",
                f"raw {raw[:20]!r}, {end}",
                replies,
                handler,
                read=lambda sock: sock.recv(65536) and b"",
                time_limit=limit,
            )
