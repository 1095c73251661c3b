"""Random search: configurations drawn from distributions, so that each fit tries a new value of each parameter.

seed, name of an axis      --> a generator --> its draws --.
                                                            +--> the i-th configuration, unless it was drawn before
seed, name of another axis --> a generator --> its draws --'
"""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from search.space.configuration import Configuration
from search.space.grid import ParameterGrid
from search.space.rounds import Configurations, ListedConfigurations, OneRound
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
    mapping : mapping of str to sequence or distribution, optional
        The axes as one mapping, instead of keywords.
    **axes : sequence or distribution
        Name to a sequence of values, of which each is equally likely, or to a distribution: an object with
        ``rvs(random_state=...)``, such as ``scipy.stats.loguniform(1e-4, 1e-1)``.

    Raises
    ------
    TypeError
        If `mapping` is no mapping, or a value has a type that a configuration cannot hold.
    ValueError
        If `n` is less than one, or larger than the number of combinations; if there is no axis; or if an axis is empty, or
        neither a sequence nor a distribution.

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
    """

    def __init__(self, n: int, mapping: Mapping[str, Any] | None = None, /, **axes: Any) -> None:
        if mapping is not None and axes:
            raise TypeError("RandomSampler: a mapping and keywords given, expected one of them")
        if not is_positive_integer(n):
            raise ValueError(f"RandomSampler: n={n!r}, expected how many configurations to draw, at least 1")
        given = axes if mapping is None else mapping
        if not isinstance(given, Mapping):
            raise TypeError(f"RandomSampler: {given!r} given, expected a mapping from names to values or distributions")
        if not given:
            raise ValueError(
                "RandomSampler: no axis given, expected at least one, such as lr=scipy.stats.loguniform(1e-3, 0.1)"
            )
        self.n = n
        self.axes = {
            name: values if callable(getattr(values, "rvs", None)) else _listed(name, values) for name, values in given.items()
        }
        # Infinite if an axis is a distribution.
        self._combinations = math.prod(len(x) if isinstance(x, tuple) else math.inf for x in self.axes.values())
        if n > self._combinations:
            raise ValueError(
                f"RandomSampler: n={n} configurations of only {self._combinations}; give a smaller n, or a ParameterGrid"
            )
        self._candidates: dict[int, Configurations] = {}  # by seed, since a search calls `candidates` several times

    def __repr__(self) -> str:
        return f"RandomSampler({self.n}, {', '.join(self.axes)})"

    def candidates(self, seed: int) -> Configurations:
        """Return the configurations that a search with this seed tries.

        Raises
        ------
        ValueError
            If the distributions have fewer different configurations.
        """
        if seed not in self._candidates:
            drawn = self._from_lists(seed) if self._combinations <= sys.maxsize else self._drawn(seed)
            self._candidates[seed] = ListedConfigurations(drawn)
        return self._candidates[seed]

    def _from_lists(self, seed: int) -> list[Configuration]:
        grid = ParameterGrid(self.axes)
        positions = _generator(seed, "all axes").choice(len(grid), self.n, replace=False)
        return [grid[position] for position in positions]

    def _drawn(self, seed: int) -> list[Configuration]:
        generators = {name: _generator(seed, name) for name in self.axes}
        drawn: dict[str, Configuration] = {}
        waited = 0
        while len(drawn) < self.n and waited < PATIENCE:
            configuration = Configuration({name: _draw(values, generators[name]) for name, values in self.axes.items()})
            waited = waited + 1 if configuration.text in drawn else 0
            drawn.setdefault(configuration.text, configuration)
        if len(drawn) < self.n:
            raise ValueError(
                f"RandomSampler: n={self.n}, but {PATIENCE} draws found no more than {len(drawn)}; give a smaller n"
            )
        return list(drawn.values())


def _listed(name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, str | bytes) or not isinstance(values, Sequence | np.ndarray):
        raise ValueError(f"RandomSampler: {name}={values!r} is neither a sequence of values nor a distribution with rvs")
    return ParameterGrid({name: list(values)}).axes[name]


def _generator(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng(stream(seed, name))


def _draw(values: Any, rng: np.random.Generator) -> Any:
    return values[rng.integers(len(values))] if isinstance(values, tuple) else values.rvs(random_state=rng)
