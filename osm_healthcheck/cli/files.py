"""Manifests from files and the standard input, and results written all at once or not at all."""

import contextlib
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from osm_healthcheck.cli.output import InPlace, Output, ReplaceError
from osm_healthcheck.errors import FieldError, FieldWarning, InvalidInputError, Validation
from osm_healthcheck.injection.pods import ManifestChange
from osm_healthcheck.manifests.documents import Document, Format, read_documents
from osm_healthcheck.probes.quote import printable

STDIN = "-"
_PROGRESS_EVERY = 0.2  # seconds


class ManifestReader:
    """Reads the documents of several files, and gathers what is to be said about them."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._progress = _Progress()
        self._said = set[FieldWarning]()
        self.validation = Validation()

    def documents(self, path: str) -> Iterator[Document]:
        """The documents of one file that could be read; what is wrong with others is an error."""
        name = "stdin" if path == STDIN else path
        try:
            with opened(path) as binary:
                text = io.TextIOWrapper(binary, encoding="utf-8", newline="")
                for found in read_documents(text):
                    if isinstance(found, FieldError):
                        self.validation.error(f"{name}: {found.where}", found.problem)
                        continue
                    yield found
                    if not found.is_empty:
                        self._progress.step()
                text.detach()
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            self.validation.error(
                name, f"is not UTF-8: byte 0x{byte:02x}: {error.reason}; convert it first"
            )
        except OSError as error:
            self.validation.error(name, f"cannot be read: {error.strerror or error}")

    def warn(self, path: str, document: Document, warnings: Sequence[FieldWarning]) -> None:
        """Print the warnings about a document; a general one only the first time."""
        name = "stdin" if path == STDIN else path
        for one in warnings:
            if one.is_general:
                if one not in self._said:
                    self._said.add(one)
                    self.say(str(one))
                continue
            self.say(f"{name}: {document.where}: {one}")

    def refuse(self, path: str, document: Document, errors: Validation | InvalidInputError) -> None:
        """Keep the errors in a document, for ``finish``."""
        name = "stdin" if path == STDIN else path
        self.validation.include(errors, f"{name}: {document.where}: ")

    def say(self, line: str) -> None:
        """A line on stderr, clear of the progress line."""
        self._progress.clear()
        print_error(line)

    def finish(self, outcome: str) -> bool:
        """Print the errors, if any, and ``outcome``; whether there were none."""
        self._progress.clear()
        errors = self.validation.errors
        for error in errors:
            print_error(error)
        if errors:
            count = f"{len(errors)} mistake{'s' * (len(errors) != 1)}"
            print(f"osm-healthcheck {self._command}: {count}; {outcome}", file=sys.stderr)
        return not errors


def print_error(line: object) -> None:
    """Print a line about the input on stderr, whatever names of files and resources are in it."""
    print(printable(str(line)), file=sys.stderr)


def rewrite(
    command: str,
    paths: Sequence[str],
    change: Callable[[object], ManifestChange],
    output: Format | None,
    *,
    in_place: bool,
) -> int:
    """Pass every document through ``change``; the exit code.

    Nothing is written unless every document is good.
    """
    reader = ManifestReader(command)
    sink = InPlace() if in_place else Output()
    with sink:
        for path in paths:
            try:
                sink.begin(path)
            except OSError as error:
                reader.validation.error(path, f"cannot be replaced: {error.strerror or error}")
                continue
            for document in reader.documents(path):
                _rewrite_document(reader, sink, path, document, change, output)
        if not reader.finish("nothing was written"):
            return 2
        try:
            sink.commit()
        except ReplaceError as error:
            reader.validation.error(error.name, error.problem)
            reader.finish(error.outcome)
            return 2
        return 0


def _rewrite_document(
    reader: ManifestReader,
    sink: Output | InPlace,
    path: str,
    document: Document,
    change: Callable[[object], ManifestChange],
    output: Format | None,
) -> None:
    wanted = output or document.format
    if document.is_empty:
        if wanted == document.format:
            sink.write(document.head + document.text, wanted, changed=False)
        return
    try:
        outcome = change(document.value)
        text, kept = document.written(outcome.manifest, wanted)
    except InvalidInputError as error:
        reader.refuse(path, document, error)
        return
    warnings = list(outcome.warnings)
    if not kept:
        warnings.append(FieldWarning("warning", "written anew: its comments could not be kept"))
    reader.warn(path, document, warnings)
    sink.write(text, wanted, changed=text != document.head + document.text)


class _Progress:
    """One line that counts documents, where stderr is a terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._count = 0
        self._next = time.monotonic() + _PROGRESS_EVERY
        self._dirty = False

    def step(self) -> None:
        """One more document."""
        self._count += 1
        if self._shown and time.monotonic() >= self._next:
            print(f"\r{self._count} documents", end="", file=sys.stderr, flush=True)
            self._next = time.monotonic() + _PROGRESS_EVERY
            self._dirty = True

    def clear(self) -> None:
        """Make room for another line."""
        if self._dirty:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._dirty = False


@contextlib.contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """The file at ``path``, or the standard input, which is left open."""
    if path == STDIN:
        if sys.stdin.isatty():
            print("reading from the terminal; Ctrl-D ends it", file=sys.stderr)
        yield sys.stdin.buffer
    else:
        with Path(path).open("rb") as binary:
            yield binary
