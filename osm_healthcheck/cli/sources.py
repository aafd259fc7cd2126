"""Where manifests are read from: files, folders, URLs and the standard input, as by kubectl."""

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from osm_healthcheck.errors import FieldError
from osm_healthcheck.probes.quote import without_password

STDIN = "-"
# k8s.io/cli-runtime/pkg/resource/builder.go: FileExtensions
EXTENSIONS = (".json", ".yaml", ".yml")
_NO_NAME = "the name is empty"
_URL_TIMEOUT = 30  # seconds


class Fetched(str):
    """A source whose bytes are at hand already, by its name."""

    __slots__ = ("text",)
    text: bytes


def fetched(name: str, text: bytes) -> Fetched:
    """The source ``name`` with what it has."""
    source = Fetched(name)
    source.text = text
    return source


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Let ``parser``, which takes FILEs already, take ``-f`` and ``-R`` as well."""
    parser.add_argument(
        "-f",
        "--filename",
        dest="more_files",
        action="append",
        default=[],
        metavar="FILE|FOLDER|URL",
        help="a FILE, too; of a folder its .json, .yaml and .yml files",
    )
    parser.set_defaults(files=[])
    parser.add_argument(
        "-R", "--recursive", action="store_true", help="of a folder, those of its folders as well"
    )


def read_sources(options: argparse.Namespace) -> list[str]:
    """What the options of ``add_sources`` name; the standard input where that is nothing."""
    return [*options.files, *options.more_files] or [STDIN]


def sources_of(options: argparse.Namespace) -> Iterator[str | FieldError]:
    """``read_sources`` with the files of each folder in its place."""
    return files_of(read_sources(options), recursive=options.recursive)


def source_name(source: str) -> str:
    """How a message calls ``source``."""
    if source == STDIN:
        return "stdin"
    return without_password(source) if is_url(source) else source


def is_url(source: str) -> bool:
    """Whether ``source`` is to be fetched."""
    return source.startswith(("http://", "https://"))


def files_of(sources: Sequence[str], *, recursive: bool) -> Iterator[str | FieldError]:
    """The sources with the files of each folder in its place, or what is wrong with that folder."""
    for source in sources:
        if not source:  # a variable of a script that is not set; a Path of it is this folder
            yield FieldError("FILE", _NO_NAME)
            continue
        # os.path: where a folder above may not be looked into, a Path raises an error
        is_folder = os.path.isdir(source)  # noqa: PTH112
        if isinstance(source, Fetched) or source == STDIN or is_url(source) or not is_folder:
            yield source
            continue
        closed: list[OSError] = []
        found = sorted(_manifests_in(source, recursive, closed))
        yield from found
        for error in closed:
            yield FieldError(str(error.filename), f"cannot be read: {error.strerror}")
        if not found and not closed:
            kinds = "there is no .json, .yaml or .yml file in it"
            yield FieldError(source, kinds if recursive else f"{kinds}; -R looks into its folders")


def _manifests_in(folder: str, recursive: bool, closed: list[OSError]) -> Iterator[str]:
    """The manifests of a folder; ``closed`` gets why folders cannot be read."""
    for where, folders, names in os.walk(folder, onerror=closed.append):
        paths = (Path(where, name) for name in names)
        yield from (str(path) for path in paths if path.suffix in EXTENSIONS and path.is_file())
        if not recursive:
            folders.clear()


@contextlib.contextmanager
def opened(source: str) -> Iterator[BinaryIO]:
    """What ``source`` has, as bytes.

    Raises:
        OSError: where it cannot be read.
    """
    if isinstance(source, Fetched):
        yield io.BytesIO(source.text)
    elif source == STDIN:
        if sys.stdin.isatty():
            print("reading from the terminal; Ctrl-D ends it", file=sys.stderr)
        yield sys.stdin.buffer
    elif is_url(source):
        yield io.BytesIO(_download(source))
    elif not source:
        raise OSError(_NO_NAME)
    else:
        with Path(source).open("rb") as binary:
            yield binary


def _download(url: str) -> bytes:
    """All of what is at ``url``: only a read to the end notices that it broke off.

    Raises:
        OSError: where it cannot be had, or not all of it.
    """
    from base64 import b64encode
    from http.client import HTTPException, IncompleteRead
    from urllib.error import HTTPError, URLError
    from urllib.parse import unquote_to_bytes, urlsplit
    from urllib.request import Request, urlopen

    try:
        parts = urlsplit(url)
        user, at, host = parts.netloc.rpartition("@")
        request = Request(parts._replace(netloc=host).geturl())  # noqa: S310
        if at:  # as Go's client sends it; not where a redirect leads
            name, _, password = user.partition(":")
            basic = b64encode(unquote_to_bytes(name) + b":" + unquote_to_bytes(password)).decode()
            request.add_unredirected_header("Authorization", f"Basic {basic}")
        with urlopen(request, timeout=_URL_TIMEOUT) as answer:  # noqa: S310
            return bytes(answer.read())
    except HTTPError as error:
        raise OSError(f"the server says {error.code} {error.reason}") from None
    except IncompleteRead as error:
        raise OSError(f"the download broke off after {len(error.partial)} bytes") from None
    except URLError as error:  # its own text is a representation of the reason
        reason = error.reason
        raise OSError(getattr(reason, "strerror", "") or str(reason)) from None
    except (HTTPException, ValueError) as error:
        raise OSError(str(error)) from None
