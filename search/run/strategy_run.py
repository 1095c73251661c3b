"""Selections: a strategy at work on some of a search's folds, round after round.

strategy --Round--> fits that have no result yet --> pool --> Results (memory and store) --mean losses--> strategy
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from search.ranking.ranking import mean_and_std
from search.space.configuration import Configuration
from search.space.rounds import Configurations, KeptConfigurations, Round, Strategy
from search.store import Store
from search.trials.fits import Fit, Outcome
from search.trials.seeds import fit_seed

Outcomes = dict[tuple[str, int], Outcome]


class Results:
    """The outcomes of a search, in memory as in its store.

    Parameters
    ----------
    store : Store
        To which those that are added go first.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_epochs: dict[int | None, Outcomes] = {}

    def at(self, epochs: int | None) -> Outcomes:
        """Return the outcomes of fits that stopped after some epochs, or, for None, at their ends."""
        if epochs not in self._by_epochs:
            self._by_epochs[epochs] = self._store.outcomes(epochs or 0)
        return self._by_epochs[epochs]

    def outcomes(self) -> list[Outcome]:
        """Return all outcomes that were asked for or added, of fits that stopped or ended."""
        return [outcome for outcomes in self._by_epochs.values() for outcome in outcomes.values()]

    def add(self, fit: Fit, outcome: Outcome) -> None:
        """Store the outcome of a fit."""
        self._store.add(fit.configuration, fit.fold, outcome, fit.epochs or 0)
        self.at(fit.epochs)[fit.configuration.text, fit.fold] = outcome

    def forget_states(self, epochs: int | None) -> None:
        """Drop from memory the trainings that have stopped after some epochs; the store keeps them."""
        outcomes = self.at(epochs)
        outcomes |= {key: replace(outcome, state=None) for key, outcome in outcomes.items() if outcome.state is not None}


class Selection:
    """A strategy at work on some of a search's folds.

    Parameters
    ----------
    strategy : Strategy
    seed : int
        The search's.
    numbers : range
        Of the folds on which configurations are compared.

    Attributes
    ----------
    round : Round or None
        What is to be fitted now; None at the end.
    past : list of Round
        What has been fitted.
    """

    def __init__(self, strategy: Strategy, seed: int, numbers: range) -> None:
        self.numbers = numbers
        self.past: list[Round] = []
        self._seed = seed
        self._n_missing: int | None = None  # of this round, at its beginning
        self._rounds = strategy.rounds(seed)
        self.round = _kept(next(self._rounds, None))

    def missing(self, results: Results, positions: Iterable[int] | None = None) -> Iterator[Fit]:
        """Yield the fits of this round that have no outcome, or those of the configurations at some positions."""
        assert self.round is not None
        epochs, configurations = self.round.epochs, self.round.configurations
        known = results.at(epochs)
        stopped = results.at(self.past[-1].epochs) if self.past and _goes_on(self.past[-1].epochs, epochs) else {}
        for configuration in configurations if positions is None else map(configurations.__getitem__, positions):
            text = configuration.text
            for fold in self.numbers:
                if (text, fold) not in known:
                    state = stopped[text, fold].state if (text, fold) in stopped else None
                    yield Fit(configuration, fold, fit_seed(self._seed, configuration, fold), epochs=epochs, resume=state)

    def count_missing(self, results: Results) -> int:
        """Return the number of fits of this round that had no outcome when this was first asked."""
        if self._n_missing is None:
            assert self.round is not None
            known, configurations = results.at(self.round.epochs), self.round.configurations
            # Without results the texts are not needed, and those of a million configurations would take a while.
            texts = (configuration.text for configuration in configurations) if known else ()
            done = sum((text, fold) in known for text in texts for fold in self.numbers)
            self._n_missing = len(configurations) * len(self.numbers) - done
        return self._n_missing

    def advance(self, results: Results) -> None:
        """Tell the strategy what came of this round, all of whose fits are done, and take its next one."""
        assert self.round is not None
        losses = mean_losses(self.round.configurations, results.at(self.round.epochs), self.numbers)
        self.past.append(self.round)
        self._n_missing = None
        try:
            self.round = _kept(self._rounds.send(losses))
        except StopIteration:
            self.round = None

    def at_their_ends(self) -> Configurations:
        """Return the configurations that were trained to their ends, each once."""
        rounds = [past.configurations for past in self.past if past.epochs is None]
        if len(rounds) == 1:
            return rounds[0]
        return list({x.text: x for configurations in rounds for x in configurations}.values())

    def stopped(self, results: Results) -> tuple[list[Configuration], Outcomes, dict[str, int]]:
        """Return the configurations that were left behind, and by their text what came of their last rounds, and its epochs."""
        left: dict[str, tuple[Configuration, int]] = {}
        for past in self.past:
            if past.epochs is not None:
                left |= {x.text: (x, past.epochs) for x in past.configurations}
        for x in self.at_their_ends() if left else ():
            left.pop(x.text, None)
        outcomes = {(text, fold): results.at(epochs)[text, fold] for text, (_, epochs) in left.items() for fold in self.numbers}
        return [x for x, _ in left.values()], outcomes, {text: epochs for text, (_, epochs) in left.items()}

    def best(self, results: Results) -> tuple[Configuration | None, float]:
        """Return the configuration of the lowest mean loss at its end, and that loss; None if none is done."""
        configurations = self.at_their_ends()
        losses = mean_losses(configurations, results.at(None), self.numbers)
        lowest = min(losses, default=math.inf)
        if lowest == math.inf:
            return None, math.nan
        equal = (configuration for configuration, loss in zip(configurations, losses, strict=True) if loss == lowest)
        return min(equal, key=lambda configuration: configuration.text), lowest


def _kept(given: Round | None) -> Round | None:
    """Return a round whose configurations are made once."""
    return None if given is None else replace(given, configurations=KeptConfigurations(given.configurations))


def _goes_on(stopped: int | None, epochs: int | None) -> bool:
    """Whether trainings that have stopped after some epochs can go on to others, or to their ends."""
    return stopped is not None and (epochs is None or stopped < epochs)


def mean_losses(
    configurations: Iterable[Configuration], outcomes: Mapping[tuple[str, int], Outcome], numbers: range
) -> list[float]:
    """Return the mean loss of each configuration over some folds; infinite where not all of its fits are done."""
    return [mean_loss(configuration.text, outcomes, numbers) for configuration in configurations]


def mean_loss(text: str, outcomes: Mapping[tuple[str, int], Outcome], numbers: Sequence[int]) -> float:
    """Return the mean loss of a configuration over some folds; infinite where not all of its fits are done."""
    fits = [outcomes.get((text, fold)) for fold in numbers]
    losses = [fit.validation_loss for fit in fits if fit is not None and fit.status == "done"]
    return mean_and_std(losses)[0] if len(losses) == len(fits) else math.inf
