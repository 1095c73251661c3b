"""A strategy at work: its rounds, one after the other, compared on some of a search's folds.

strategy --Round--> fits that have no result yet --> pool --> Results (memory and store) --mean objectives--> strategy

A search has one StrategyRun on its own folds and, for nested cross-validation, one on the inner folds of each outer fold.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from search.errors import SearchError, StoreError
from search.ranking.measure import Measure, measure_of
from search.ranking.ranking import Ranking, mean_and_std, rank
from search.space.configuration import Configuration
from search.space.rounds import Configurations, Round, Strategy, checked_rounds
from search.store import Store
from search.trials.fits import REFUSED, Fit, Outcome
from search.trials.seeds import fit_seed

Outcomes = dict[tuple[str, int], Outcome]  # by the configuration's text and the number of the fold


class Results:
    """The outcomes of a search, in memory and in its store.

    Parameters
    ----------
    store : Store
        An outcome is written to the store before it is kept in memory.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_epochs: dict[int | None, Outcomes] = {}
        self._scores: tuple[str, ...] | None = None  # the names of the scores that every fit has; None until one is known

    def at(self, epochs: int | None) -> Outcomes:
        """Return the outcomes of fits that were stopped after some epochs or, for None, were trained to their ends."""
        if epochs not in self._by_epochs:
            self._by_epochs[epochs] = self._store.outcomes(epochs or 0)
            for outcome in self._by_epochs[epochs].values():
                self._check_scores(outcome)
        return self._by_epochs[epochs]

    @property
    def measure(self) -> Measure:
        """What decides among the outcomes: the loss, or the first of their scores."""
        return measure_of(dict.fromkeys(self._scores or ()))

    def outcomes(self) -> list[Outcome]:
        """Return all outcomes that have been read or added, whether the fits were stopped or not."""
        return [outcome for outcomes in self._by_epochs.values() for outcome in outcomes.values()]

    def add(self, fit: Fit, outcome: Outcome) -> None:
        """Store the outcome of a fit.

        Raises
        ------
        StoreError
            If the outcome cannot be written, or the fit could not be resumed from its state in the store.
        SearchError
            If it has other scores than the fits before: the two cannot be compared.
        """
        if outcome.status == REFUSED:
            raise StoreError(
                f"store {self._store.name}: configuration {fit.configuration.text}, fold {fit.fold} cannot be resumed "
                f"({outcome.reason}): the builder makes another Trainer than before; restore its code, or begin a new store"
            )
        self._check_scores(outcome)
        self._store.add(fit.configuration, fit.fold, outcome, fit.epochs or 0)
        self.at(fit.epochs)[fit.configuration.text, fit.fold] = outcome

    def _check_scores(self, outcome: Outcome) -> None:
        if outcome.status != "done":
            return
        names = tuple(outcome.scores)
        self._scores = names if self._scores is None else self._scores
        if names != self._scores:
            one, other = (" and ".join(x) or "the data loss" for x in (self._scores, names))
            raise SearchError(
                f"one fit has {one}, another {other}: the builder makes Trainers and estimators, which have nothing in common "
                "to rank them by; give scoring="
            )

    def forget_states(self, epochs: int | None) -> None:
        """Drop from memory the states of trainings that were stopped after some epochs; the store keeps them."""
        outcomes = self.at(epochs)
        outcomes |= {key: replace(outcome, state=None) for key, outcome in outcomes.items() if outcome.state is not None}


class StrategyRun:
    """The rounds of a strategy, in which configurations are compared on some of a search's folds.

    Parameters
    ----------
    strategy : Strategy
    seed : int
        Of the search.
    fold_numbers : range
        The folds on which each configuration is fitted.

    Attributes
    ----------
    round : Round or None
        What is to be fitted now; None at the end.
    past_rounds : list of Round
        What has been fitted.
    """

    def __init__(self, strategy: Strategy, seed: int, fold_numbers: range) -> None:
        self.fold_numbers = fold_numbers
        self.past_rounds: list[Round] = []
        self._seed = seed
        self._n_missing: int | None = None  # at the beginning of this round; None until it is counted
        self._rounds = checked_rounds(strategy, seed)
        self.round = next(self._rounds, None)

    def missing(self, results: Results, positions: Iterable[int] | None = None) -> Iterator[Fit]:
        """Yield the fits of this round that have no outcome yet.

        Parameters
        ----------
        results : Results
        positions : iterable of int, optional
            Of the configurations in the round, to yield the fits of these only.
        """
        assert self.round is not None
        epochs, configurations = self.round.epochs, self.round.configurations
        known = results.at(epochs)
        previous = self.past_rounds[-1].epochs if self.past_rounds else None
        stopped = results.at(previous) if _can_resume(previous, epochs) else {}
        for configuration in configurations if positions is None else map(configurations.__getitem__, positions):
            for fold in self.fold_numbers:
                key = configuration.text, fold
                if key not in known:
                    state = stopped[key].state if key in stopped else None
                    yield Fit(configuration, fold, fit_seed(self._seed, configuration, fold), epochs=epochs, resume=state)

    def count_missing(self, results: Results) -> int:
        """Return how many fits of this round had no outcome when this was first called."""
        if self._n_missing is None:
            assert self.round is not None
            known, configurations = results.at(self.round.epochs), self.round.configurations
            # Without results the texts are not needed, and those of a million configurations would take a while.
            texts = (configuration.text for configuration in configurations) if known else ()
            done = sum((text, fold) in known for text in texts for fold in self.fold_numbers)
            self._n_missing = len(configurations) * len(self.fold_numbers) - done
        return self._n_missing

    def advance(self, results: Results) -> None:
        """Send the strategy the mean objectives of this round, whose fits all have outcomes, and take its next round."""
        assert self.round is not None
        losses = mean_objectives(self.round.configurations, results.at(self.round.epochs), self.fold_numbers)
        self.past_rounds.append(self.round)
        self._n_missing = None
        try:
            self.round = self._rounds.send(losses)
        except StopIteration:
            self.round = None

    def finished(self) -> Configurations:
        """Return the configurations that were trained to their ends, each once."""
        rounds = [past.configurations for past in self.past_rounds if past.epochs is None]
        if len(rounds) == 1:
            return rounds[0]
        return list({configuration.text: configuration for configuration in chain.from_iterable(rounds)}.values())

    def best(self, results: Results) -> tuple[Configuration | None, float]:
        """Return the finished configuration of the lowest mean objective, and that mean; None and NaN if none is done."""
        configurations = self.finished()
        losses = mean_objectives(configurations, results.at(None), self.fold_numbers)
        lowest = min(losses, default=math.inf)
        if lowest == math.inf:
            return None, math.nan
        equal = (configuration for configuration, loss in zip(configurations, losses, strict=True) if loss == lowest)
        return min(equal, key=lambda configuration: configuration.text), lowest

    def ranking(self, results: Results, n_folds: int, repeats: int, baselines: Sequence[Configuration] = ()) -> Ranking:
        """Rank the configurations: first the finished ones, then those that were stopped. Baselines are beside them."""
        finished, outcomes = self.finished(), results.at(None)
        stopped = self._stopped()
        if not stopped:  # the usual case, possibly a million configurations: nothing is copied
            return rank(chain(finished, baselines), outcomes, n_folds, repeats)
        last_rounds = {text: epochs for text, (_, epochs) in stopped.items()}
        outcomes_of_stopped = {
            (text, fold): results.at(epochs)[text, fold] for text, epochs in last_rounds.items() for fold in self.fold_numbers
        }
        configurations = [*finished, *(configuration for configuration, _ in stopped.values()), *baselines]
        return rank(configurations, outcomes | outcomes_of_stopped, n_folds, repeats, last_rounds)

    def _stopped(self) -> dict[str, tuple[Configuration, int]]:
        """Return, by text, each configuration that was never finished, and the epochs of its last round."""
        last_rounds = {
            configuration.text: (configuration, past.epochs)
            for past in self.past_rounds
            if past.epochs is not None
            for configuration in past.configurations
        }
        finished = {configuration.text for configuration in self.finished()} if last_rounds else set()
        return {text: last for text, last in last_rounds.items() if text not in finished}


def _can_resume(stopped: int | None, epochs: int | None) -> bool:
    """Whether trainings that were stopped after some epochs can go on to more epochs or, for None, to their ends."""
    return stopped is not None and (epochs is None or stopped < epochs)


def mean_objectives(
    configurations: Iterable[Configuration], outcomes: Mapping[tuple[str, int], Outcome], fold_numbers: range
) -> list[float]:
    """Return the mean objective of each configuration over some folds; infinite where not all of its fits are done."""
    return [mean_objective(configuration.text, outcomes, fold_numbers) for configuration in configurations]


def mean_objective(text: str, outcomes: Mapping[tuple[str, int], Outcome], fold_numbers: Sequence[int]) -> float:
    """Return the mean objective of one configuration over some folds; infinite where not all of its fits are done."""
    fits = [outcomes.get((text, fold)) for fold in fold_numbers]
    objectives = [fit.objective for fit in fits if fit is not None and fit.status == "done"]
    return mean_and_std(objectives)[0] if len(objectives) == len(fits) else math.inf
