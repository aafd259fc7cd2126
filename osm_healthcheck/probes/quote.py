"""Values in quotes for messages: as Go's ``%q`` prints text, and as the API server shows values."""

import json
import re

_LONGEST = 200  # characters of a value in a message
# of a URL's user; what could be the port is no password
_PASSWORD = re.compile(r"(://[^/?#@:]*):(?![0-9]*(?:[/?#]|$))\S*@")
_NAMED = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}


def quote(text: bytes) -> str:
    """``text`` in double quotes; what is not printable, or no UTF-8, is escaped."""
    return '"' + "".join(map(_escaped, text.decode("utf-8", "surrogateescape"))) + '"'


def _escaped(character: str) -> str:
    if named := _NAMED.get(character):
        return named
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def printable(text: str) -> str:
    """``text`` on one line, with escapes for whatever a terminal would obey."""
    return text if text.isprintable() else "".join(map(_escaped_outside_quotes, text))


def without_password(url: str) -> str:
    """``url`` as Go's ``url.Redacted`` shows it, whether it can be parsed or not."""
    return _PASSWORD.sub(r"\1:xxxxx@", url)


def _escaped_outside_quotes(character: str) -> str:
    return character if character in '"\\' else _escaped(character)


def quoted(value: object) -> str:
    """``value`` as the API server shows it in a message: strings in double quotes, else JSON.

    What is long is cut: a message is for reading.
    """
    if isinstance(value, str):
        cut = value if len(value) <= _LONGEST else value[:_LONGEST] + "…"
        return '"' + "".join(map(_escaped, cut)) + '"'
    text = json.dumps(value, ensure_ascii=False, default=str)
    return printable(text if len(text) <= _LONGEST else text[:_LONGEST] + "…")
