"""Whether a YAML text has a value, found out without a tree of the text: that takes the memory."""

import math
from collections.abc import Callable
from typing import Any

import yaml
from yaml import (
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

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
    if type(events()) is not DocumentStartEvent:
        return False
    if not _is_node(events(), events, value):
        return False
    events()  # the end of the document
    return type(events()) is StreamEndEvent


def _is_node(event: Any, events: Events, value: object) -> bool:
    if event.anchor is not None:
        raise _NeedsTreeError
    kind = type(event)
    if kind is ScalarEvent:
        found = scalar_value(event)
        # a text is equal to nothing but a text
        return found == value if type(found) is str else same(found, value)
    if kind is MappingStartEvent:
        return isinstance(value, dict) and _is_mapping(events, value)
    return isinstance(value, list) and _is_sequence(events, value)


def _is_mapping(events: Events, value: dict[str, object]) -> bool:
    missing = set(value)
    while type(event := events()) is not MappingEndEvent:
        if type(event) is not ScalarEvent or event.anchor is not None:
            raise _NeedsTreeError
        key = scalar_value(event)
        if type(key) is not str or event.value == MERGE:
            key = _key(event, key)
        if key not in missing or not _is_node(events(), events, value[key]):
            return False
        missing.remove(key)
    return not missing


def _key(event: Any, value: object) -> str:
    """The key of a mapping that ``event`` is, of which ``value`` is the `scalar_value`."""
    node = ScalarNode(0, 0, 0, value=value)
    node.plain, node.text = not event.style, event.value
    if is_merge(node):
        raise _NeedsTreeError
    return key_of(node)


def _is_sequence(events: Events, value: list[object]) -> bool:
    count = 0
    while type(event := events()) is not SequenceEndEvent:
        if count == len(value) or not _is_node(event, events, value[count]):
            return False
        count += 1
    return count == len(value)
