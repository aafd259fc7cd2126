"""Certificates that OpenSSL takes and Go does not: ``crypto/x509`` ``parser.go``.

Nothing is verified, but Go has to parse what it is shown, and an app with such a certificate is out
of the kubelet's reach. Looked at are the serial number, the times and the alternative names; what
else Go is stricter about (key usage, constraints, policies) is left to it.
"""

import asyncio
import re
from collections.abc import Iterator
from datetime import datetime

_UTC_TIME = re.compile(rb"(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?(?:Z|[+-](?!0000)\d{4})")
_GENERALIZED_TIME = re.compile(rb"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:Z|[+-](?!0000)\d{4})")
# X.690: tags, those of a name in context
_VERSION, _EXTENSIONS = 0xA0, 0xA3
_UTC_TIME_TAG, _GENERALIZED_TIME_TAG = 0x17, 0x18
_EMAIL, _DNS, _URI, _IP = 0x81, 0x82, 0x86, 0x87
_NAMES = {
    _EMAIL: "rfc822Name",
    _DNS: "dNSName",
    _URI: "uniformResourceIdentifier",
}
_SUBJECT_ALTERNATIVE_NAME = b"\x55\x1d\x11"
# Of the 100 kB that OpenSSL takes, names of a byte are 30,000. After so many others get their turn.
NAMES_A_TURN = 256


async def refusal(certificate: bytes) -> str:
    """Why Go does not take the DER ``certificate``, in its words; ``""`` where it does."""
    try:
        (_, whole), *_ = _elements(certificate)
        (_, signed), *_ = _elements(whole)
        fields = list(_elements(signed))
        if fields[0][0] == _VERSION:
            del fields[0]
        serial, _, _, validity, *_ = (content for _, content in fields)
        if serial[0] & 0x80:
            return "x509: negative serial number"
        for tag, text in _elements(validity):
            if problem := _time_refusal(tag, text):
                return problem
        for tag, content in fields:
            if tag == _EXTENSIONS and (problem := await _extensions_refusal(content)):
                return problem
    except (IndexError, ValueError):
        return "x509: malformed certificate"
    return ""


def _time_refusal(tag: int, text: bytes) -> str:
    name, pattern = {
        _UTC_TIME_TAG: ("UTCTime", _UTC_TIME),
        _GENERALIZED_TIME_TAG: ("GeneralizedTime", _GENERALIZED_TIME),
    }.get(tag, ("", _UTC_TIME))
    if not name:
        return "x509: unsupported time format"
    if match := pattern.fullmatch(text):
        year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
        try:
            # of two digits: the century makes no difference to what days there are
            datetime(year + 2000 if year < 100 else year, month, day, hour, minute, second)
        except ValueError:
            pass
        else:
            return ""
    return f"x509: malformed {name}"


async def _extensions_refusal(content: bytes) -> str:
    for number, (tag, name) in enumerate(_alternative_names(content), 1):
        if tag in _NAMES and not name.isascii():
            return f"x509: SAN {_NAMES[tag]} is malformed"
        if tag == _IP and len(name) not in (4, 16):
            return f"x509: cannot parse IP address of length {len(name)}"
        if not number % NAMES_A_TURN:
            await asyncio.sleep(0)
    return ""


def _alternative_names(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each, and of each extension, of which there may be as many."""
    (_, extensions), *_ = _elements(content)
    for tag, extension in _elements(extensions):
        yield tag, extension
        (_, oid), *_, (_, value) = _elements(extension)
        if oid == _SUBJECT_ALTERNATIVE_NAME:
            (_, names), *_ = _elements(value)
            yield from _elements(names)


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each DER element in ``data``."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(data[at : at + count], "big")
            at += count
        yield tag, data[at : at + length]
        at += length
