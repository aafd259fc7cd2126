"""JSON Patch: few operations, and they lead where they should."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osm_healthcheck.injector.json_patch import PatchError, apply, difference

_keys = st.sampled_from(["name", "a", "b/c", "~d", "~1", ""])
_leaves = st.none() | st.integers(0, 2) | st.sampled_from(["x", "y", ""])
values = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=12,
)


@given(values, values)
def test_the_operations_lead_from_one_to_the_other(before: Any, after: Any) -> None:
    operations = json.loads(json.dumps(difference(before, after)))
    given = copy.deepcopy(before)
    assert apply(before, operations) == after
    assert before == given, "the object given must stay as it is"


@given(values)
def test_nothing_is_to_be_done_where_nothing_differs(value: Any) -> None:
    assert difference(value, copy.deepcopy(value)) == []


def _named(*names: str, **more: object) -> list[dict[str, object]]:
    return [{"name": name, **more} for name in names]


@pytest.mark.parametrize(
    ("before", "after", "operations"),
    [
        # a container in front of others is one operation, and the others stay what they are
        (_named("a", "b"), _named("new", "a", "b"), [("add", "/0")]),
        (_named("a", "b"), _named("a", "b", "new"), [("add", "/2")]),
        (_named("old", "a"), _named("a"), [("remove", "/0")]),
        # those that stay are changed at their new place
        (_named("a"), [{"name": "new"}, {"name": "a", "x": 1}], [("add", "/0"), ("add", "/1/x")]),
        (_named("a", x=1), _named("a", x=2), [("replace", "/0/x")]),
        (_named("a", x=1), _named("b", x=1), [("remove", "/0"), ("add", "/0")]),
        (
            {"a": {"b/c": 1, "~": 2}},
            {"a": {"b/c": 3}},
            [("remove", "/a/~0"), ("replace", "/a/b~1c")],
        ),
        ({"a": None}, {"a": {}}, [("replace", "/a")]),
        ([1, 2, 3], [1, 3], [("remove", "/1")]),
    ],
)
def test_few_operations(before: Any, after: Any, operations: list[tuple[str, str]]) -> None:
    found = difference(before, after)
    assert [(one["op"], one["path"]) for one in found] == operations
    assert apply(copy.deepcopy(before), found) == after


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/a/b"},
        {"op": "replace", "path": "/x", "value": 1},
        {"op": "add", "path": "/a/b/c", "value": 1},
        {"op": "add", "path": "/list/7", "value": 1},
        {"op": "remove", "path": "/list/x"},
        {"op": "add", "path": "/text/0", "value": 1},
    ],
)
def test_an_operation_that_does_not_fit_is_an_error(operation: dict[str, Any]) -> None:
    with pytest.raises(PatchError, match=operation["path"]):
        apply({"a": {}, "list": [1], "text": "x"}, [operation])
