"""What a user may give as a strategy: a strategy, configurations, or several grids, of which this file makes the union.

[ParameterGrid(optimizer=["sgd"], momentum=[0.0, 0.9]), ParameterGrid(optimizer=["adam"], lr=[0.1, 0.01])]
    --as_strategy--> GridUnion of 4 configurations, each once

A union of overlapping grids is stored as disjoint grids, so that no configuration has to be enumerated to count it or find it.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain
from operator import index
from typing import Any

import numpy as np

from search.space.configuration import Configuration, value_text
from search.space.grid import ParameterGrid
from search.space.rounds import Configurations, ListedConfigurations, OneRound, Strategy
from tinygrad_lab.returned import describe


class GridUnion(OneRound):
    """A strategy that fits the configurations of several grids, each configuration once.

    Configurations are in the order of the grids. A grid that overlaps an earlier one is split into disjoint parts.

    Parameters
    ----------
    grids : sequence of ParameterGrid

    Attributes
    ----------
    grids : tuple of ParameterGrid
        As given.
    parts : tuple of ParameterGrid
        Disjoint grids of the same configurations.

    Examples
    --------
    >>> union = GridUnion([ParameterGrid(lr=[1, 2], l1=[0, 1]), ParameterGrid(lr=[2, 3], l1=[1])])
    >>> len(union), union[-1]
    (5, {'lr': 3, 'l1': 1})
    """

    def __init__(self, grids: Sequence[ParameterGrid]) -> None:
        self.grids = tuple(grids)
        parts: list[ParameterGrid] = []
        for grid in self.grids:
            new = [grid]
            for known in tuple(parts):
                new = list(chain.from_iterable(_without(part, known) for part in new))
            parts += new
        self.parts = tuple(parts)
        self._ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1]

    def __iter__(self) -> Iterator[Configuration]:
        return chain.from_iterable(self.parts)

    def __getitem__(self, position: int) -> Configuration:
        i = index(position)
        if i < 0:
            i += len(self)
        if not 0 <= i < len(self):
            raise IndexError(f"grids: position {position} given, expected one below {len(self)}")
        part = bisect_right(self._ends, i)
        return self.parts[part][i - self._ends[part]]  # a negative position, from the end of the part

    def __repr__(self) -> str:
        return f"[{', '.join(map(repr, self.grids))}]"

    def candidates(self, seed: int) -> Configurations:  # noqa: ARG002
        return self


def as_strategy(given: Strategy | Iterable[Mapping[str, Any]]) -> Strategy:
    """Return a strategy as it is, and grids or configurations in an iterable as a strategy that fits each configuration once.

    An item of a list is a grid if it is a `ParameterGrid`, or a mapping in which every value is a list or an array, as in
    scikit-learn. A mapping without lists is a configuration; a value that has several numbers is a tuple there. A mapping that
    could be meant either way is refused.

    Parameters
    ----------
    given : Strategy, or iterable of ParameterGrid or mapping

    Raises
    ------
    TypeError
        If it is neither of the two, or is a single mapping, such as the axes of a grid.
    ValueError
        If a mapping has lists beside other values, or an iterable that is no list yields a mapping with lists. If there is no
        configuration, or one is listed twice.

    Examples
    --------
    >>> as_strategy([{"lr": 0.1}])
    ListedConfigurations([{'lr': 0.1}])
    >>> as_strategy([{"hidden": (4, 8)}])
    ListedConfigurations([{'hidden': (4, 8)}])
    >>> as_strategy([{"hidden": [4, 8]}, {"hidden": [(4, 8)], "lr": [0.1]}])
    [ParameterGrid(hidden=[4, 8]), ParameterGrid(hidden=[(4, 8)], lr=[0.1])]
    """
    if isinstance(given, type):
        raise TypeError(f"grid: the class {given.__name__} given, expected an object: {given.__name__}(...)")
    methods = ("rounds", "candidates", "describe")
    missing = [name for name in methods if not callable(getattr(given, name, None))]
    if not missing:
        text = given.describe()  # type: ignore[union-attr]
        if not isinstance(text, str):
            raise TypeError(f"{type(given).__name__}: describe returned {describe(text)}, expected a text")
        return given  # type: ignore[return-value]
    if len(missing) < len(methods):
        raise TypeError(f"{type(given).__name__}: no method {' and '.join(missing)}, which a strategy has; see search.Strategy")
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise TypeError(
            f"grid: {given!r} given, expected a ParameterGrid, another strategy, or configurations in a list, or several grids"
        )
    may_be_grids = isinstance(given, list | tuple)
    items = [_as_grid(item, may_be_grids) for item in given]
    if not any(isinstance(item, ParameterGrid) for item in items):
        return ListedConfigurations(items)
    grids = [item if isinstance(item, ParameterGrid) else _single(item) for item in items]
    return grids[0] if len(grids) == 1 else GridUnion(grids)


def _as_grid(item: Any, may_be_grid: bool) -> Any:
    """Return a mapping of lists as a grid, and a grid or a configuration as it is."""
    if not isinstance(item, Mapping) or isinstance(item, Configuration):
        return item
    lists = [name for name, value in item.items() if isinstance(value, list | range | np.ndarray)]
    if may_be_grid and len(lists) == len(item) > 0:
        return ParameterGrid(item)
    if lists:
        raise ValueError(
            f"grid: a mapping with the list {lists[0]} given, which may be a grid or a configuration; expected a tuple for one "
            f"value of a configuration, {lists[0]}=(...), or grids: a list of mappings in which every value is a list"
        )
    return item


def _single(configuration: Mapping[str, Any]) -> ParameterGrid:
    """Return the grid of one configuration."""
    if not isinstance(configuration, Mapping):
        raise TypeError(f"grid: {configuration!r} given in a list of grids, expected a ParameterGrid or a mapping")
    return ParameterGrid({name: [value] for name, value in configuration.items()})


def _without(grid: ParameterGrid, other: ParameterGrid) -> list[ParameterGrid]:
    """Return disjoint grids of the configurations of `grid` that are not in `other`.

    For two axes, A1 x A2 without B1 x B2 is (A1 - B1) x A2 together with (A1 & B1) x (A2 - B2).
    """
    if grid.axes.keys() != other.axes.keys():
        return [grid]
    parts = []
    remaining: dict[str, Sequence[Any]] = dict(grid.axes)
    for name, values in grid.axes.items():
        texts = set(map(value_text, other.axes[name]))
        shared = [value for value in values if value_text(value) in texts]
        if not shared:
            return [grid]
        if len(shared) < len(values):
            different = [value for value in values if value_text(value) not in texts]
            parts.append(ParameterGrid(remaining | {name: different}))
        remaining[name] = shared
    return parts
