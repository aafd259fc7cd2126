"""Manifests from files and the standard input, and results written all at once or not at all."""

import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

from osm_healthcheck.errors import FieldError, FieldWarning, InvalidInputError, Validation
from osm_healthcheck.injection.pods import ManifestChange
from osm_healthcheck.manifests.documents import Document, Format, read_documents

STDIN = "-"
_SPOOLED = 1 << 23  # bytes of output that stay in memory until the last document is good
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
            with _opened(path) as binary:
                text = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
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
        print(line, file=sys.stderr)

    def finish(self, outcome: str) -> bool:
        """Print the errors, if any, and ``outcome``; whether there were none."""
        self._progress.clear()
        errors = self.validation.errors
        for error in errors:
            print(error, file=sys.stderr)
        if errors:
            count = f"{len(errors)} mistake{'s' * (len(errors) != 1)}"
            print(f"osm-healthcheck {self._command}: {count}; {outcome}", file=sys.stderr)
        return not errors


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
    sink = _InPlace() if in_place else _Output()
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
        return sink.commit(reader)


def _rewrite_document(
    reader: ManifestReader,
    sink: "_Output | _InPlace",
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


class _Output:
    """Standard output: a temporary file until everything is known to be good."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_SPOOLED)  # noqa: SIM115
        self._last: tuple[Format, str] | None = None
        self._is_first_of_file = True

    def __enter__(self) -> "_Output":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def begin(self, path: str) -> None:
        """What follows comes from ``path``."""
        self._is_first_of_file = True

    def write(self, text: str, form: Format, *, changed: bool) -> None:
        """Add one document, with what has to stand between it and the one before."""
        if self._last and text:
            last_form, last_character = self._last
            if last_character != "\n" and text[0] not in "\r\n":
                self._file.write(b"\n")
            if self._is_first_of_file and "yaml" in (form, last_form) and text[:3] != "---":
                self._file.write(b"---\n")
        if text:
            self._file.write(text.encode("utf-8"))
            self._last = form, text[-1]
            self._is_first_of_file = False

    def commit(self, reader: ManifestReader) -> int:
        """Copy it to standard output."""
        if self._last and self._last[1] != "\n":
            self._file.write(b"\n")
        self._file.seek(0)
        shutil.copyfileobj(cast("IO[bytes]", self._file), sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return 0


@dataclass(slots=True)
class _Replacement:
    """A file and what is to take its place."""

    target: Path
    file: IO[bytes]
    changed: bool = False


class _InPlace:
    """Files that are replaced by rename, when all of them are ready."""

    def __init__(self) -> None:
        self._replacements: list[_Replacement] = []

    def __enter__(self) -> "_InPlace":
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._replacements:
            one.file.close()
            Path(one.file.name).unlink(missing_ok=True)

    def begin(self, path: str) -> None:
        """What follows comes from ``path`` and is to replace it.

        Raises:
            OSError: where it is not there, or nothing can be put beside it.
        """
        target = Path(path).resolve(strict=True)  # a link stays one
        state = target.stat()
        file = tempfile.NamedTemporaryFile(  # noqa: SIM115
            dir=target.parent, prefix=f".{target.name}.", delete=False
        )
        self._replacements.append(_Replacement(target, cast("IO[bytes]", file)))
        os.fchmod(file.fileno(), state.st_mode & 0o7777)
        with contextlib.suppress(PermissionError):
            os.fchown(file.fileno(), state.st_uid, state.st_gid)

    def write(self, text: str, form: Format, *, changed: bool) -> None:
        """Add one document to the file at hand."""
        one = self._replacements[-1]
        one.file.write(text.encode("utf-8"))
        one.changed |= changed

    def commit(self, reader: ManifestReader) -> int:
        """Put the changed ones in their place."""
        changed = [one for one in self._replacements if one.changed]
        try:
            for one in changed:
                one.file.flush()
                os.fsync(one.file.fileno())
        except OSError as error:
            reader.validation.error(one.file.name, f"cannot be written: {error.strerror}")
            reader.finish("nothing was written")
            return 2
        for number, one in enumerate(changed):
            try:
                Path(one.file.name).replace(one.target)
            except OSError as error:
                reader.validation.error(str(one.target), f"cannot be replaced: {error.strerror}")
                reader.finish(f"{number} of {len(changed)} files were replaced before that")
                return 2
        return 0


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
def _opened(path: str) -> Iterator[BinaryIO]:
    if path == STDIN:
        if sys.stdin.isatty():
            print("reading from the terminal; Ctrl-D ends it", file=sys.stderr)
        yield sys.stdin.buffer
    else:
        with Path(path).open("rb") as binary:
            yield binary
