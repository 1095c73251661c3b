"""Successive halving: many configurations for a few epochs, the best of them for more, the best of those to the end.

    81 for 12 epochs --best third--> 27 for 37 --> 9 for 111 --> 3 for 333 --> 1 to the end, of 1000

*Does stopping change a training?* No. It is resumed from exactly the state it had, with the schedule and the engine of the
whole training. So a configuration that reaches the end has the same score as in a grid search, and no epoch is trained twice.
"""

from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

from search.space.rounds import Configurations, Round, RoundGenerator, Strategy, keep
from search.space.union import as_strategy
from tinygrad_lab.checks import is_positive_integer


class SuccessiveHalving:
    """Train all candidates for some epochs, the best 1/factor of them for factor times as many, and so on to the end.

    With n candidates, a round is added for each time that n can be divided by `factor`, unless that round would stop before
    `min_epochs`. The last round trains to the end. Only a `tinygrad_lab.Trainer` can be stopped and resumed.

    Parameters
    ----------
    candidates : ParameterGrid, RandomSampler, or iterable of ParameterGrid or mapping
        What to choose from.
    epochs : int
        The length of a whole training. The last round but one stops after 1/factor of it, the round before that after
        1/factor², and so on. In the last round, each configuration trains for its own number of epochs.
    factor : int, default=3
        At least 2. The best 1/factor of a round go on, rounded down, but at least one.
    min_epochs : int, default=1
        The fewest epochs after which losses are compared. After very few epochs, the loss does not yet show which learning
        rate is good.

    Raises
    ------
    TypeError
        If the candidates depend on losses, or one is no mapping.
    ValueError
        If a number is out of range, or there is no candidate, or one appears twice.

    References
    ----------
    Jamieson and Talwalkar (2016), "Non-stochastic best arm identification and hyperparameter optimization", AISTATS.
    Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar (2018), "Hyperband: a novel bandit-based approach to hyperparameter
    optimization", Journal of Machine Learning Research 18. Successive halving is one bracket of Hyperband.

    Examples
    --------
    >>> halving = SuccessiveHalving([{"lr": 1.0 / i} for i in range(1, 10)], epochs=100, factor=3)
    >>> halving.stops(n=9)
    [11, 33]
    >>> rounds = halving.rounds(seed=0)
    >>> len(next(rounds).configurations)
    9
    >>> rounds.send([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]).configurations
    [{'lr': 0.14285714285714285}, {'lr': 0.125}, {'lr': 0.1111111111111111}]
    """

    def __init__(
        self, candidates: Strategy | Iterable[Mapping[str, Any]], epochs: int, factor: int = 3, min_epochs: int = 1
    ) -> None:
        for name, value, least in (("epochs", epochs, 1), ("factor", factor, 2), ("min_epochs", min_epochs, 1)):
            if not is_positive_integer(value) or value < least:
                raise ValueError(f"SuccessiveHalving: {name}={value!r}, expected an integer of at least {least}")
        if min_epochs > epochs:
            raise ValueError(f"SuccessiveHalving: min_epochs={min_epochs}, expected at most epochs={epochs}")
        self._candidates = as_strategy(candidates)
        if not len(self.candidates(0)):
            raise TypeError(
                f"SuccessiveHalving: {candidates!r} has no candidates beforehand, expected a grid or a RandomSampler"
            )
        self.epochs = epochs
        self.factor = factor
        self.min_epochs = min_epochs

    def __repr__(self) -> str:
        return (
            f"SuccessiveHalving({self._candidates!r}, epochs={self.epochs}, factor={self.factor}, min_epochs={self.min_epochs})"
        )

    def describe(self) -> str:
        return f"successive halving of {self.epochs} epochs by {self.factor}, from {self.min_epochs}"

    def candidates(self, seed: int) -> Configurations:
        return self._candidates.candidates(seed)

    def stops(self, n: int) -> list[int]:
        """Return the epochs after which n candidates are compared; those that remain after the last one train to the end."""
        stops = [self.epochs]
        while n >= self.factor and stops[0] // self.factor >= self.min_epochs:
            n //= self.factor
            stops.insert(0, self.epochs // self.factor ** len(stops))
        return stops[:-1]

    def rounds(self, seed: int) -> RoundGenerator:
        remaining: Configurations = keep(self.candidates(seed))
        for epochs in self.stops(len(remaining)):
            losses = yield Round(remaining, epochs)
            # Equal losses are ordered by the configurations' texts, so the order of the candidates has no effect.
            pairs = enumerate(zip(losses, remaining, strict=True))
            ranked = sorted((loss, configuration.text, i) for i, (loss, configuration) in pairs if loss < inf)
            chosen = sorted(i for _, _, i in ranked[: max(1, len(remaining) // self.factor)])
            remaining = [remaining[i] for i in chosen]
        yield Round(remaining)
