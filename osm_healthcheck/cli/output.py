"""Where changed manifests go: standard output, or the files themselves; all of them or none."""

import contextlib
import errno
import os
import shutil
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from osm_healthcheck.errors import OSMHealthcheckError
from osm_healthcheck.manifests.documents import BYTE_ORDER_MARK, Format

_SPOOLED = 1 << 23  # bytes of output that stay in memory until the last document is good


class ReplaceError(OSMHealthcheckError):
    """The file ``name`` could not be replaced; ``outcome`` says what has been done before."""

    def __init__(self, name: str, problem: str, outcome: str) -> None:
        self.name = name
        self.problem = problem
        self.outcome = outcome
        super().__init__(f"{name}: {problem}")


class Output:
    """Standard output: a temporary file until everything is known to be good."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_SPOOLED)  # noqa: SIM115
        self._last: tuple[Format, str] | None = None
        self._is_first_of_file = True

    def __enter__(self) -> "Output":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def begin(self, path: str) -> None:
        """What follows comes from ``path``."""
        self._is_first_of_file = True

    def write(self, before: str, text: str, form: Format) -> None:
        """Add one document, with what has to stand between it and the one in front of it."""
        if self._last:
            text = text.removeprefix(BYTE_ORDER_MARK)  # of a file that is not the first
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

    def commit(self) -> None:
        """Copy it to standard output."""
        self._file.seek(0)
        shutil.copyfileobj(cast("IO[bytes]", self._file), sys.stdout.buffer)
        sys.stdout.buffer.flush()


@dataclass(slots=True)
class _Replacement:
    """A file and what is to take its place."""

    target: Path
    file: IO[bytes]
    changed: bool = False


class InPlace:
    """Files that are replaced by rename, when all of them are ready."""

    def __init__(self) -> None:
        self._replacements: list[_Replacement] = []

    def __enter__(self) -> "InPlace":
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._replacements:
            one.file.close()
            Path(one.file.name).unlink(missing_ok=True)

    def begin(self, path: str) -> None:
        """What follows comes from ``path`` and is to replace it.

        Raises:
            OSError: where it is no file that is there, or nothing can be put beside it.
        """
        target = Path(path).resolve(strict=True)  # a link stays one
        state = target.stat()
        if stat.S_ISDIR(state.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(state.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        file = tempfile.NamedTemporaryFile(  # noqa: SIM115
            dir=target.parent, prefix=f".{target.name}.", delete=False
        )
        self._replacements.append(_Replacement(target, cast("IO[bytes]", file)))
        os.fchmod(file.fileno(), state.st_mode & 0o7777)
        with contextlib.suppress(PermissionError):
            os.fchown(file.fileno(), state.st_uid, state.st_gid)

    def write(self, before: str, text: str, form: Format) -> None:
        """Add one document, which was ``before``, to the file at hand."""
        one = self._replacements[-1]
        one.file.write(text.encode("utf-8"))
        one.changed |= text != before

    def commit(self) -> None:
        """Put the changed ones in their place.

        Raises:
            ReplaceError: where one cannot be; it says how many were before.
        """
        changed = [one for one in self._replacements if one.changed]
        try:
            for one in changed:
                one.file.flush()
                os.fsync(one.file.fileno())
        except OSError as error:
            raise ReplaceError(
                one.file.name, f"cannot be written: {error.strerror}", "nothing was written"
            ) from None
        for number, one in enumerate(changed):
            try:
                Path(one.file.name).replace(one.target)
            except OSError as error:
                raise ReplaceError(
                    str(one.target),
                    f"cannot be replaced: {error.strerror}",
                    f"{number} of {len(changed)} files were replaced before that",
                ) from None
