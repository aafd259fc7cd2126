"""One YAML document as a tree of nodes that know where in the text they stand.

The parser is libyaml, by way of PyYAML: go-yaml, by which Kubernetes reads manifests, is the same
parser in Go. What a scalar means is decided by ``scalars.resolve``, not by PyYAML.
"""

import base64
import binascii
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import yaml
from yaml import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from osm_healthcheck.manifests.scalars import resolve
from osm_healthcheck.probes.quote import quoted

Loader: Any
try:
    Loader = yaml.CSafeLoader
except AttributeError:  # PyYAML built without libyaml: ten times slower, and the same
    Loader = yaml.SafeLoader

_TAG = "tag:yaml.org,2002:"
MERGE = "<<"
# A document that aliases blow up beyond this is refused, as go-yaml does it.
_MOST_VALUES = 1_000_000
_DEEPEST = 200
_SHORT = 40  # characters


class YAMLTextError(Exception):
    """The text is no YAML document; ``index`` is the character where that shows."""

    def __init__(self, problem: str, index: int) -> None:
        self.problem = problem
        self.index = index
        super().__init__(problem)


@dataclass(slots=True)
class Node:
    """A node and its place: the text from ``start`` to ``end``, anchor and tag included.

    ``end`` is where the last character that belongs to it has passed; comments behind it and
    between its parts do not. ``flow`` says that it is in flow style: a scalar in ``[]`` or ``{}``.
    """

    start: int
    end: int
    column: int
    flow: bool = False


@dataclass(slots=True)
class ScalarNode(Node):
    """A scalar; ``value`` is what Kubernetes reads, ``plain`` says that it has no quotes."""

    value: object = None
    plain: bool = False
    text: str = ""


@dataclass(slots=True)
class MappingNode(Node):
    """A mapping; ``column`` is that of its keys."""

    items: list[tuple[Node, Node]] = field(default_factory=list)


@dataclass(slots=True)
class SequenceNode(Node):
    """A list; in block style ``column`` is that of its dashes."""

    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class AliasNode(Node):
    """An alias, ``target`` is the node with its anchor."""

    target: Node = field(default_factory=lambda: Node(0, 0, 0))


def compose(text: str) -> Node | None:
    """Parse one document; ``None`` where there is none.

    Raises:
        YAMLTextError: where it is not YAML, or more than one document.
    """
    try:
        return _Composer(text, Loader(text).get_event).document()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        # a character that YAML does not allow has a reason and a position, all else has marks
        problem = getattr(error, "problem", None) or getattr(error, "reason", "") or str(error)
        index = mark.index if mark else getattr(error, "position", 0)
        raise YAMLTextError(f"is not YAML: {problem}", index) from None
    except RecursionError:
        raise YAMLTextError("is nested too deeply", 0) from None


def value_of(node: Node) -> object:
    """The JSON value that Kubernetes makes of ``node``.

    Raises:
        YAMLTextError: for a key that stands there twice, or is no scalar; for aliases that contain
            themselves or grow without measure.
    """
    return _Values().of(node, 0)


def key_of(node: Node) -> str:
    """A key as JSON has it, where each is a string: ``8080: x`` has the key ``"8080"``."""
    scalar = node.target if isinstance(node, AliasNode) else node
    match scalar.value if isinstance(scalar, ScalarNode) else None:
        case str() as text:
            return text
        case bool() as answer:
            return "true" if answer else "false"
        case int() | float() as number:
            return str(number)
        case _:
            raise YAMLTextError("a key of a mapping must be a string", node.start)


def is_merge(key: Node) -> bool:
    """Whether ``key`` is ``<<``, which merges another mapping in."""
    return isinstance(key, ScalarNode) and key.plain and key.text == MERGE


class _Composer:
    def __init__(self, text: str, next_event: Callable[[], Any]) -> None:
        self._text = text
        self._next = next_event
        self._anchors: dict[str, Node] = {}

    def document(self) -> Node | None:
        self._next()
        if type(self._next()) is StreamEndEvent:
            return None
        root = self._node(self._next(), 0, in_flow=False)
        self._next()
        if type(event := self._next()) is not StreamEndEvent:
            raise YAMLTextError("a second document without --- before it", event.start_mark.index)
        return root

    def _node(self, event: Any, depth: int, in_flow: bool) -> Node:
        kind = type(event)
        if depth > _DEEPEST:
            raise YAMLTextError("is nested too deeply", event.start_mark.index)
        if kind is AliasEvent:
            return self._alias(event, in_flow)
        node: Node
        if kind is ScalarEvent:
            node = self._scalar(event, in_flow)
        else:
            mark = event.start_mark
            of_kind = MappingNode if kind is MappingStartEvent else SequenceNode
            node = of_kind(mark.index, 0, mark.column, in_flow or event.flow_style)
        if event.anchor:
            self._anchors[event.anchor] = node
        if isinstance(node, MappingNode):
            self._fill_mapping(node, depth)
        elif isinstance(node, SequenceNode):
            self._fill_sequence(node, depth)
        return node

    def _alias(self, event: Any, in_flow: bool) -> AliasNode:
        start, anchor = event.start_mark.index, event.anchor
        if anchor not in self._anchors:
            raise YAMLTextError(f"is not YAML: found undefined alias {anchor}", start)
        return AliasNode(
            start,
            start + 1 + len(anchor),
            event.start_mark.column,
            in_flow,
            target=self._anchors[anchor],
        )

    def _scalar(self, event: Any, in_flow: bool) -> ScalarNode:
        mark, style, text = event.start_mark, event.style, event.value
        start, end = mark.index, event.end_mark.index
        if style in ("|", ">"):
            # it ends where the next token begins; all but "+" give up trailing blank lines
            block = self._text[start:end].rstrip(" ")
            keeps = "+" in block.partition("\n")[0]
            end = start + len(block.removesuffix("\n") if keeps else block.rstrip())
        # keys and short words repeat in a list of like objects: one string for all of them
        if len(text) < _SHORT:
            text = sys.intern(text)
        value = scalar_value(event)
        value = text if value == text else value
        return ScalarNode(start, end, mark.column, in_flow, value, not style, text)

    def _fill_mapping(self, node: MappingNode, depth: int) -> None:
        while type(event := self._next()) is not MappingEndEvent:
            key = self._node(event, depth + 1, node.flow)
            node.items.append((key, self._node(self._next(), depth + 1, node.flow)))
        if node.flow:
            node.end = _end_of(event)
        else:
            node.end = node.items[-1][1].end
            node.column = node.items[0][0].column

    def _fill_sequence(self, node: SequenceNode, depth: int) -> None:
        while type(event := self._next()) is not SequenceEndEvent:
            node.items.append(self._node(event, depth + 1, node.flow))
        node.end = _end_of(event) if node.flow else node.items[-1].end


def _end_of(event: Any) -> int:
    return int(event.end_mark.index)


class _Values:
    def __init__(self) -> None:
        self._count = 0
        self._open: set[int] = set()

    def of(self, node: Node, depth: int) -> object:
        if isinstance(node, ScalarNode):
            return node.value
        self._count += 1
        if self._count > _MOST_VALUES or depth > _DEEPEST:
            raise YAMLTextError("its aliases expand without measure", node.start)
        if isinstance(node, AliasNode):
            if id(node.target) in self._open:
                raise YAMLTextError("an alias contains itself", node.start)
            return self.of(node.target, depth + 1)
        self._open.add(id(node))
        value: object
        if isinstance(node, SequenceNode):
            value = [self.of(item, depth + 1) for item in node.items]
        else:
            value = self._mapping(node, depth) if isinstance(node, MappingNode) else None
        self._open.discard(id(node))
        return value

    def _mapping(self, node: MappingNode, depth: int) -> dict[str, object]:
        # In the order of the text, as go-yaml v2 has it (decode.go, mapping and merge): what is
        # merged in overrides what stands before it. YAML itself lets a mapping's own keys win.
        found: dict[str, object] = {}
        own = set[str]()
        for key_node, value_node in node.items:
            if is_merge(key_node):
                for source in reversed(self._merge_sources(value_node, depth)):
                    found.update(source)
                continue
            key = key_of(key_node)
            if key in own:
                raise YAMLTextError(
                    f"the key {quoted(key)} stands twice in a mapping", key_node.start
                )
            own.add(key)
            found[key] = self.of(value_node, depth + 1)
        return found

    def _merge_sources(self, node: Node, depth: int) -> list[dict[str, object]]:
        value = self.of(node, depth + 1)
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            raise YAMLTextError("<< must name a mapping, or a list of mappings", node.start)
        return cast("list[dict[str, object]]", sources)


def scalar_value(event: Any) -> object:
    """What Kubernetes makes of the scalar that a ``yaml.ScalarEvent`` is.

    Raises:
        YAMLTextError: where it is tagged as what it is not.
    """
    tag = event.tag
    if tag is None:
        return event.value if event.style else resolve(event.value)
    if tag in (f"{_TAG}int", f"{_TAG}float", f"{_TAG}bool", f"{_TAG}null"):
        return resolve(event.value)
    if tag == f"{_TAG}binary":
        try:
            return base64.b64decode(event.value, validate=False).decode("latin-1")
        except binascii.Error:
            raise YAMLTextError("!!binary is not base64", event.start_mark.index) from None
    return event.value
