"""YAML's plain scalars as Kubernetes reads them, and values written so that it reads them back.

``kubectl`` and the API server read YAML by go-yaml v2 (``resolve.go``): ``yes`` is true, ``010``
is 8, a date is a string.
"""

import functools
import math
import re

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEANS = {
    spelling: value
    for value, words in ((True, "y yes true on"), (False, "n no false off"))
    for word in words.split()
    for spelling in (word, word.capitalize(), word.upper())
}
_FLOATS = {
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **{f"{sign}{inf}": math.inf for sign in ("", "+") for inf in (".inf", ".Inf", ".INF")},
    **{f"-{inf}": -math.inf for inf in (".inf", ".Inf", ".INF")},
}
_NUMBER = re.compile(r"[-+.0-9]")
_INTEGER = re.compile(
    r"(?P<sign>[-+]?)(?:0[bB](?P<b>[01]+)|0[oO]?(?P<o>[0-7]+)|0[xX](?P<x>[0-9a-fA-F]+)"
    r"|(?P<d>0|[1-9][0-9]*))"
)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_BASES = {"b": 2, "o": 8, "x": 16, "d": 10}
# A string in every version of YAML, as a key and as a value; the first in flow style too, where
# old versions of libyaml, and so go-yaml, take ":" and "?" for indicators.
_BARE_IN_FLOW = re.compile(r"[A-Za-z/_][-A-Za-z0-9_./=%&+@~]*|[0-9]+[A-Za-z]+")
_BARE = re.compile(r"[A-Za-z/_](?:[-A-Za-z0-9_./=%&+@~?]|:(?=\S))*|[0-9]+[A-Za-z]+")
_LONGEST_NUMBER = 400
_SHORT = 60  # characters

Scalar = str | int | float | bool | None


def resolve(text: str) -> Scalar:
    """What Kubernetes makes of the plain (unquoted) scalar ``text``."""
    # most texts of a stream of manifests stand there again and again
    return _resolve_short(text) if len(text) < _SHORT else _resolve(text)


def _resolve(text: str) -> Scalar:
    if text in _NULL:
        return None
    if (boolean := _BOOLEANS.get(text)) is not None:
        return boolean
    if not _NUMBER.match(text) or len(text) > _LONGEST_NUMBER:
        return text
    if text in _FLOATS:
        return _FLOATS[text]
    digits = text.replace("_", "")
    if match := _INTEGER.fullmatch(digits):
        name = str(match.lastgroup)
        return int(match["sign"] + match[name], _BASES[name])
    if _FLOAT.fullmatch(digits):
        number = float(digits)
        # a number in JSON has no such difference
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    return text


def write(value: Scalar, *, flow: bool = False) -> str:
    """A scalar in YAML: bare where every parser reads it back as the same, else in quotes.

    ``flow`` says that it stands between brackets or braces.
    """
    if isinstance(value, str) and len(value) < _SHORT:
        return _write_short(value, flow)
    return _write(value, flow)


def _write(value: Scalar, flow: bool) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return _write_number(value)
    if (_BARE_IN_FLOW if flow else _BARE).fullmatch(value) and resolve(value) == value:
        return value
    return write_quoted(value, "'")


_resolve_short = functools.lru_cache(maxsize=2048)(_resolve)
_write_short = functools.lru_cache(maxsize=2048)(_write)


def write_quoted(text: str, quote: str) -> str:
    """A string in quotes, single ones where they can hold it and ``quote`` asks for them."""
    if quote == "'" and text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(map(_escaped, text)) + '"'


def _write_number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    return repr(value)


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    if character == "\n":
        return "\\n"
    code = ord(character)
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )
