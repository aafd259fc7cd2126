"""Certificates and servers for apps that speak TLS."""

import contextlib
import functools
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import trustme


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


@contextlib.contextmanager
def certificate_files() -> Iterator[tuple[str, str]]:
    """The certificate and its key as files, for servers that want a path."""
    with tempfile.TemporaryDirectory() as directory:
        chain, key = Path(directory, "chain.pem"), Path(directory, "key.pem")
        chain.write_bytes(b"".join(blob.bytes() for blob in certificate().cert_chain_pems))
        certificate().private_key_pem.write_to_path(str(key))
        yield str(chain), str(key)
