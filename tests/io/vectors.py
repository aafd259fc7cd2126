"""The facts in ``tests/vectors``: what the kubelet does, and what six meshes do."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

Vector = dict[str, Any]
_DIRECTORY = Path(__file__).parent.parent / "vectors"


@cache
def kubelet(group: str) -> dict[str, Vector]:
    """The vectors of one group, by id."""
    return {vector["id"]: vector for vector in _kubelet() if vector["group"] == group}


@cache
def runtime_cases() -> dict[str, Vector]:
    """The cases of the layer ``runtime``, by id."""
    cases = yaml.safe_load((_DIRECTORY / "cases.yaml").read_text())["cases"]
    return {case["id"]: case for case in cases if case["layer"] == "runtime"}


@cache
def _kubelet() -> list[Vector]:
    vectors: list[Vector] = yaml.safe_load((_DIRECTORY / "kubelet.yaml").read_text())["vectors"]
    return vectors
