"""The names of what the parts of a network own: Tensors, buffers, random inputs.

    layer --walk--> its fields, their fields, ... --> Found: keys, owner, value

For example, the keys ("blocks", 0, "weight") lead to a Tensor of a Linear, whose name is "blocks.0.weight".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import NoneType
from typing import Any, NamedTuple

import numpy as np

from tinygrad_lab.contents import children

DEEPEST = 100
"""How deeply layers may be nested. Each level takes some levels of Python's stack when the layers are called."""


PLAIN = {NoneType, bool, int, float, str, np.ndarray}
"""Types of which most attributes are. They hold nothing to be found, and to ask what else they are takes longer."""


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


def walk(
    part: Any,
    kinds: tuple[type, ...],
    parts: tuple[type, ...],
    path: tuple[Any, ...] = (),
    owner: str = "",
    above: tuple[Any, ...] = (),
) -> Iterator[Found]:
    """Yield the objects of some kinds among the attributes of a part, in the order in which they were set.

    Parameters
    ----------
    part : object
        A part, such as a layer, or a list, tuple or dict.
    kinds : tuple of type
        What is looked for.
    parts : tuple of type
        The types whose attributes are searched too. Lists, tuples and dicts always are.
    path, owner, above
        Where the walk is: keys, the class of the part, and what contains it.

    Raises
    ------
    ValueError
        If something contains itself, or is nested too deeply.
    """
    is_part = not isinstance(part, (dict, list, tuple))
    owner = type(part).__name__ if is_part else owner
    for key, value in children(vars(part) if is_part else part):
        if type(value) in PLAIN:
            continue
        keys = (*path, key)
        if isinstance(value, kinds):
            yield Found(keys, owner, value)
        elif isinstance(value, (dict, list, tuple, *parts)):
            inner = Found(keys, type(value).__name__, value)
            if any(value is outer for outer in (*above, part)):
                raise ValueError(f"{inner.owner}: {inner.name} contains itself, expected no circle; remove that reference")
            if len(above) >= DEEPEST:
                raise ValueError(
                    f"{inner.owner}: {'.'.join(map(str, keys[:3]))}... has {DEEPEST + 1} levels of layers, "
                    f"expected at most {DEEPEST}; give Sequential all layers in one call"
                )
            yield from walk(value, kinds, parts, keys, owner, (*above, part))


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
