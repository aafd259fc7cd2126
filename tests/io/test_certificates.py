"""Certificates that Go cannot parse: the app is out of the kubelet's reach, and of ours."""

import asyncio
import ssl
from datetime import datetime

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from osm_healthcheck.wire.certificate import NAMES_A_TURN, refusal
from tests.differential.case import Case, http_get, reply
from tests.differential.compare import ask_ours
from tests.differential.zoo.tls import OK, PATCHES, context
from tests.io.turns import Turns

# measured: python -m tests.differential tls
REFUSED = {
    "negative serial": "x509: negative serial number",
    "dNSName": "x509: SAN dNSName is malformed",
    "rfc822Name": "x509: SAN rfc822Name is malformed",
    "URI": "x509: SAN uniformResourceIdentifier is malformed",
    "IP too short": "x509: cannot parse IP address of length 2",
    "UTCTime month": "x509: malformed UTCTime",
    "UTCTime day": "x509: malformed UTCTime",
    "UTCTime letters": "x509: malformed UTCTime",
    "UTCTime no zone": "x509: malformed UTCTime",
    "UTCTime 24:00": "x509: malformed UTCTime",
}


@pytest.mark.parametrize("patch", PATCHES)
def test_what_go_cannot_parse_is_a_failure(patch: str) -> None:
    handler = http_get(scheme="HTTPS")
    case = Case("tls", patch, reply(OK), handler, lambda: context(patch))
    with asyncio.Runner() as runner:
        seen = ask_ours(case, runner)
    if patch in REFUSED:
        assert seen.verdict == "failure"
        reason = f"tls: failed to parse certificate from server: {REFUSED[patch]}"
        assert seen.text == f'Get "https://127.0.0.1:<port>/": {reason}'
    else:
        assert (seen.verdict, seen.text) == ("success", "body")


def test_names_and_addresses_of_both_families_are_read() -> None:
    leaf = trustme.CA().issue_cert("app.example", "*.example", "10.0.0.1", "::1", "a@b.example")
    [pem] = leaf.cert_chain_pems
    certificate = ssl.PEM_cert_to_DER_cert(pem.bytes().decode())
    assert asyncio.run(refusal(certificate)) == ""


@pytest.mark.parametrize("nonsense", [b"", b"\x30", b"\x30\x02\x30\x00", b"\x30\x84\xff"])
def test_what_is_no_certificate_is_refused(nonsense: bytes) -> None:
    assert asyncio.run(refusal(nonsense)) == "x509: malformed certificate"


MANY = 3_000
NAMES = x509.SubjectAlternativeName([x509.DNSName("a")] * MANY)
UNKNOWN = [
    x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.2.3.{number}"), b"")
    for number in range(MANY)
]


def extended(extensions: list[x509.Extension[x509.ExtensionType]]) -> bytes:
    """A certificate with these."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder(
        issuer_name=x509.Name([]),
        subject_name=x509.Name([]),
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=datetime(2025, 1, 1),
        not_valid_after=datetime(2035, 1, 1),
        extensions=extensions,
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize("extensions", [[NAMES], UNKNOWN], ids=["names", "extensions"])
def test_thousands_of_names_give_others_their_turn(
    extensions: list[x509.ExtensionType],
) -> None:
    certificate = extended([x509.Extension(one.oid, False, one) for one in extensions])

    async def read() -> int:
        turns = Turns()
        assert await refusal(certificate) == ""
        return turns.end()

    assert asyncio.run(read()) >= MANY // NAMES_A_TURN
