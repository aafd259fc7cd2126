"""Certificates that Go cannot parse: the app is out of the kubelet's reach, and of ours."""

import asyncio

import pytest

from osm_healthcheck.wire.certificate import refusal
from tests.differential.case import Case, http_get, reply
from tests.differential.compare import ask_ours
from tests.differential.zoo.tls import OK, PATCHES, context

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


@pytest.mark.parametrize("nonsense", [b"", b"\x30", b"\x30\x02\x30\x00", b"\x30\x84\xff"])
def test_what_is_no_certificate_is_refused(nonsense: bytes) -> None:
    assert refusal(nonsense) == "x509: malformed certificate"
