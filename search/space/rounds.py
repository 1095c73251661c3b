"""Rounds: how a strategy talks with the search.

    strategy --a Round of configurations--> search: fits them on every fold --their mean losses--> strategy --the next Round-->

A strategy hears nothing but losses, in the order of its configurations, when a round is complete. So what it proposes depends
on the seed and on results, not on workers or the order in which fits end; and a search that is resumed asks the same
questions again, to which the store has the answers.
"""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from search.space.configuration import Configuration, as_configuration
from tinygrad_lab.checks import is_positive_integer


class Configurations(Protocol):
    """Some configurations, each once; not all of them need to be in memory."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Configuration]: ...

    def __getitem__(self, position: int, /) -> Configuration: ...


class KeptConfigurations:
    """The configurations of a round, each made when it is first used and then kept, so that its text is computed once.

    Parameters
    ----------
    given : sequence of mapping
        A strategy of one's own may give plain dicts.
    """

    def __init__(self, given: Configurations) -> None:
        self._given = given
        self._made: dict[int, Configuration] = {}

    def __len__(self) -> int:
        return len(self._given)

    def __iter__(self) -> Iterator[Configuration]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, position: int, /) -> Configuration:
        if position not in self._made:
            self._made[position] = as_configuration(self._given[position])
        return self._made[position]


@dataclass(frozen=True)
class Round:
    """What a strategy wants to be fitted next.

    Attributes
    ----------
    configurations : sequence of dict
        Canonical ones, each once.
    epochs : int or None
        Up to which to train them; the next round goes on from there, if it is longer. None trains each to its own end; what
        is in no such round is ranked as stopped: below the others, that of the longest round first, by its mean loss there.

    Raises
    ------
    ValueError
        If the epochs are no positive integer.
    """

    configurations: Configurations
    epochs: int | None = None

    def __post_init__(self) -> None:
        if self.epochs is not None and not is_positive_integer(self.epochs):
            raise ValueError(f"Round: epochs={self.epochs!r}, expected an integer of at least 1, or None")


RoundGenerator = Generator[Round, Sequence[float], None]


class Strategy(Protocol):
    """Decides what a search fits. An own one needs these three methods and no more."""

    def rounds(self, seed: int) -> RoundGenerator:
        """Yield rounds; each is sent the mean losses of its configurations, infinite where a fit is not done.

        Everything follows from the search's seed and these losses: the same again if asked again.
        """
        ...

    def candidates(self, seed: int) -> Configurations:
        """Return what is known beforehand of the configurations to choose from; nothing where they follow from losses."""
        ...

    def describe(self) -> str:
        """Say in one line how it chooses among its candidates: with another text, a store is another search's."""
        ...


EVERY_CANDIDATE = "every candidate"  # how a strategy of one round describes itself


class OneRound(ABC):
    """A strategy that fits all of its candidates, in one round."""

    @abstractmethod
    def candidates(self, seed: int) -> Configurations:
        """Return the configurations, which may follow from the seed."""

    def rounds(self, seed: int) -> RoundGenerator:
        yield Round(self.candidates(seed))

    def describe(self) -> str:
        return EVERY_CANDIDATE


class ListedConfigurations(OneRound):
    """Configurations one by one, in the order given.

    Parameters
    ----------
    given : iterable of mapping

    Raises
    ------
    TypeError
        If one is no mapping, or has a value of an unknown type.
    ValueError
        If there is none, or one twice.

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


def as_strategy(given: Strategy | Iterable[Mapping[str, Any]]) -> Strategy:
    """Return a strategy as it is, and configurations as a strategy that fits each of them.

    Raises
    ------
    TypeError
        If it is neither, or one mapping, such as the axes of a grid.

    Examples
    --------
    >>> as_strategy([{"lr": 0.1}])
    ListedConfigurations([{'lr': 0.1}])
    """
    if all(callable(getattr(given, name, None)) for name in ("rounds", "candidates", "describe")):
        return given  # type: ignore[return-value]
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise TypeError(f"grid: {given!r} given, expected a ParameterGrid, another strategy, or configurations in a list")
    return ListedConfigurations(given)
