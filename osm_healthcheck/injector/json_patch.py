"""JSON Patch (RFC 6902): the few operations that lead from one object to another.

Only ``add``, ``remove`` and ``replace`` are made. A library of the general case takes milliseconds
for a pod; here lists are compared by what pods have in them, containers that carry a name.
"""

from collections.abc import Sequence
from typing import Any

Operation = dict[str, Any]
_NOTHING = object()


class PatchError(ValueError):
    """An operation does not fit the document that it is applied to."""


def difference(before: Any, after: Any, path: str = "") -> list[Operation]:
    """The operations that make ``after`` of ``before``; values are not copied."""
    operations: list[Operation] = []
    _add_difference(operations, before, after, path)
    return operations


def apply(document: Any, operations: Sequence[Operation]) -> Any:
    """What ``document`` is after ``operations``; itself it stays as it is.

    Mappings and lists are copied where an operation changes them, and shared where none does.

    Raises:
        PatchError: where one names what is not there.
    """
    for operation in operations:
        path = operation["path"]
        try:
            parts = path.split("/")[1:]
            if "~" in path:
                parts = [_unescaped(part) for part in parts]
            document = _applied(document, parts, operation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise PatchError(f"{operation['op']} {path}: no such place: {error}") from None
    return document


def _add_difference(operations: list[Operation], before: Any, after: Any, path: str) -> None:
    if before is after or before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        removed = before.keys() - after.keys()
        operations += [{"op": "remove", "path": f"{path}/{_escaped(key)}"} for key in removed]
        for key, value in after.items():
            if (was := before.get(key, _NOTHING)) is value:
                continue
            inner = f"{path}/{_escaped(key)}"
            if was is not _NOTHING:
                _add_difference(operations, was, value, inner)
            else:
                operations.append({"op": "add", "path": inner, "value": value})
    elif isinstance(before, list) and isinstance(after, list):
        _add_list_difference(operations, before, after, path)
    else:
        operations.append({"op": "replace", "path": path, "value": after})


def _add_list_difference(
    operations: list[Operation], before: list[Any], after: list[Any], path: str
) -> None:
    """What stands at both ends of both lists stays; what is between is removed and added."""
    shorter = min(len(before), len(after))
    first = 0
    while first < shorter and _is_same(before[first], after[first]):
        first += 1
    last = 0
    while last < shorter - first and _is_same(before[-1 - last], after[-1 - last]):
        last += 1
    operations += [
        {"op": "remove", "path": f"{path}/{index}"}
        for index in reversed(range(first, len(before) - last))
    ]
    operations += [
        {"op": "add", "path": f"{path}/{index}", "value": after[index]}
        for index in range(first, len(after) - last)
    ]
    for index in range(first):
        _add_difference(operations, before[index], after[index], f"{path}/{index}")
    for index in range(len(after) - last, len(after)):
        was = before[index + len(before) - len(after)]
        _add_difference(operations, was, after[index], f"{path}/{index}")


def _is_same(one: Any, other: Any) -> bool:
    """Whether two entries are one thing, changed or not: of the same name, or else equal."""
    if isinstance(one, dict) and isinstance(other, dict) and "name" in one:
        return bool(one["name"] == other.get("name", _NOTHING))
    return bool(one == other)


def _applied(target: Any, parts: Sequence[str], operation: Operation) -> Any:
    """``target`` after an ``operation`` on what stands at ``parts`` in it."""
    if not parts:
        return operation["value"]
    place = _index(target, parts[0])
    changed = target.copy()
    if len(parts) > 1:
        changed[place] = _applied(target[place], parts[1:], operation)
    elif operation["op"] == "add" and isinstance(changed, list):
        if place > len(changed):
            raise IndexError(place)
        changed.insert(place, operation["value"])
    elif operation["op"] == "remove":
        del changed[place]
    else:
        if operation["op"] == "replace":
            _ = target[place]  # only what is there can be replaced
        changed[place] = operation["value"]
    return changed


def _index(target: Any, part: str) -> Any:
    if isinstance(target, dict):
        return part
    if isinstance(target, list):
        return int(part)
    raise TypeError(f"{part} of a {type(target).__name__}")


def _escaped(key: str) -> str:
    """RFC 6901 section 3."""
    return key.replace("~", "~0").replace("/", "~1")


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
