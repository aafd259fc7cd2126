"""A YAML text changed in as few places as the new value asks for.

Everything else stays as it was, to the character: comments, order, quotes, indentation, line ends.
What comes out is parsed again and compared with what was asked for; so a construct that is not
understood here costs a document its comments at worst, and never its content.
"""

import json
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from typing import cast

from osm_healthcheck.manifests.block import Style, inline, is_nested
from osm_healthcheck.manifests.compare import has_value, same
from osm_healthcheck.manifests.nodes import (
    AliasNode,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    is_merge,
    key_of,
    value_of,
)
from osm_healthcheck.manifests.scalars import Scalar, write, write_quoted

_COLLECTIONS = (MappingNode, SequenceNode)


def patch(text: str, root: Node, before: object, after: object) -> tuple[str, bool]:
    """``text`` with ``after`` for ``before``, which is the value of its tree ``root``.

    The second result is false where that could only be had by writing the document anew.
    """
    for expand in (False, True):
        try:
            patched = _Patch(text, root, expand=expand).apply(before, after)
        except _UnpatchableError:
            continue
        if has_value(patched, after):
            return patched, True
    style = _style_of(root)
    fresh = (
        style.mapping(after, 0) if is_nested(after) and isinstance(after, dict) else inline(after)
    )
    return fresh + "\n", False


class _UnpatchableError(Exception):
    pass


class _Patch:
    """The edits that turn one value into another.

    ``expand`` writes every alias out: needed where a node that others refer to has changed.
    """

    def __init__(self, text: str, root: Node, *, expand: bool) -> None:
        self._text = text
        self._root = root
        self._style = _style_of(root)
        self._expand = _with_aliases(root) if expand else set()
        self._edits: list[tuple[int, int, str]] = []

    def apply(self, before: object, after: object) -> str:
        if not self._descend(self._root, before, after):
            if not self._root.flow:
                raise _UnpatchableError
            self._replace(self._root, inline(after))
        newline = "\r\n" if "\r\n" in self._text else "\n"
        parts = []
        position = 0
        for start, end, replacement in sorted(self._edits, key=lambda edit: edit[:2]):
            if start < position:
                raise _UnpatchableError
            parts += [self._text[position:start], replacement.replace("\n", newline)]
            position = end
        return "".join([*parts, self._text[position:]])

    def _is_done(self, node: Node, before: object, after: object) -> bool:
        return id(node) not in self._expand and same(before, after)

    def _descend(self, node: Node, before: object, after: object) -> bool:
        """Change parts of ``node``; false where it has to be replaced as a whole."""
        match node:
            case ScalarNode() if not isinstance(after, dict | list):
                self._replace(node, self._in_quotes_of(node, cast("Scalar", after)))
                return True
            case MappingNode() if before and after and isinstance(after, dict):
                return self._mapping(node, cast("dict[str, object]", before), after)
            case SequenceNode() if before and after and isinstance(after, list):
                return self._sequence(node, cast("list[object]", before), after)
        return False

    # --- mappings ---------------------------------------------------------------------------

    def _mapping(
        self, node: MappingNode, before: dict[str, object], after: dict[str, object]
    ) -> bool:
        own = [(key_of(key), key, value) for key, value in node.items if not is_merge(key)]
        names = {name for name, _, _ in own}
        if len(own) < len(node.items) and (
            id(node) in self._expand  # it merges an alias in, which is to go
            or not all(same(value_of(value), before[name]) for name, _, value in own)  # overridden
        ):
            return False
        if not before.keys() - names <= after.keys():
            raise _UnpatchableError  # what is merged in cannot be taken away
        added = [
            name
            for name in after
            if name not in names and not (name in before and same(before[name], after[name]))
        ]
        deleted = [index for index, (name, _, _) in enumerate(own) if name not in after]
        if node.flow and (added or deleted):
            return False
        for name, key, value in own:
            if name in after and not self._is_done(value, before[name], after[name]):
                if self._descend(value, before[name], after[name]):
                    continue
                if node.flow:
                    self._replace(value, inline(after[name], flow=True))
                else:
                    self._replace_entry(key, value, name, after[name], node.column)
        if added or deleted:
            self._add_and_delete(node, own, after, added, deleted)
        return True

    def _add_and_delete(
        self,
        node: MappingNode,
        own: list[tuple[str, Node, Node]],
        after: dict[str, object],
        added: list[str],
        deleted: list[int],
    ) -> None:
        """New keys come where ``after`` has them; one in the place of another takes it over.

        They never come before what is merged in, which would override them.
        """
        merged = max((value.end for key, value in node.items if is_merge(key)), default=node.start)
        column, indentation = node.column, "\n" + " " * node.column
        kept = {name: index for index, (name, _, _) in enumerate(own) if index not in deleted}
        before_it = -1
        free = list(deleted)
        for name in after:
            if name in kept:
                before_it = kept[name]
            if name not in added:
                continue
            entry = self._style.entry(name, after[name], column)
            taken = next((i for i in free if _previous(i, kept.values()) == before_it), None)
            if taken is not None and own[taken][1].start >= merged:
                free.remove(taken)
                _, key, value = own[taken]
                comments = self._comments(key.end, value)
                if _is_flow_collection(value):
                    entry = f"{write(name)}: {inline(after[name])}"
                above = "".join(comment + indentation for comment in comments)
                self._edits.append((key.start, value.end, above + entry))
            elif before_it >= 0 or merged > node.start:
                end = own[before_it][2].end if before_it >= 0 else merged
                end = self._end_of_line(max(end, merged))
                self._edits.append((end, end, indentation + entry))
            else:
                start = own[0][1].start if own else node.start
                self._edits.append((start, start, entry + indentation))
        for index in free:
            self._delete_entry(own[index][1], own[index][2], first=index == 0)

    def _replace_entry(self, key: Node, value: Node, name: str, new: object, column: int) -> None:
        colon = self._text.index(":", key.end)
        self._edits.append(
            (
                colon,
                value.end,
                ":" + self._after_mark(colon, value, new, column, self._style.offset),
            )
        )

    def _after_mark(self, mark: int, old: Node, new: object, column: int, offset: int) -> str:
        """The text of ``new`` behind a colon or dash, for one in ``column``."""
        style = self._style
        in_flow = _is_flow_collection(old)
        if isinstance(new, dict):
            column, written = column + style.step, style.mapping(new, column + style.step)
        elif isinstance(new, list):
            column, written = column + offset, style.sequence(new, column + offset)
        if not is_nested(new) or in_flow:
            column, written = column + style.step, inline(new)
        comments = self._comments(mark + 1, old)
        if comments or (is_nested(new) and not in_flow):
            return "".join("\n" + " " * column + line for line in [*comments, written])
        return " " + written

    def _delete_entry(self, key: Node, value: Node, *, first: bool) -> None:
        end = self._end_of_line(value.end)
        if first:
            # what follows moves up: the line may begin with the dash of a list
            while end < len(self._text) and self._text[end] in " \r\n":
                end += 1
            self._edits.append((key.start, end, ""))
        else:
            self._edits.append((self._end_of_line_before(key.start), end, ""))

    # --- lists ------------------------------------------------------------------------------

    def _sequence(self, node: SequenceNode, before: list[object], after: list[object]) -> bool:
        if node.flow:
            return self._flow_sequence(node, before, after)
        matcher = SequenceMatcher(
            None, [_identity(one) for one in before], [_identity(one) for one in after], False
        )
        for _, low, high, new_low, new_high in matcher.get_opcodes():
            both = min(high - low, new_high - new_low)
            for index in range(both):
                self._item(node, low + index, before[low + index], after[new_low + index])
            for index in range(low + both, high):
                self._delete_item(node, index)
            if new_low + both < new_high:
                self._insert_items(node, low + both, after[new_low + both : new_high])
        return True

    def _flow_sequence(self, node: SequenceNode, before: list[object], after: list[object]) -> bool:
        if len(before) != len(after):
            return False
        for item, old, new in zip(node.items, before, after, strict=True):
            if not self._is_done(item, old, new) and not self._descend(item, old, new):
                self._replace(item, inline(new, flow=True))
        return True

    def _item(self, node: SequenceNode, index: int, before: object, after: object) -> None:
        item = node.items[index]
        if self._is_done(item, before, after) or self._descend(item, before, after):
            return
        dash = self._dash(node, index)
        if is_nested(after) and not item.flow and not self._comments(dash + 1, item):
            written = " " + self._style.item(after, node.column + 2)
        else:
            written = self._after_mark(dash, item, after, node.column, 2)
        self._edits.append((dash + 1, item.end, written))

    def _insert_items(self, node: SequenceNode, index: int, items: list[object]) -> None:
        indentation = "\n" + " " * node.column
        written = self._style.sequence(items, node.column)
        if index == 0:
            start = self._dash(node, 0)
            self._edits.append((start, start, written + indentation))
        else:
            end = self._end_of_line(node.items[index - 1].end)
            self._edits.append((end, end, indentation + written))

    def _delete_item(self, node: SequenceNode, index: int) -> None:
        dash = self._dash(node, index)
        start = self._end_of_line_before(dash)
        if self._text[start:dash].strip():
            raise _UnpatchableError  # a list in a list, on one line
        self._edits.append((start, self._end_of_line(node.items[index].end), ""))

    def _dash(self, node: SequenceNode, index: int) -> int:
        low = node.start if index == 0 else node.items[index - 1].end
        found = self._text.rfind("-", low, node.items[index].start)
        line = self._text.rfind("\n", 0, found) + 1
        if found < 0 or found - line != node.column:
            raise _UnpatchableError  # an anchor, a tag or a comment with a dash in it
        return found

    # --- text -------------------------------------------------------------------------------

    def _replace(self, node: Node, written: str) -> None:
        if node.start == node.end and self._text[node.start - 1 : node.start] in (":", "-"):
            written = " " + written
        self._edits.append((node.start, node.end, written))

    def _in_quotes_of(self, node: Node, value: Scalar) -> str:
        """A string in the quotes of the one it replaces, so that it can come back as it was."""
        quote = self._text[node.start : node.start + 1]
        if quote in ("'", '"') and isinstance(value, str):
            return write_quoted(value, quote)
        return write(value, flow=node.flow)

    def _end_of_line(self, index: int) -> int:
        end = self._text.find("\n", index)
        if end < 0:
            return len(self._text)
        return end - 1 if end > index and self._text[end - 1] == "\r" else end

    def _end_of_line_before(self, index: int) -> int:
        end = self._text.rfind("\n", 0, index)
        if end < 0:
            raise _UnpatchableError
        return end - 1 if self._text[end - 1 : end] == "\r" else end

    def _comments(self, start: int, node: Node) -> list[str]:
        """The comments from ``start`` to the end of ``node``: ``#`` outside every scalar."""
        comments = []
        for leaf in [*_leaves(node), None]:
            end = leaf.start if leaf else node.end
            for line in self._text[start:end].splitlines():
                _, mark, comment = line.partition("#")
                if mark:
                    comments.append(mark + comment.rstrip())
            start = leaf.end if leaf else end
        return comments


def _is_flow_collection(node: Node) -> bool:
    """Whether ``node`` has a flow style to keep: ``[]`` and ``{}`` have none."""
    return isinstance(node, _COLLECTIONS) and node.flow and bool(node.items)


def _previous(index: int, kept: Iterable[int]) -> int:
    return max((one for one in kept if one < index), default=-1)


def _identity(item: object) -> str:
    """What makes a list's item the same item: its name, where it has one, as containers do."""
    if isinstance(item, dict) and isinstance(item.get("name"), str):
        return f"name {item['name']}"
    return json.dumps(item, sort_keys=True)


def _children(node: Node) -> Iterator[Node]:
    if isinstance(node, MappingNode):
        for key, value in node.items:
            yield key
            yield value
    elif isinstance(node, SequenceNode):
        yield from node.items


def _leaves(node: Node) -> Iterator[Node]:
    """The scalars and aliases in ``node``, in the order of the text."""
    if isinstance(node, ScalarNode | AliasNode):
        yield node
    for child in _children(node):
        yield from _leaves(child)


def _with_aliases(node: Node) -> set[int]:
    """The nodes that are aliases, or have one in them."""
    found = set[int]()
    for child in _children(node):
        found |= _with_aliases(child)
    return found | {id(node)} if found or isinstance(node, AliasNode) else found


def _style_of(root: Node) -> Style:
    """How the document indents: by its first mapping in a mapping, and first list in one."""
    step = offset = None
    nodes = [root]
    for node in nodes:
        for key, value in node.items if isinstance(node, MappingNode) and not node.flow else []:
            if isinstance(value, _COLLECTIONS) and not value.flow:
                distance = value.column - key.column
                if isinstance(value, MappingNode) and step is None:
                    step = distance
                elif isinstance(value, SequenceNode) and offset is None:
                    offset = distance
        if step is not None and offset is not None:
            break
        nodes.extend(_children(node))
    return Style(step if step and step > 0 else 2, offset or 0)
