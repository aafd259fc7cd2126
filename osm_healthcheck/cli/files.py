"""Manifests from files and the standard input, and results written all at once or not at all."""

import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from osm_healthcheck.cli.diff_output import Diff
from osm_healthcheck.cli.output import InPlace, Output, ReplaceError
from osm_healthcheck.cli.progress import Progress
from osm_healthcheck.cli.sources import STDIN as STDIN
from osm_healthcheck.cli.sources import opened as opened
from osm_healthcheck.cli.sources import source_name
from osm_healthcheck.errors import FieldError, FieldWarning, InvalidInputError, Validation
from osm_healthcheck.injection.pods import ManifestChange
from osm_healthcheck.manifests.documents import Document, Format, read_documents
from osm_healthcheck.probes.quote import printable


class ManifestReader:
    """Reads the documents of several files, and gathers what is to be said about them."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._progress = Progress()
        self._said = set[FieldWarning]()
        self.validation = Validation()

    def read(self, sources: Iterable[str | FieldError]) -> Iterator[tuple[str, Document]]:
        """The documents of all ``sources`` that are not empty, each with its source."""
        for source in sources:
            if isinstance(source, FieldError):
                self.validation.errors.append(source)
                continue
            for document in self.documents(source):
                if not document.is_empty:
                    yield source, document

    def documents(self, path: str) -> Iterator[Document]:
        """The documents of one file that could be read; what is wrong with others is an error."""
        name = source_name(path)
        try:
            with opened(path) as binary:
                self._progress.begin(binary)
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
        name = source_name(path)
        for one in warnings:
            if one.is_general:
                if one not in self._said:
                    self._said.add(one)
                    self.say(str(one))
                continue
            self.say(f"{name}: {document.where}: {one}")

    def refuse(self, path: str, document: Document, errors: Validation | InvalidInputError) -> None:
        """Keep the errors in a document, for ``finish``."""
        name = source_name(path)
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


def named(paths: Sequence[str]) -> str:
    """The files as messages name them."""
    return ", ".join(map(source_name, paths))


def print_error(line: object) -> None:
    """Print a line about the input on stderr, whatever names of files and resources are in it."""
    print(printable(str(line)), file=sys.stderr)


Sink = Output | InPlace | Diff


class Report(Protocol):
    """What is told of each document, beside its warnings."""

    def __call__(
        self, reader: ManifestReader, path: str, outcome: ManifestChange, has_changed: bool
    ) -> None:
        """What became of a document of the file at ``path``, and whether its text has changed."""

    def finish(self, reader: ManifestReader) -> None:
        """That was all."""


def rewrite(
    command: str,
    sources: Iterable[str | FieldError],
    change: Callable[[object], ManifestChange],
    sink: Sink,
    output: Format | None = None,
    report: Report | None = None,
) -> int:
    """Pass every document through ``change`` into ``sink``; the exit code.

    Nothing is written unless every document is good.
    """
    reader = ManifestReader(command)
    with sink:
        for source in sources:
            if isinstance(source, FieldError):
                reader.validation.errors.append(source)
                continue
            try:
                sink.begin(source)
            except OSError as error:
                reader.validation.error(source, f"cannot be replaced: {error.strerror or error}")
                continue
            for document in reader.documents(source):
                _rewrite_document(reader, sink, source, document, change, output, report)
        if not reader.finish("nothing was written"):
            return 2
        try:
            sink.commit()
        except ReplaceError as error:
            reader.validation.error(error.name, error.problem)
            reader.finish(error.outcome)
            return 2
        if report:
            report.finish(reader)
        return int(isinstance(sink, Diff) and sink.has_differences)


def _rewrite_document(
    reader: ManifestReader,
    sink: Sink,
    path: str,
    document: Document,
    change: Callable[[object], ManifestChange],
    output: Format | None,
    report: Report | None,
) -> None:
    wanted = output or document.format
    before = document.head + document.text
    if document.is_empty:
        if wanted == document.format:
            sink.write(before, before, wanted)
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
    reader.warn(path, document, [one for one in warnings if not (report and one.is_skip)])
    if report:
        report(reader, path, outcome, text != before)
    sink.write(before, text, wanted)
