"""Rounds: how a strategy and the search exchange configurations and losses.

    strategy --a Round of configurations--> search: fits them on every fold --their mean losses--> strategy --the next Round-->

A strategy receives only the mean losses of a complete round, in the order of its configurations. So what it proposes depends on
the seed and on results, not on workers or on the order in which fits end. When a search is resumed, the strategy proposes the
same rounds again, and the store has their results.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

from search.space.configuration import Configuration, as_configuration
from tinygrad_lab.checks import is_positive_integer
from tinygrad_lab.returned import describe

MOST_KEPT = 10_000  # configurations of a round, which take about 6 MB


class Configurations(Protocol):
    """A sequence of distinct configurations. It may make them on demand, so that they need not all be in memory."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Configuration]: ...

    def __getitem__(self, position: int, /) -> Configuration: ...


class KeptConfigurations:
    """The configurations of a round. Each is made when it is first used and then kept, so its text is computed once.

    Configurations at higher positions than MOST_KEPT are made each time, so that those of a large grid are not all in memory.

    Parameters
    ----------
    given : sequence of mapping
        The round's configurations. A user's strategy may give plain dicts.
    """

    def __init__(self, given: Configurations) -> None:
        self._given = given
        self._made: dict[int, Configuration] = {}

    def __len__(self) -> int:
        return len(self._given)

    def __iter__(self) -> Iterator[Configuration]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, position: int, /) -> Configuration:
        known = self._made.get(position)
        if known is not None:
            return known
        configuration = as_configuration(self._given[position])
        if position < MOST_KEPT:
            self._made[position] = configuration
        return configuration


def keep(given: Configurations) -> KeptConfigurations:
    """Return configurations so that each is made once. Those that are kept already are returned as they are."""
    return given if isinstance(given, KeptConfigurations) else KeptConfigurations(given)


@dataclass(frozen=True)
class Round:
    """What a strategy wants to be fitted next.

    Attributes
    ----------
    configurations : sequence of mapping
        Each once.
    epochs : int or None
        After how many epochs training stops. A longer next round resumes from there. None trains each configuration to its
        end. Configurations that reach no such round are ranked as stopped, below the finished ones; among them, the one
        trained longest comes first.

    Raises
    ------
    ValueError
        If `epochs` is neither a positive integer nor None.

    Examples
    --------
    >>> Round([{"lr": 0.1}, {"lr": 0.2}], epochs=10)
    Round(configurations=[{'lr': 0.1}, {'lr': 0.2}], epochs=10)
    """

    configurations: Configurations
    epochs: int | None = None

    def __post_init__(self) -> None:
        if self.epochs is not None and not is_positive_integer(self.epochs):
            raise ValueError(f"Round: epochs={self.epochs!r}, expected an integer of at least 1, or None")


RoundGenerator = Generator[Round, Sequence[float], None]


class Strategy(Protocol):
    """Decides what a search fits. A user's strategy needs only these three methods.

    Examples
    --------
    >>> from search import GridSearch, ParameterGrid, Search
    >>> from search.testing import build_polynomial
    >>> import numpy as np
    >>> class UntilWorse:
    ...     def rounds(self, seed):
    ...         best = float("inf")
    ...         for degree in range(1, 9):
    ...             [loss] = yield Round([{"degree": degree}])
    ...             if loss >= best:
    ...                 return
    ...             best = loss
    ...     def candidates(self, seed):
    ...         return ()
    ...     def describe(self):
    ...         return "raise the degree while the loss falls"
    >>> x = np.linspace(-1, 1, 12)
    >>> result = Search(build_polynomial, UntilWorse(), store=None, workers=1).run(x, x**2, progress=False)
    >>> [row.configuration for row in result.ranking]
    [{'degree': 2}, {'degree': 3}, {'degree': 1}]
    """

    def rounds(self, seed: int) -> RoundGenerator:
        """Yield rounds; each ``yield`` returns the mean losses of its configurations, infinite where a fit is not done.

        If a score decides, they are minus the mean scores: less is better in any case.

        With the same seed and the same losses, the rounds are the same.
        """
        ...

    def candidates(self, seed: int) -> Configurations:
        """Return the configurations to choose from, as far as they are known in advance; none if they depend on losses."""
        ...

    def describe(self) -> str:
        """Describe in one line how it chooses among its candidates.

        A search with another description cannot use the store.
        """
        ...


def checked_rounds(strategy: Strategy, seed: int) -> RoundGenerator:
    """Yield the rounds of a strategy, which a user may have written. Each configuration is converted once.

    Raises
    ------
    TypeError
        If `rounds` is not a generator of Rounds, or a Round has no sequence of mappings.
    ValueError
        If the first Round has no configuration, or if a Round has one twice.

    Examples
    --------
    >>> class Twice(ListedConfigurations):
    ...     def rounds(self, seed):
    ...         yield Round([{"lr": 0.1}, {"lr": 0.1}])
    >>> next(checked_rounds(Twice([{"lr": 0.1}]), seed=0))
    Traceback (most recent call last):
    ValueError: Twice: round 0 has the configuration {"lr":0.1} twice, expected each once
    """
    owner = type(strategy).__name__
    rounds = strategy.rounds(seed)
    if not isinstance(rounds, Generator):
        raise TypeError(f"{owner}: rounds returned {describe(rounds)}, expected a generator: losses = yield Round([...])")
    losses: Sequence[float] | None = None
    for number in count():
        try:
            given = next(rounds) if losses is None else rounds.send(losses)
        except StopIteration:
            if number:
                return
            raise ValueError(f"{owner}: rounds yielded nothing, expected at least one Round with a configuration") from None
        if not hasattr(given, "configurations") or not hasattr(given, "epochs"):
            raise TypeError(f"{owner}: rounds yielded {describe(given)}, expected a Round; write yield Round([...])")
        round_ = Round(_checked(f"{owner}: round {number} has", given.configurations), given.epochs)
        if number == 0 and not len(round_.configurations):
            raise ValueError(f"{owner}: round 0 has no configuration, expected at least one")
        losses = yield round_


def checked_candidates(strategy: Strategy, seed: int) -> Configurations:
    """Return the candidates of a strategy, which a user may have written.

    Raises
    ------
    TypeError, ValueError
        If they are no sequence of mappings, or one appears twice.
    """
    given = strategy.candidates(seed)
    kept = _checked(f"{type(strategy).__name__}: candidates returned", given)
    return kept if isinstance(given, Sequence) else given  # a large grid makes each when it is asked for


def _checked(source: str, given: Any) -> KeptConfigurations:
    if isinstance(given, Mapping) or not hasattr(given, "__getitem__") or not hasattr(given, "__len__"):
        raise TypeError(f"{source} {describe(given)}, expected a list of configurations")
    kept = keep(given)
    if len(given) and isinstance(given, Sequence):  # a grid makes its configurations on demand, each once
        text, times = Counter(configuration.text for configuration in kept).most_common(1)[0]
        if times > 1:
            raise ValueError(f"{source} the configuration {text} twice, expected each once")
    return kept


EVERY_CANDIDATE = "every candidate"  # the description of a strategy that has one round


class OneRound(ABC):
    """A strategy that fits all its candidates in one round."""

    @abstractmethod
    def candidates(self, seed: int) -> Configurations:
        """Return the configurations, which may depend on the seed."""

    def rounds(self, seed: int) -> RoundGenerator:
        yield Round(self.candidates(seed))

    def describe(self) -> str:
        return EVERY_CANDIDATE


class ListedConfigurations(OneRound):
    """A strategy that fits each of some listed configurations.

    Parameters
    ----------
    given : iterable of mapping

    Raises
    ------
    TypeError
        If one is no mapping, or has a value of an unknown type.
    ValueError
        If there is none, or one appears twice.

    Examples
    --------
    >>> list(ListedConfigurations([{"lr": 0.1}, {"lr": 0.2, "l1": 1e-3}]))
    [{'lr': 0.1}, {'lr': 0.2, 'l1': 0.001}]
    """

    def __init__(self, given: Iterable[Mapping[str, Any]]) -> None:
        distinct: dict[str, Configuration] = {}
        for item in given:
            configuration = as_configuration(item)
            if configuration.text in distinct:
                raise ValueError(f"grid: configuration {configuration.text} is there twice, expected each once")
            distinct[configuration.text] = configuration
        if not distinct:
            raise ValueError("grid: no configuration given, expected at least one")
        self._configurations = tuple(distinct.values())

    def __len__(self) -> int:
        return len(self._configurations)

    def __iter__(self) -> Iterator[Configuration]:
        return iter(self._configurations)

    def __getitem__(self, position: int, /) -> Configuration:
        return self._configurations[position]

    def __repr__(self) -> str:
        return f"ListedConfigurations({list(self._configurations)})"

    def candidates(self, seed: int) -> Configurations:  # noqa: ARG002
        return self
