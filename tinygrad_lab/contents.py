"""What an object consists of.

    object --children--> [(key, part), ...] --children--> ...

The caller decides which parts are leaves, and what to do with them. The only method of the object that runs is
`__getstate__`, or `items` if it is a mapping.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from types import MethodType
from typing import Any


def children(x: Any) -> list[tuple[Any, Any]]:
    """List the parts of an object in their order, each with its key.

    The parts are the values of a mapping, the items of a list or tuple, the function and arguments of a
    `functools.partial`, and the object of a bound method. Any other object consists of the attributes that pickle would
    store, those in slots included. An object without parts, such as a number, has an empty list.

    Examples
    --------
    >>> children({"a": 1, "b": [2, 3]})
    [('a', 1), ('b', [2, 3])]
    >>> children([2, 3])
    [(0, 2), (1, 3)]
    >>> children(partial(max, 1, key=abs))
    [('func', <built-in function max>), ('args', (1,)), ('keywords', {'key': <built-in function abs>})]
    >>> children(5)
    []
    """
    if isinstance(x, Mapping):
        return list(x.items())
    if isinstance(x, (list, tuple)):
        return list(enumerate(x))
    if isinstance(x, partial):
        return [(name, getattr(x, name)) for name in ("func", "args", "keywords")]
    if isinstance(x, MethodType):
        return [("__self__", x.__self__)]
    return attributes(x)


def attributes(x: Any) -> list[tuple[str, Any]]:
    """List the attributes of an object as pickle would store them, those in slots last.

    Examples
    --------
    >>> class Point:
    ...     __slots__ = ("x", "y", "__dict__")
    >>> point = Point()
    >>> point.x, point.name = 1, "a"
    >>> attributes(point)
    [('name', 'a'), ('x', 1)]
    """
    try:
        state = x.__getstate__()
    except Exception:  # x is a class, or its own method raised
        return []
    fields = state if isinstance(state, tuple) else (state,)  # a tuple: first the attributes, then those in slots
    return [item for part in fields if isinstance(part, Mapping) for item in part.items()]


def contains(x: Any, sought: Any, leaves: tuple[type, ...] = ()) -> bool:
    """Whether an object is a part of another at any depth, or an element of a set or deque in it.

    Parameters
    ----------
    x, sought : object
    leaves : tuple of type
        The types of objects whose parts are not searched.

    Examples
    --------
    >>> sought = [1]
    >>> contains({"a": (0, {"b": sought})}, sought), contains({"a": [1]}, sought)
    (True, False)
    """
    return any(part is sought for part in parts_of(x, leaves))


def parts_of(x: Any, leaves: tuple[type, ...] = ()) -> Iterator[Any]:
    """Yield an object and its parts at any depth, each once, with the elements of sets and deques.

    Parameters
    ----------
    x : object
    leaves : tuple of type
        The types of objects whose parts are not searched.

    Examples
    --------
    >>> list(parts_of({"a": (0, [1])}))
    [{'a': (0, [1])}, (0, [1]), [1], 1, 0]
    """
    met: dict[int, Any] = {}  # with the objects, so that no new one gets the id of another
    stack = [x]
    while stack:
        part = stack.pop()
        if id(part) in met:
            continue
        met[id(part)] = part
        yield part
        if not isinstance(part, leaves):
            stack += part if isinstance(part, (set, frozenset, deque)) else [inner for _, inner in children(part)]
