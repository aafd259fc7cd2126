"""JSON Patch (RFC 6902): the few operations that lead from one object to another.

Only ``add``, ``remove`` and ``replace`` are made. A library of the general case takes milliseconds
for a pod; here lists are compared by what pods have in them, containers that carry a name.
"""

from collections.abc import Iterator, Sequence
from typing import Any

Operation = dict[str, Any]
_NOTHING = object()


class PatchError(ValueError):
    """An operation does not fit the document that it is applied to."""


def difference(before: Any, after: Any, path: str = "") -> list[Operation]:
    """The operations that make ``after`` of ``before``; values are not copied."""
    return list(_difference(before, after, path))


def apply(document: Any, operations: Sequence[Operation]) -> Any:
    """Apply ``operations`` to ``document`` in place, and return what it is then.

    Raises:
        PatchError: where one names what is not there; the ones before it have been applied.
    """
    for operation in operations:
        document = _apply(document, operation)
    return document


def _difference(before: Any, after: Any, path: str) -> Iterator[Operation]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before.keys() - after.keys():
            yield {"op": "remove", "path": f"{path}/{_escaped(key)}"}
        for key, value in after.items():
            inner = f"{path}/{_escaped(key)}"
            if key in before:
                yield from _difference(before[key], value, inner)
            else:
                yield {"op": "add", "path": inner, "value": value}
    elif isinstance(before, list) and isinstance(after, list):
        yield from _list_difference(before, after, path)
    else:
        yield {"op": "replace", "path": path, "value": after}


def _list_difference(before: list[Any], after: list[Any], path: str) -> Iterator[Operation]:
    """What stands at both ends of both lists stays; what is between is removed and added."""
    shorter = min(len(before), len(after))
    first = 0
    while first < shorter and _is_same(before[first], after[first]):
        first += 1
    last = 0
    while last < shorter - first and _is_same(before[-1 - last], after[-1 - last]):
        last += 1
    for index in reversed(range(first, len(before) - last)):
        yield {"op": "remove", "path": f"{path}/{index}"}
    for index in range(first, len(after) - last):
        yield {"op": "add", "path": f"{path}/{index}", "value": after[index]}
    for index in range(first):
        yield from _difference(before[index], after[index], f"{path}/{index}")
    for index in range(len(after) - last, len(after)):
        was = before[index + len(before) - len(after)]
        yield from _difference(was, after[index], f"{path}/{index}")


def _is_same(one: Any, other: Any) -> bool:
    """Whether two entries are one thing, changed or not: of the same name, or else equal."""
    if isinstance(one, dict) and isinstance(other, dict) and "name" in one:
        return bool(one["name"] == other.get("name", _NOTHING))
    return bool(one == other)


def _apply(document: Any, operation: Operation) -> Any:
    path = operation["path"]
    if not path:
        return operation["value"]
    *parents, key = (_unescaped(part) for part in path.split("/")[1:])
    target = document
    try:
        for part in parents:
            target = target[_index(target, part)]
        place = _index(target, key)
        if operation["op"] == "add" and isinstance(target, list):
            if place > len(target):
                raise IndexError(place)
            target.insert(place, operation["value"])
        elif operation["op"] == "add":
            target[place] = operation["value"]
        elif operation["op"] == "remove":
            del target[place]
        else:
            _ = target[place]  # only what is there can be replaced
            target[place] = operation["value"]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise PatchError(f"{operation['op']} {path}: no such place: {error}") from None
    return document


def _index(target: Any, part: str) -> Any:
    if isinstance(target, list):
        return int(part)
    if isinstance(target, dict):
        return part
    raise TypeError(f"{part} of a {type(target).__name__}")


def _escaped(key: str) -> str:
    """RFC 6901 section 3."""
    return key.replace("~", "~0").replace("/", "~1")


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
