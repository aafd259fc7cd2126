"""YAML changed in place: the new value is there, and everything else is as it was."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from osm_healthcheck.manifests.compare import same
from osm_healthcheck.manifests.nodes import YAMLTextError, compose, value_of
from osm_healthcheck.manifests.patch import patch
from osm_healthcheck.manifests.scalars import resolve, write

_words = st.sampled_from(
    [
        *"a yes on 010 0x1F 1_000 1e3 .5 ~ null << {a} [b] &a *b # - -x 'q' \"d\" é 😀".split(),
        *("", " lead", "a: b", "a #b", "two\nlines\n", "tab\t", "a b " * 30, "\x85", "\u2028"),
        *("2024-01-01", "12:30:45", "1.2.3", "/a?b=c&d=%20", "image:1.2", "x:", "?", "a,b"),
    ]
)
_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _words
_keys = st.sampled_from(["a", "b", "name", "yes", "1", "k k", "#h", "metadata"])
_values: st.SearchStrategy[Any] = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_keys, inner, max_size=4)
        | st.lists(st.fixed_dictionaries({"name": st.sampled_from("pqr"), "v": inner}), max_size=3)
    ),
    max_leaves=12,
)
_mappings: st.SearchStrategy[dict[str, Any]] = st.dictionaries(_keys, _values, max_size=4)
_styles = st.fixed_dictionaries(
    {
        "default_flow_style": st.sampled_from([False, None, True]),
        "indent": st.sampled_from([2, 4]),
        "width": st.sampled_from([40, 1000]),
    }
)


def patched(text: str, after: Any) -> str:
    root = compose(text)
    assert root is not None
    result, kept = patch(text, root, value_of(root), after)
    assert kept
    return result


def read(text: str) -> Any:
    root = compose(text)
    assert root is not None
    return value_of(root)


@given(_mappings, _mappings, _styles)
def test_the_new_value_is_there(before: Any, after: Any, style: Any) -> None:
    text = yaml.safe_dump(before, allow_unicode=True, sort_keys=False, **style)
    root = compose(text)
    assert root is not None
    result, _ = patch(text, root, value_of(root), after)
    assert same(read(result), after)


@given(_scalars)
def test_a_scalar_is_read_back_as_it_was_written(value: Any) -> None:
    for flow in (False, True):
        text = f"{{a: {write(value, flow=True)}}}" if flow else f"a: {write(value)}"
        assert same(read(text), {"a": value})
        if isinstance(value, str):
            assert yaml.safe_load(text) == {"a": value}, "YAML 1.1 readers see a string as well"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("Off", False),
        ("n", False),
        ("010", 8),
        ("0o10", 8),
        ("08", 8),
        ("0x1F", 31),
        ("-0b11", -3),
        ("1_000", 1000),
        ("1e3", 1000),
        (".5", 0.5),
        ("~", None),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("1.2.3", "1.2.3"),
        ("0x", "0x"),
        ("-", "-"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_plain_scalars_are_what_go_yaml_makes_of_them(text: str, value: object) -> None:
    assert same(resolve(text), value)


@pytest.mark.parametrize(
    ("text", "change", "expected"),
    [
        pytest.param(
            "# top\na: 1   # one\n# between\nb: 2\n# end\n",
            {"a": 1, "b": 3, "c": {"d": [1, {"e": None}]}},
            "# top\na: 1   # one\n# between\nb: 3\nc:\n  d:\n  - 1\n  - e: null\n# end\n",
            id="a new key comes before what follows the last one",
        ),
        pytest.param(
            "p:\n  tcp:\n    # why\n    port: 1  # eol\n  # next\n  t: 2\n",
            {"p": {"http": {"x": "z"}, "t": 2}},
            "p:\n  # why\n  http:\n    x: z  # eol\n  # next\n  t: 2\n",
            id="a key takes the place of another, its comments stay",
        ),
        pytest.param(
            "l:\n- name: a\n  v: 1\n# about c\n- name: c\n  v: 3\n",
            {"l": [{"name": "z"}, {"name": "a", "v": 1}, {"name": "c", "v": 4}, {"name": "e"}]},
            "l:\n- name: z\n- name: a\n  v: 1\n# about c\n- name: c\n  v: 4\n- name: e\n",
            id="items are known by their names",
        ),
        pytest.param(
            "l:\n    -   name: a\n    -   name: b\nm:\n    k: 1\n",
            {"l": [{"name": "b"}], "m": {"k": 1, "o": {"p": 2}}},
            "l:\n    -   name: b\nm:\n    k: 1\n    o:\n        p: 2\n",
            id="new lines stand in as far as the others",
        ),
        pytest.param(
            "a: \"x\"\nb: 'y'\nc: z\nd: |\n  t\ne:\n",
            {"a": "u/v w", "b": "yes", "c": "010", "d": "one", "e": 5},
            "a: \"u/v w\"\nb: 'yes'\nc: '010'\nd: one\ne: 5\n",
            id="quotes stay, and come where they are needed",
        ),
        pytest.param(
            "a: &x {k: 1}\nb: *x\nc: *x\n",
            {"a": {"k": 1}, "b": {"k": 2}, "c": {"k": 1}},
            "a: &x {k: 1}\nb:\n  k: 2\nc: *x\n",
            id="one alias of several",
        ),
        pytest.param(
            "a: &x {k: 1}\nb: *x\n",
            {"a": {"k": 2}, "b": {"k": 1}},
            "a: &x {k: 2}\nb:\n  k: 1\n",
            id="the node that an alias stands for",
        ),
        pytest.param(
            "base: &x {k: 1, l: 2}\nb:\n  <<: *x\n  m: 3\n",
            {"base": {"k": 1, "l": 2}, "b": {"k": 9, "l": 2, "m": 3}},
            "base: &x {k: 1, l: 2}\nb:\n  <<: *x\n  k: 9\n  m: 3\n",
            id="what is merged in is overridden",
        ),
        pytest.param(
            "base: &x {k: 1, l: 2}\nb:\n  <<: *x\n  m: 3\n",
            {"base": {"k": 1, "l": 2}, "b": {"l": 2, "m": 3}},
            "base: &x {k: 1, l: 2}\nb:\n  l: 2\n  m: 3\n",
            id="what is merged in and has to go",
        ),
        pytest.param(
            "base: &x {k: 1}\nb:\n  <<: *x\n",
            {"base": {"k": 1}, "b": {"k": 9, "m": 3}},
            "base: &x {k: 1}\nb:\n  <<: *x\n  k: 9\n  m: 3\n",
            id="what is new stands behind what is merged in",
        ),
        pytest.param(
            "base: &x {k: 1}\nb:\n  n: 4 # here\n  <<: *x\n",
            {"base": {"k": 1}, "b": {"k": 9}},
            "base: &x {k: 1}\nb:\n  <<: *x\n  k: 9\n",
            id="nothing takes a place in front of what is merged in",
        ),
        pytest.param(
            "base: &x {k: {l: 1}}\nb:\n  k: {m: 2}\n  <<: *x\n",
            {"base": {"k": {"l": 1}}, "b": {"k": {"l": 3}}},
            "base: &x {k: {l: 1}}\nb:\n  k:\n    l: 3\n",
            id="what is overridden by what is merged in",
        ),
        pytest.param(
            "a:\r\n  b: 1\r\n",
            {"a": {"b": 1, "c": [1]}},
            "a:\r\n  b: 1\r\n  c:\r\n  - 1\r\n",
            id="line ends",
        ),
        pytest.param("a: 1", {"a": 1, "b": 2}, "a: 1\nb: 2", id="no line end at the end"),
        pytest.param("a: 1\nb: 2\n", {"b": 2}, "b: 2\n", id="the first key goes"),
        pytest.param("{a: 1, b: [x]} # c\n", {"a": 2}, "{a: 2} # c\n", id="flow style"),
    ],
)
def test_what_changes_and_what_does_not(text: str, change: Any, expected: str) -> None:
    assert patched(text, change) == expected


def test_a_document_that_cannot_be_patched_is_written_anew() -> None:
    text = "a:\n- - b # here\n  - c\n- d\n"
    root = compose(text)
    assert root is not None
    assert patch(text, root, value_of(root), {"a": [["c"], "d"]}) == ("a:\n- - c\n- d\n", False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("k: 3\n<<: {k: 1, l: 2}\n", {"k": 1, "l": 2}),
        ("<<: {k: 1, l: 2}\nk: 3\n", {"k": 3, "l": 2}),
        ("<<: [{k: 1}, {k: 2, l: 2}]\n", {"k": 1, "l": 2}),
        ("k: {n: 2}\n<<: {k: {m: 1}}\n", {"k": {"m": 1}}),
        ("{l: 3, <<: {<<: {k: 1}, l: 2}}\n", {"k": 1, "l": 2}),
        ("'<<': {k: 1}\n", {"<<": {"k": 1}}),
    ],
)
def test_what_is_merged_in_overrides_what_stands_before_it(text: str, expected: Any) -> None:
    """As sigs.k8s.io/yaml v1.6.0 reads it, by which kubectl reads manifests."""
    assert read(text) == expected


@pytest.mark.parametrize("text", ["[]: 1", "? {a: b}\n: c", "<<: 1", "null: 1"])
def test_keys_that_kubernetes_cannot_read(text: str) -> None:
    root = compose(text)
    assert root is not None
    with pytest.raises(YAMLTextError):
        value_of(root)
