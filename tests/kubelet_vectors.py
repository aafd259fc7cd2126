"""The kubelet's behaviour as data: ``vectors/kubelet.yaml``, and what of it is not tested."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).parent / "vectors" / "kubelet.yaml"
VECTORS: tuple[dict[str, Any], ...] = tuple(yaml.safe_load(_FILE.read_text())["vectors"])

# Left out, and why. Everything else is a test: tests/test_kubelet_vectors.py sees to that.
LEFT_OUT_GROUPS: Mapping[str, str] = {
    "exec": "exec probes run inside the container and are never ours to run or to rewrite",
}
LEFT_OUT: Mapping[str, str] = {
    "map-09": "about the pipe between the kubelet and an exec probe's command",
}


def group(*names: str) -> list[dict[str, Any]]:
    """The vectors of these groups."""
    return [
        vector for vector in VECTORS if vector["group"] in names and vector["id"] not in LEFT_OUT
    ]


def vector_id(vector: object) -> str:
    """The id of a vector, for pytest."""
    return str(vector["id"]) if isinstance(vector, dict) else ""
