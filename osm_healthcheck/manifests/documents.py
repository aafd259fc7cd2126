"""The documents of a file or stream, one after another: YAML between ``---`` lines, or JSON.

The text of a document is kept. One that is not changed comes out as it went in, to the character.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from osm_healthcheck.errors import FieldError, InvalidInputError
from osm_healthcheck.manifests.block import Style, inline, is_nested
from osm_healthcheck.manifests.compare import same
from osm_healthcheck.manifests.nodes import Node, YAMLTextError, compose, value_of
from osm_healthcheck.manifests.patch import patch
from osm_healthcheck.probes.quote import quoted

Format = Literal["yaml", "json"]
_BLOCK = 1 << 16
BYTE_ORDER_MARK = "\ufeff"
_SPACE = " \t\r\n"


class TextStream(Protocol):
    """What documents are read from: text with its line ends as they are."""

    def read(self, size: int, /) -> str:
        """Up to ``size`` characters; empty at the end."""

    def __iter__(self) -> Iterator[str]:
        """The lines."""


@dataclass(slots=True)
class Document:
    """One document: ``head`` is its ``---`` line (or what is between JSON values), ``text`` it.

    ``number`` and ``line`` count from 1. ``value`` is ``None`` where there is nothing in it;
    then it comes out as it is.
    """

    format: Format
    number: int
    line: int
    head: str
    text: str
    value: object = None
    root: Node | None = None

    @property
    def where(self) -> str:
        """Which document it is, for a reader."""
        return f"document {self.number} (line {self.line})"

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it but comments."""
        return self.root is None and self.value is None

    def written(self, value: object, output: Format) -> tuple[str, bool]:
        """The document with ``value``, in the format ``output``.

        The second result is false where its comments could not be kept.

        Raises:
            InvalidInputError: where JSON has no way to say it (``.inf``).
        """
        if output == self.format and same(self.value, value):
            return self.head + self.text, True
        if output == "json":
            glue = self.head if self.format == "json" else ""
            return glue + _json(value) + ("\n" if self.format == "yaml" else ""), True
        if self.format == "yaml" and self.root is not None:
            text, kept = patch(self.text, self.root, self.value, value)
            return self.head + text, kept
        block = isinstance(value, dict) and is_nested(value)
        text = Style().mapping(value, 0) if block and isinstance(value, dict) else inline(value)
        return f"---\n{text}\n", True


def read_documents(stream: TextStream) -> Iterator[Document | FieldError]:
    """Read the documents of ``stream``; in the place of a broken one comes what is wrong with it.

    It is JSON where it begins with ``{``, as ``kubectl`` decides; else YAML. A byte order mark is
    part of the first one's ``head``.
    """
    start = ""
    while not start.strip(_SPACE + BYTE_ORDER_MARK) and (more := stream.read(_BLOCK)):
        start += more
    mark = BYTE_ORDER_MARK if start.startswith(BYTE_ORDER_MARK) else ""
    start = start.removeprefix(mark)
    if start.lstrip(_SPACE).startswith("{"):
        documents = _JSONReader(stream, start).documents()
    else:
        documents = _yaml_documents(_lines(start, stream))
    for document in documents:
        if mark and isinstance(document, Document):
            document.head = mark + document.head
            mark = ""
        yield document
    if mark:
        yield Document("yaml", 1, 1, mark, "")


def _lines(start: str, stream: TextStream) -> Iterator[str]:
    """The lines of ``start`` and the rest of ``stream``."""
    lines = start.split("\n")
    for line in lines[:-1]:
        yield line + "\n"
    rest = iter(stream)
    last = lines[-1] + next(rest, "")
    if last:
        yield last
    yield from rest


def _yaml_documents(lines: Iterable[str]) -> Iterator[Document | FieldError]:
    number = 0
    for line, head, text in _yaml_chunks(lines):
        document = Document("yaml", number + 1, line, head, text)
        if _is_blank(text):
            yield document
            continue
        number += 1
        try:
            document.root = compose(text)
            document.value = value_of(document.root) if document.root else None
        except YAMLTextError as error:
            place = text[: error.index]
            at = line + head.count("\n") + place.count("\n")
            column = error.index - place.rfind("\n")
            yield FieldError(document.where, f"line {at}, column {column}: {error.problem}")
        else:
            yield document


def _yaml_chunks(lines: Iterable[str]) -> Iterator[tuple[int, str, str]]:
    """First line, ``---`` line and text of each document.

    A line that begins with ``---`` and a space is never anything else in YAML: not in a quoted
    scalar, and in a block scalar it would have to be indented.
    """
    first, head = 1, ""
    body: list[str] = []
    for number, line in enumerate(lines, 1):
        if line.startswith("---") and line[3:4] in ("", " ", "\t", "\r", "\n"):
            if head or body:
                yield first, head, "".join(body)
            bare = not line[3:].strip() or line[3:].lstrip().startswith("#")
            first, head = number, line if bare else "---"
            body = [] if bare else [line[3:]]
        else:
            body.append(line)
    if head or body:
        yield first, head, "".join(body)


def _is_blank(text: str) -> bool:
    """Whether there are only comments and directives (``%YAML 1.1``, before a ``---``)."""
    return all(
        not line.strip() or line.lstrip().startswith("#") or line.startswith(("%", "..."))
        for line in text.split("\n")
    )


# JSON may escape half of a surrogate pair; nothing can be written or sent with it.
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def _is_text(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


class _JSONReader:
    """JSON values one after another, read no further ahead than the one in hand."""

    def __init__(self, stream: TextStream, start: str) -> None:
        self._stream = stream
        self._buffer = start
        self._line = 1
        self._number = 0
        self._decoder = json.JSONDecoder(
            object_pairs_hook=_no_repeats, parse_constant=_refuse_constant
        )

    def documents(self) -> Iterator[Document | FieldError]:
        while True:
            start = self._skip()
            if start == len(self._buffer):
                if self._buffer:
                    yield Document("json", self._number + 1, self._line, self._buffer, "")
                return
            head = self._buffer[:start]
            self._line += head.count("\n")
            self._number += 1
            where = f"document {self._number} (line {self._line})"
            try:
                value, end = self._decode(start)
            except json.JSONDecodeError as error:
                if self._number == 1 and _says_yaml(self._buffer):
                    yield from _yaml_documents(self._buffer.splitlines(keepends=True))
                    return
                line = self._line + self._buffer[start : error.pos].count("\n")
                # what came before on its line is gone, unless it is the first
                column = f", column {error.colno}" if self._number == 1 else ""
                yield FieldError(where, f"line {line}{column}: is not JSON: {error.msg}")
                return
            except RecursionError:
                yield FieldError(where, "is nested too deeply")
                return
            except ValueError as error:
                yield FieldError(where, f"is not JSON: {error}")
                return
            text = self._buffer[start:end]
            if _HALF.search(text) and not _is_text(value):
                yield FieldError(where, "a text in it holds half a character (\\ud800 to \\udfff)")
            else:
                yield Document("json", self._number, self._line, head, text, value)
            self._line += text.count("\n")
            self._buffer = self._buffer[end:]

    def _skip(self) -> int:
        """Where the next value begins: behind white space and ``---`` lines."""
        position = 0
        while True:
            while position < len(self._buffer) and self._buffer[position] in " \t\r\n":
                position += 1
            if len(self._buffer) - position < 3 and self._more():
                continue
            if self._buffer.startswith("---", position):
                position += 3
                continue
            return position

    def _decode(self, start: int) -> tuple[object, int]:
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, start)
            except json.JSONDecodeError:
                if not self._more():
                    raise
            else:
                return value, end

    def _more(self) -> bool:
        more = self._stream.read(max(_BLOCK, len(self._buffer)))
        self._buffer += more
        return bool(more)


def _says_yaml(text: str) -> bool:
    """Whether something that begins with ``{`` is a mapping in YAML's flow style."""
    try:
        return compose(text.partition("\n---")[0]) is not None
    except YAMLTextError:
        return False


def _json(value: object) -> str:
    try:
        text = json.dumps(value, indent=4, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=4)  # half of a surrogate pair, which JSON can escape
    except ValueError:
        raise InvalidInputError(
            [FieldError("document", "has a number that JSON cannot write (.inf or .nan)")]
        ) from None
    return text


def _no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {quoted(repeated)} stands twice in a mapping")
    return found


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no number")
