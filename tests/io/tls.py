"""Certificates and servers for apps that speak TLS."""

import contextlib
import functools
import ssl
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


@functools.cache
def authority() -> trustme.CA:
    """One CA for the whole run: making keys takes time."""
    return trustme.CA()


@functools.cache
def certificate() -> trustme.LeafCert:
    """A certificate that nobody trusts, for a name that nobody asks for."""
    return authority().issue_cert("wrong.example")


def server_context(*alpn: str, client_certificate: bool = False) -> ssl.SSLContext:
    """The server's side of TLS; no ALPN unless it is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate().configure_cert(context)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if client_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
        authority().configure_trust(context)
    return context


def crowded_context(names: int) -> ssl.SSLContext:
    """A server whose certificate is for a subject of so many names, each of 12 bytes."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.NameAttribute(x509.NameOID.COMMON_NAME, "a")
    builder = x509.CertificateBuilder(
        issuer_name=x509.Name([name]),
        subject_name=x509.Name([name] * names),
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=datetime(2025, 1, 1),
        not_valid_after=datetime(2035, 1, 1),
    )
    pem = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file.flush()
        context.load_cert_chain(file.name)
    return context


@contextlib.contextmanager
def certificate_files() -> Iterator[tuple[str, str]]:
    """The certificate and its key as files, for servers that want a path."""
    with tempfile.TemporaryDirectory() as directory:
        chain, key = Path(directory, "chain.pem"), Path(directory, "key.pem")
        chain.write_bytes(b"".join(blob.bytes() for blob in certificate().cert_chain_pems))
        certificate().private_key_pem.write_to_path(str(key))
        yield str(chain), str(key)
