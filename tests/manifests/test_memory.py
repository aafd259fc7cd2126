"""How much memory a long List takes; and the comparison that needs no tree of the text."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from osm_healthcheck.manifests import compare
from osm_healthcheck.manifests.compare import has_value, same
from osm_healthcheck.manifests.nodes import compose, value_of
from tests.manifests.test_patch import _mappings, _styles, _values

_ITEM = """\
- apiVersion: apps/v1
  kind: Deployment
  metadata: {{name: web-{number}, labels: {{app: web-{number}}}}}
  spec:
    template:
      spec:
        containers:
        - name: web
          image: nginx:1.25
          env:
          - {{name: MODE, value: fast}}
          - {{name: NUMBER, value: "{number}"}}
          livenessProbe:
            httpGet:
              path: /healthz   # cheap
              port: 8080
            periodSeconds: 5
          readinessProbe:
            tcpSocket:
              port: 8080
        - name: worker
          livenessProbe:
            grpc:
              port: 50051
"""
_MEASURED = """\
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "osm_healthcheck", "inject", "--mesh", "none", sys.argv[1]],
               check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


def test_a_list_of_a_thousand_items(tmp_path: Path) -> None:
    """It is one document and is held in memory; the tree of what comes out is not."""
    path = tmp_path / "list.yaml"
    items = "".join(_ITEM.format(number=number) for number in range(1_000))
    path.write_text(f"apiVersion: v1\nkind: List\nitems:\n{items}")
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, str(path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 80, f"{done.stdout} MB"


@given(_mappings, _mappings, _styles)
def test_it_has_the_value_that_it_has(one: Any, other: Any, style: Any) -> None:
    text = yaml.safe_dump(one, allow_unicode=True, sort_keys=False, **style)
    root = compose(text)
    value = value_of(root) if root else None
    assert has_value(text, value)
    assert has_value(text, other) == same(value, other)


@given(_values, st.integers(0, 3))
def test_a_value_that_differs_anywhere_is_another(value: Any, times: int) -> None:
    text = yaml.safe_dump({"a": [value] * times}, allow_unicode=True)
    root = compose(text)
    read: Any = value_of(root) if root else None
    assert has_value(text, read)
    assert not has_value(text, {"a": [*read["a"], None]})
    assert not has_value(text, {**read, "b": None})
    assert not has_value(text, {"a": [{"new": 1}] * (times + 1)})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: &x 1\nb: *x\n", {"a": 1, "b": 1}),
        ("a: &x {c: 1}\nb: {<<: *x}\n", {"a": {"c": 1}, "b": {"c": 1}}),
        ("'<<': 1\n", {"<<": 1}),
        ("8080: yes\n", {"8080": True}),
    ],
)
def test_aliases_and_keys(text: str, value: Any) -> None:
    assert has_value(text, value)
    assert not has_value(text, {**value, "z": 0})


@pytest.mark.parametrize(
    "text", ["", "# only\n", "a: 1\na: 1\n", "a: [", "a: 1\n---\nb: 1\n", "{1: 2}: 3"]
)
def test_what_is_no_document_has_no_value(text: str) -> None:
    assert not has_value(text, {"a": 1})
    assert not has_value(text, None)


def test_one_is_not_true() -> None:
    assert not has_value("a: 1\n", {"a": True})
    assert not has_value("a: true\n", {"a": 1})
    assert compare.has_value("a: .nan\n", {"a": float("nan")})
