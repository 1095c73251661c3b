"""Random search: configurations drawn from distributions, so that each fit tries a new value of each parameter.

seed, name of an axis      --> a generator --> its draws --.
                                                            +--> the i-th configuration, unless it was drawn before
seed, name of another axis --> a generator --> its draws --'
                                                  ^-- of an axis that depends on others: a function of what was drawn so far
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from search.space.configuration import Configuration, canonical_value
from search.space.grid import ParameterGrid
from search.space.rounds import Configurations, ListedConfigurations, OneRound
from search.space.union import GridUnion
from tinygrad_lab.checks import is_positive_integer
from tinygrad_lab.seeds import stream

PATIENCE = 1000  # after so many known configurations in a row, no new one is expected


class RandomSampler(OneRound):
    """A number of distinct configurations, each value drawn from a list or a distribution.

    No configuration is fitted twice: where all axes are lists, combinations are drawn without replacement, and otherwise a
    configuration that was drawn before is replaced by a new draw. The draws depend on the search's seed. Each axis has its
    own generator, so adding an axis does not change the draws of the existing axes.

    Parameters
    ----------
    n : int
        How many configurations.
    space : mapping of str to axis, or sequence of these, optional
        The axes as one mapping, instead of keywords. Of several mappings, one is drawn first, as in scikit-learn: each is
        equally likely, and one that is listed twice is twice as likely.
    **axes : axis
        Name to a sequence of values, of which each is equally likely, or to a distribution: an object with
        ``rvs(random_state=...)``, such as ``scipy.stats.loguniform(1e-4, 1e-1)``.

        An axis that depends on others is a function. It is called with a dict of the values that were drawn for the names
        before it, and returns a sequence or a distribution, or None to leave its name out of the configuration.

    Raises
    ------
    TypeError
        If `space` is no mapping, or a value has a type that a configuration cannot hold.
    ValueError
        If `n` is less than one, or larger than the number of combinations; if there is no axis; or if an axis is empty, or is
        or returns something else.

    References
    ----------
    Bergstra and Bengio (2012), "Random search for hyper-parameter optimization", Journal of Machine Learning Research 13.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> sampler = RandomSampler(3, hidden=[(10, 10), (75, 50)], lr=loguniform(1e-3, 1e-1))
    >>> for configuration in sampler.candidates(seed=0):
    ...     print(configuration["hidden"], f"{configuration['lr']:.4f}")
    (10, 10) 0.0031
    (10, 10) 0.0204
    (10, 10) 0.0271

    Momentum for SGD only:

    >>> def momentum(drawn):
    ...     return [0.0, 0.9] if drawn["optimizer"] == "sgd" else None
    >>> for configuration in RandomSampler(3, optimizer=["sgd", "adam"], momentum=momentum).candidates(seed=0):
    ...     print(configuration)
    {'optimizer': 'adam'}
    {'optimizer': 'sgd', 'momentum': 0.0}
    {'optimizer': 'sgd', 'momentum': 0.9}
    """

    def __init__(self, n: int, space: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None, /, **axes: Any) -> None:
        if space is not None and axes:
            raise TypeError("RandomSampler: a mapping and keywords given, expected one of them")
        if not is_positive_integer(n):
            raise ValueError(f"RandomSampler: n={n!r}, expected how many configurations to draw, at least 1")
        given: Any = axes if space is None else space
        spaces = list(given) if isinstance(given, list | tuple) else [given]
        if not all(isinstance(each, Mapping) for each in spaces):
            raise TypeError(
                f"RandomSampler: {given!r} given, expected a mapping from names to values or distributions, or a list of these"
            )
        if not spaces or not all(spaces):
            raise ValueError(
                "RandomSampler: no axis given, expected at least one, such as lr=scipy.stats.loguniform(1e-3, 0.1)"
            )
        self.n = n
        self.spaces = [
            {name: values if _is_drawn(values) or callable(values) else _listed(name, values) for name, values in each.items()}
            for each in spaces
        ]
        sizes = [[len(x) if isinstance(x, tuple) else math.inf for x in each.values()] for each in self.spaces]
        listed = sum(map(math.prod, sizes)) <= sys.maxsize  # infinite if an axis is no list
        self._grid = GridUnion([ParameterGrid(each) for each in self.spaces]) if listed else None
        if self._grid is not None and n > len(self._grid):
            raise ValueError(
                f"RandomSampler: n={n} configurations of only {len(self._grid)}; give a smaller n, or a ParameterGrid"
            )
        self._candidates: dict[int, Configurations] = {}  # by seed, since a search calls `candidates` several times

    def __repr__(self) -> str:
        names = [", ".join(each) for each in self.spaces]
        return f"RandomSampler({self.n}, {names[0] if len(names) == 1 else ', '.join(f'[{each}]' for each in names)})"

    def candidates(self, seed: int) -> Configurations:
        """Return the configurations that a search with this seed tries.

        Raises
        ------
        ValueError
            If the distributions have fewer different configurations, or a function returns no axis.
        """
        if seed not in self._candidates:
            drawn = self._drawn(seed) if self._grid is None else self._from_lists(self._grid, seed)
            self._candidates[seed] = ListedConfigurations(drawn)
        return self._candidates[seed]

    def _from_lists(self, grid: GridUnion, seed: int) -> list[Configuration]:
        positions = _generator(seed, "all axes").choice(len(grid), self.n, replace=False)
        return [grid[position] for position in positions]

    def _drawn(self, seed: int) -> list[Configuration]:
        which = _generator(seed, "spaces", "which")
        generators = {name: _generator(seed, name) for each in self.spaces for name in each}
        drawn: dict[str, Configuration] = {}
        waited = 0
        while len(drawn) < self.n and waited < PATIENCE:
            configuration = _draw(self.spaces[which.integers(len(self.spaces))], generators)
            waited = waited + 1 if configuration.text in drawn else 0
            drawn.setdefault(configuration.text, configuration)
        if len(drawn) < self.n:
            raise ValueError(
                f"RandomSampler: n={self.n}, but {PATIENCE} draws found no more than {len(drawn)}; give a smaller n"
            )
        return list(drawn.values())


def call_axis(owner: str, name: str, axis: Callable[[dict[str, Any]], Any], chosen: Mapping[str, Any]) -> Any:
    """Return what an axis that depends on others is for the values that were chosen before it.

    Raises
    ------
    ValueError
        If it reads a name that was not chosen.

    Examples
    --------
    >>> call_axis("RandomSampler", "momentum", lambda chosen: [0.0, 0.9] if chosen["adam"] else None, {"lr": 0.1})
    Traceback (most recent call last):
    ValueError: RandomSampler: the function momentum reads 'adam', expected one of lr, chosen before it; list 'adam' earlier
    """
    try:
        return axis(dict(chosen))
    except KeyError as error:
        if not error.args or error.args[0] in chosen:
            raise
        raise ValueError(
            f"{owner}: the function {name} reads {error}, expected one of {', '.join(chosen) or 'no names'}, chosen before it; "
            f"list {error} earlier"
        ) from error


def _draw(space: Mapping[str, Any], generators: Mapping[str, np.random.Generator]) -> Configuration:
    chosen: dict[str, Any] = {}
    for name, axis in space.items():
        values, rng = axis, generators[name]
        if callable(axis) and not _is_drawn(axis):
            returned = call_axis("RandomSampler", name, axis, chosen)
            if returned is None:
                continue
            values = returned if _is_drawn(returned) else _listed(name, returned)
        drawn = values[rng.integers(len(values))] if isinstance(values, tuple) else values.rvs(random_state=rng)
        chosen[name] = canonical_value(name, drawn)
    return Configuration(chosen)


def _is_drawn(values: Any) -> bool:
    """Whether these are a distribution."""
    return callable(getattr(values, "rvs", None))


def _listed(name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, str | bytes) or not isinstance(values, Sequence | np.ndarray):
        raise ValueError(f"RandomSampler: {name}={values!r} is neither a sequence of values nor a distribution with rvs")
    return ParameterGrid({name: list(values)}).axes[name]


def _generator(seed: int, *names: str) -> np.random.Generator:
    return np.random.default_rng(stream(seed, *names))
