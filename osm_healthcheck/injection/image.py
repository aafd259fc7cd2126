"""The name of an image, as the kubelet takes it: ``registry.example:5000/a/b:1.2@sha256:…``.

What it refuses leaves a container in ``InvalidImageName`` for good, and nobody says so earlier.
The grammar is that of ``github.com/distribution/reference`` (``regexp.go``, ``normalize.go``).
"""

import re

from osm_healthcheck.probes.quote import quoted

_PATH_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PATH_PART}(?:/{_PATH_PART})*")
_LONGEST_PATH = 255
_HOST_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_REGISTRY = re.compile(rf"(?:{_HOST_PART}(?:\.{_HOST_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_ID = re.compile(r"[a-f0-9]{64}")  # of an image without its name
# github.com/opencontainers/go-digest, algorithm.go: bits, four a digit
_ALGORITHMS = {"sha256": 64, "sha384": 96, "sha512": 128}


def image_problem(image: str) -> str:
    """What is wrong with ``image`` as the name of an image; empty where it is one."""
    name, at, digest = image.partition("@")
    repository, tag = split_tag(name)
    registry, slash, path = repository.partition("/")
    # the first part is a registry's where it cannot be the path's, as in splitDockerDomain
    if not slash or not (re.search("[.:A-Z]", registry) or registry == "localhost"):
        registry, path = "localhost", repository
    if not _REGISTRY.fullmatch(registry):
        return f"{quoted(registry)} is not a registry's host, as registry.example:5000"
    if not _PATH.fullmatch(path) or len(path) > _LONGEST_PATH or _ID.fullmatch(image):
        return (
            f"{quoted(path)} has to be lower case letters and digits, with ., _, __ or "
            "hyphens between them and / between its parts"
        )
    if tag is not None and not _TAG.fullmatch(tag):
        return (
            f"the tag {quoted(tag)} has to be at most 128 letters, digits, _, . and -, and "
            "begin with none of the last two"
        )
    if at and not _is_digest(digest):
        return f"the digest {quoted(digest)} has to be sha256: and 64 lower case hexadecimal digits"
    return ""


def split_tag(name: str) -> tuple[str, str | None]:
    """A name without a digest: the repository, and the tag; ``None`` where there is none."""
    repository, colon, tag = name.rpartition(":")
    return (name, None) if not colon or "/" in tag else (repository, tag)


def _is_digest(text: str) -> bool:
    algorithm, _, digits = text.partition(":")
    return bool(re.fullmatch(f"[a-f0-9]{{{_ALGORITHMS.get(algorithm, 0)}}}", digits)) and (
        algorithm in _ALGORITHMS
    )
