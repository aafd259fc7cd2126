"""Whether a YAML text has a value, found out without a tree of the text: that takes the memory."""

import math
from collections.abc import Callable
from typing import Any

import yaml

from osm_healthcheck.manifests.nodes import (
    MERGE,
    Loader,
    ScalarNode,
    YAMLTextError,
    compose,
    is_merge,
    key_of,
    scalar_value,
    value_of,
)


def same(one: object, other: object) -> bool:
    """Whether two JSON values are equal, ``1`` and ``true`` told apart."""
    if one is other:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def has_value(text: str, value: object) -> bool:
    """Whether ``text`` is one YAML document whose value is ``value``."""
    try:
        return _is_document(Loader(text).get_event, value)
    except _NeedsTreeError:
        pass
    except (yaml.YAMLError, YAMLTextError, RecursionError):
        return False
    try:
        root = compose(text)
        return root is not None and same(value_of(root), value)
    except YAMLTextError:
        return False


class _NeedsTreeError(Exception):
    """The text has an alias or a merge key, or a key that is no scalar."""


Events = Callable[[], Any]


def _is_document(events: Events, value: object) -> bool:
    events()  # the start of the stream
    if type(events()) is not yaml.DocumentStartEvent:
        return False
    if not _is_node(events(), events, value):
        return False
    events()  # the end of the document
    return type(events()) is yaml.StreamEndEvent


def _is_node(event: Any, events: Events, value: object) -> bool:
    if event.anchor is not None:
        raise _NeedsTreeError
    if type(event) is yaml.ScalarEvent:
        found = scalar_value(event)
        # a text is equal to nothing but a text
        return found == value if type(found) is str else same(found, value)
    if type(event) is yaml.MappingStartEvent:
        return isinstance(value, dict) and _is_mapping(events, value)
    return isinstance(value, list) and _is_sequence(events, value)


def _is_mapping(events: Events, value: dict[str, object]) -> bool:
    seen = set()
    while type(event := events()) is not yaml.MappingEndEvent:
        if type(event) is not yaml.ScalarEvent or event.anchor is not None:
            raise _NeedsTreeError
        key = _key(event)
        if key in seen or key not in value or not _is_node(events(), events, value[key]):
            return False
        seen.add(key)
    return len(seen) == len(value)


def _key(event: Any) -> str:
    found = scalar_value(event)
    if found == event.value and not (found == MERGE and not event.style):
        return str(found)
    node = ScalarNode(0, 0, 0, value=found)
    node.plain, node.text = not event.style, event.value
    if is_merge(node):
        raise _NeedsTreeError
    return key_of(node)


def _is_sequence(events: Events, value: list[object]) -> bool:
    count = 0
    while type(event := events()) is not yaml.SequenceEndEvent:
        if count == len(value) or not _is_node(event, events, value[count]):
            return False
        count += 1
    return count == len(value)
