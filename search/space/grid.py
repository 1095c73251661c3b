"""The grid: every combination of some values for each name, in the order of `itertools.product`."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from operator import index
from typing import Any

import numpy as np

from search.space.configuration import Configuration, canonical_value, value_text
from search.space.rounds import Configurations, OneRound


class ParameterGrid(OneRound):
    """A strategy that fits all combinations of some values for each name, in one round.

    The last name varies fastest. Values become plain Python: NumPy scalars become Python scalars, lists become tuples.

    Parameters
    ----------
    mapping : mapping of str to sequence, optional
        The axes as one mapping, instead of keywords.
    **axes : sequence
        Name to values: None, bool, int, float, str, NumPy scalars, or nested tuples and lists of these.

    Attributes
    ----------
    axes : dict of str to tuple
        The values of each name in plain Python, in the given order.

    Raises
    ------
    TypeError
        If `mapping` is no mapping, or a value has a type that a configuration cannot hold.
    ValueError
        If there is no axis; or an axis is empty, is no sequence, is a string, or has a value twice.

    Examples
    --------
    >>> grid = ParameterGrid(hidden=[(10, 10), (75, 50)], lr=[0.1, 0.05])
    >>> len(grid)
    4
    >>> list(grid)[:2]
    [{'hidden': (10, 10), 'lr': 0.1}, {'hidden': (10, 10), 'lr': 0.05}]
    >>> grid[-1]
    {'hidden': (75, 50), 'lr': 0.05}
    >>> grid
    ParameterGrid(hidden=[(10, 10), (75, 50)], lr=[0.1, 0.05])
    """

    def __init__(self, mapping: Mapping[str, Sequence[Any]] | None = None, /, **axes: Sequence[Any]) -> None:
        if mapping is not None and axes:
            raise TypeError("ParameterGrid: a mapping and keywords given, expected one of them")
        given = axes if mapping is None else mapping
        if not isinstance(given, Mapping):
            raise TypeError(f"ParameterGrid: {given!r} given, expected a mapping from names to sequences of values")
        if not given:
            raise ValueError("ParameterGrid: no axis given, expected at least one, such as lr=[0.1, 0.05]")
        self.axes = {name: _axis(name, values) for name, values in given.items()}

    def __len__(self) -> int:
        return math.prod(len(values) for values in self.axes.values())

    def __iter__(self) -> Iterator[Configuration]:
        for values in product(*self.axes.values()):
            yield Configuration(dict(zip(self.axes, values, strict=True)))

    def __getitem__(self, position: int) -> Configuration:
        remainder = index(position)
        if remainder < 0:
            remainder += len(self)
        if not 0 <= remainder < len(self):
            raise IndexError(f"ParameterGrid: position {position} given, expected one below {len(self)}")
        chosen = []
        for values in reversed(self.axes.values()):
            remainder, i = divmod(remainder, len(values))
            chosen.append(values[i])
        return Configuration(dict(zip(self.axes, reversed(chosen), strict=True)))

    def candidates(self, seed: int) -> Configurations:  # noqa: ARG002
        return self

    def __repr__(self) -> str:
        axes = ", ".join(f"{name}={list(values)}" for name, values in self.axes.items())
        return f"ParameterGrid({axes})"


def _axis(name: str, values: Sequence[Any]) -> tuple[Any, ...]:
    """Return the canonical values of one axis, checked."""
    if type(name) is not str or not name:
        raise TypeError(f"ParameterGrid: name {name!r} given, expected a string that is not empty")
    if isinstance(values, str | bytes) or not isinstance(values, Sequence | np.ndarray):
        raise ValueError(f"ParameterGrid: {name}={values!r} is not a sequence of values, expected {name}=[...]")
    if len(values) == 0:
        raise ValueError(f"ParameterGrid: {name}=[] is empty, expected at least one value")
    canonical_values = tuple(canonical_value(name, value) for value in values)
    seen = set()
    for value in canonical_values:
        text = value_text(value)
        if text in seen:
            raise ValueError(f"ParameterGrid: {name} has {value!r} twice, expected each value once")
        seen.add(text)
    return canonical_values
