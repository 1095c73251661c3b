"""The names of what the parts of a network own: Tensors, buffers, random inputs.

    layer --walk--> its fields, their fields, ... --> Found: keys, owner, value

For example, the keys ("blocks", 0, "weight") lead to a Tensor of a Linear, whose name is "blocks.0.weight".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from tinygrad_lab.contents import children

DEEPEST = 100
"""How deeply layers may be nested. Each level takes some levels of Python's stack when the layers are called."""


class Found(NamedTuple):
    """A value that `walk` has found.

    Attributes
    ----------
    keys : tuple
        The attributes, positions and keys that lead to it.
    owner : str
        The class of the part that has it.
    value : object
    """

    keys: tuple[Any, ...]
    owner: str
    value: Any

    @property
    def name(self) -> str:
        """The keys with dots between them."""
        return ".".join(map(str, self.keys))


def walk(part: Any, kinds: tuple[type, ...], parts: tuple[type, ...]) -> Iterator[Found]:
    """Yield the objects of some kinds among the attributes of a part, in the order in which they were set.

    Parameters
    ----------
    part : object
        A part, such as a layer, or a list, tuple or dict.
    kinds : tuple of type
        What is looked for.
    parts : tuple of type
        The types whose attributes are searched too. Lists, tuples and dicts always are.

    Raises
    ------
    ValueError
        If something contains itself, or is nested too deeply.
    """
    # An explicit stack, as a generator in a generator takes longer: keys, class of the part, what contains it, what is left.
    path: tuple[Any, ...] = ()
    above: tuple[Any, ...] = (part,)
    stack = [(path, _owner(part, ""), above, iter(_fields(part)))]
    while stack:
        path, owner, above, fields = stack[-1]
        for key, value in fields:
            kind: Any = type(value)
            role = _role(kind, kinds, parts)
            if role == "found":
                yield Found((*path, key), owner, value)
            elif role == "searched":
                inner = Found((*path, key), type(value).__name__, value)
                if any(value is outer for outer in above):
                    raise ValueError(f"{inner.owner}: {inner.name} contains itself, expected no circle; remove that reference")
                if len(above) > DEEPEST:
                    raise ValueError(
                        f"{inner.owner}: {'.'.join(map(str, inner.keys[:3]))}... has {DEEPEST + 1} levels of layers, "
                        f"expected at most {DEEPEST}; give Sequential all layers in one call"
                    )
                stack.append((inner.keys, _owner(value, owner), (*above, value), iter(_fields(value))))
                break
        else:
            stack.pop()


@lru_cache(1024)
def _role(kind: type, kinds: tuple[type, ...], parts: tuple[type, ...]) -> str:
    """Return what a walk does with the objects of a class. To ask each time takes longer, as `Layer` is an abstract class."""
    if issubclass(kind, kinds):
        return "found"
    return "searched" if issubclass(kind, (dict, list, tuple, *parts)) else "passed over"


def _fields(part: Any) -> list[tuple[Any, Any]]:
    return children(part if isinstance(part, (dict, list, tuple)) else vars(part))


def _owner(part: Any, outer: str) -> str:
    return outer if isinstance(part, (dict, list, tuple)) else type(part).__name__


def by_name(part: Any, found: Iterable[Found]) -> dict[str, Any]:
    """Return the values of a part by their names.

    Raises
    ------
    ValueError
        If two of them have the same name.
    """
    named: dict[str, Found] = {}
    for one in found:
        if one.name in named:
            other = named[one.name]
            raise ValueError(
                f"{type(part).__name__}: {one.name!r} names two Tensors, {other.keys} of {other.owner} and {one.keys} of "
                f"{one.owner}, expected one; rename a key or an attribute"
            )
        named[one.name] = one
    return {name: one.value for name, one in named.items()}
