"""Nests: lists, tuples and dicts of arrays, which are an argument or a result of a function.

    {"w": w, "b": [b, c]} --leaves--> w, b, c --rebuild--> {"w": ..., "b": [..., ...]}

A list or tuple of numbers is an array, as everywhere. It is a nest if a Tensor, an ndarray or a nest is in it. None is a nest
without leaves.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np


def _items(x: Any) -> list[tuple[Any, Any]] | None:
    """Return the keys and values of a nest, or None for a leaf."""
    if x is None:
        return []
    if isinstance(x, dict):
        return list(x.items())
    if isinstance(x, (list, tuple)) and any(isinstance(y, (dict, np.ndarray)) or hasattr(y, "__op__") or _items(y) for y in x):
        return list(enumerate(x))
    return None


def leaves(name: str, x: Any, shape_of: Any) -> list[tuple[str, Any]]:
    """List the leaves of `x`, which is nested as `shape_of` is, each with its place: ``name['w'][0]``.

    Raises
    ------
    ValueError
        If `x` is nested in another way.

    Examples
    --------
    >>> layer = {"w": np.ones(2), "b": (np.zeros(1), None)}
    >>> leaves("x", layer, layer)
    [("x['w']", array([1., 1.])), ("x['b'][0]", array([0.]))]
    """
    items = _items(shape_of)
    if items is None:
        return [(name, x)]
    keys = range(len(x)) if isinstance(x, (list, tuple)) else x
    if type(x) is not type(shape_of) or (items and {*keys} != {key for key, _ in items}):
        wanted = f"keys {', '.join(map(repr, shape_of))}" if isinstance(shape_of, dict) else f"{len(items)} items"
        raise ValueError(f"{name} is {type(x).__name__}, expected {type(shape_of).__name__} with {wanted}")
    return [leaf for key, part in items for leaf in leaves(f"{name}[{key!r}]", x[key], part)]


def rebuild(shape_of: Any, values: Iterator[Any]) -> Any:
    """Return a nest like `shape_of` with other leaves, in the same order.

    Examples
    --------
    >>> rebuild({"w": np.ones(2), "b": (np.zeros(1), None)}, iter("ab"))
    {'w': 'a', 'b': ('b', None)}
    """
    items = _items(shape_of)
    if items is None:
        return next(values)
    if isinstance(shape_of, dict):
        twin = copy.copy(shape_of)
        twin.update((key, rebuild(part, values)) for key, part in items)
        return twin
    if shape_of is None:
        return None
    parts = [rebuild(part, values) for _, part in items]
    return type(shape_of)(*parts) if hasattr(shape_of, "_fields") else type(shape_of)(parts)
