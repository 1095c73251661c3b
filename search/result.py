"""The result of a search: its ranking, and what can be done next.

SearchResult.ranking --> comparison: which configurations the folds cannot tell from the best --> Comparison
                     --> simplest_configuration, by the one-standard-error rule               --> a row of it
                     --> best, simplest, fit: configurations on all rows, to predict with     --> Predictor, TableModel
                     --> importance: how much each parameter decides the place                --> Importance
                     --> retrain: the best ones on the whole training set, tested             --> Retrained
                     --> seed_distribution: one configuration from many seeds                 --> array of test losses
                     --> optimism: the luck in the lowest of many test losses                 --> Optimism
                     --> report: all of this on one page                                      --> index.html
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from search.errors import SearchError
from search.ranking.comparison import ComparedConfiguration, Comparison, compare
from search.ranking.importance import Importance, parameter_importance
from search.ranking.nested import NestedEstimate
from search.ranking.optimism import Optimism
from search.ranking.ranking import RankedConfiguration, Ranking
from search.run.refitting import make_model, refit
from search.run.retraining import Retrained, as_retrained, retraining_problem, run_in_order
from search.space.configuration import Configuration, as_configuration
from search.trials.data import DataSet, Samples, is_table
from search.trials.fits import Build, Fit, Outcome, Problem, build_trainer
from search.trials.folds import Fold
from search.trials.models import has_network
from search.trials.scoring import Scoring
from search.trials.seeds import fit_seed
from tinygrad_lab.checks import is_positive_integer

if TYPE_CHECKING:
    from search.report.card import ModelCard


@dataclass(frozen=True, eq=False, repr=False)
class SearchResult:
    """What a search found. As a sequence it is its ranking.

    Attributes
    ----------
    ranking : Ranking
        The configurations, best first.
    build : callable
        As given to the search, as are `seed`, `workers` and `executor`.
    seed : int
        Of the search.
    workers : int or None
        Number of worker processes.
    executor : concurrent.futures.Executor or None
        Runs the fits instead of worker processes.
    folds : tuple of (training indices, validation indices)
        Of the search.
    repeats : int
        How often each fold was fitted, each time from other initial weights.
    nested : NestedEstimate or None
        The estimated loss of the whole procedure on new data, if the search was run with `outer`.
    facts : tuple of (str, str)
        What was searched and how long it took: names and values for people.
    time_limit : float or None
        Seconds that a fit may take.
    problem : Problem or None
        The samples that the search was run on, with their folds.
    samples : Samples or None
        What the search was run on: checked arrays, the task, and the table that they come from, if there is one.
    scoring : Scoring or None
        The scores, if they decide.

    Examples
    --------
    >>> from search import GridSearch, ParameterGrid
    >>> from search.testing import build_polynomial
    >>> x = np.linspace(-1, 1, 12)
    >>> search = GridSearch(build_polynomial, ParameterGrid(degree=[1, 2, 3]), store=None, workers=1)
    >>> result = search.run(x, x**2, progress=False)
    >>> len(result), result[0].configuration
    (3, {'degree': 2})
    >>> retrained = result.retrain(top=2, train=(x, x**2), test=([0.5, 0.7], [0.25, 0.49]), progress=False)
    >>> [row.configuration for row in retrained]
    [{'degree': 2}, {'degree': 3}]
    >>> [row.configuration for row in result.comparison().indistinguishable]
    [{'degree': 2}, {'degree': 3}, {'degree': 1}]
    >>> result.simplest_configuration().configuration
    {'degree': 2}
    """

    ranking: Ranking
    build: Build
    seed: int
    workers: int | None = None
    executor: Executor | None = None
    folds: tuple[Fold, ...] = ()
    repeats: int = 1
    nested: NestedEstimate | None = None
    facts: tuple[tuple[str, str], ...] = ()
    time_limit: float | None = None
    problem: Problem | None = None
    samples: Samples | None = None
    scoring: Scoring | None = None

    @property
    def classes(self) -> np.ndarray | None:
        """What labels 0, 1, ... stand for; None if y was not encoded."""
        return None if self.samples is None else self.samples.classes

    def __len__(self) -> int:
        return len(self.ranking)

    def __iter__(self) -> Iterator[RankedConfiguration]:
        return iter(self.ranking)

    def __getitem__(self, position: int) -> RankedConfiguration:
        return self.ranking[position]

    def __repr__(self) -> str:
        return f"SearchResult({self.ranking!r})"

    def __str__(self) -> str:
        return str(self.ranking)

    def _repr_html_(self) -> str:
        return self.ranking._repr_html_()

    def comparison(self, confidence: float = 0.95) -> Comparison:
        """Compare each configuration with the best on the same folds; see `search.ranking.comparison.compare` for the meaning.

        Parameters
        ----------
        confidence : float, default=0.95
            Of the intervals, between 0 and 1.

        Returns
        -------
        Comparison
            In the order of the ranking, without the configurations that failed or diverged.

        Raises
        ------
        ValueError
            If `confidence` is out of range.
        """
        return compare(self.ranking, folds=self.folds, repeats=self.repeats, confidence=confidence)

    def simplest(self, complexity: Callable[[Configuration], float] | None = None, *, progress: bool = True) -> Any:
        """Return the model of the simplest configuration that is as good as the best, fitted on all rows, as `fit` does.

        Parameters
        ----------
        complexity : callable, optional
            As for `simplest_configuration`, which chooses.
        progress : bool, default=True
            As for `fit`.

        Returns
        -------
        tinygrad_lab.Predictor, FittedEstimator, or the model of a table

        Raises
        ------
        SearchError
            If no configuration of the ranking is done, or a fit fails.
        """
        return self.fit(self.simplest_configuration(complexity).configuration, progress=progress)

    def simplest_configuration(self, complexity: Callable[[Configuration], float] | None = None) -> ComparedConfiguration:
        """Return the simplest configuration within one standard error of the best: the one-standard-error rule.

        ``retrain(configurations=[result.simplest_configuration().configuration], ...)`` trains and tests it.

        Parameters
        ----------
        complexity : callable, optional
            From a configuration to a number. By default, the number of parameters of its network.

        Returns
        -------
        ComparedConfiguration
            Of equally simple configurations, the one that is ranked first.

        Raises
        ------
        SearchError
            If no configuration of the ranking is done.
        """
        return self.comparison().simplest(self._n_parameters if complexity is None else complexity)

    @cached_property
    def best(self) -> Any:
        """The model of the best configuration, fitted on all rows: what `fit` returns without arguments.

        Examples
        --------
        >>> from models import build_perceptron
        >>> from search import GridSearch, ParameterGrid
        >>> x = np.linspace(-1, 1, 40)
        >>> grid = ParameterGrid(hidden=[(4,), (8,)], epochs=[20], lr_final=[0.01])
        >>> model = GridSearch(build_perceptron, grid, store=None, workers=1).run(x, x**2, progress=False).best
        >>> model.predict([0.0, 0.5]).shape
        (2,)
        >>> lower, upper = model.predict_interval([0.0, 0.5], coverage=0.9)
        >>> bool((lower < upper).all())
        True
        >>> model.details["configuration"]
        {'hidden': [8], 'epochs': 20, 'lr_final': 0.01}
        """
        return self.fit()

    def fit(
        self,
        configuration: Mapping[str, Any] | None = None,
        *,
        ensemble: int | Literal["folds"] | None = None,
        progress: bool = True,
    ) -> Any:
        """Fit a configuration on all rows, to predict with it. No test set is needed.

        It is fitted once on all rows, and once on each fold as in the search: with the same seeds, so the fold models are the
        same to the bit. Their errors on the samples that they have not seen give the intervals of `predict_interval` (CV+).
        The fits run in this process. If a fold model is not that of the search, for instance because a global variable that
        the builder reads has changed, a warning says so.

        Parameters
        ----------
        configuration : mapping, optional
            By default the best of the ranking.
        ensemble : int or "folds", optional
            Average the models of so many of the best configurations; or the fold models of one configuration.
        progress : bool, default=True
            Whether to show a progress bar on standard error, if that is a terminal and it takes longer than a second.

        Returns
        -------
        tinygrad_lab.Predictor, FittedEstimator, or the model of a table
            A Predictor, or what the table that the search was run on makes of it. A FittedEstimator where the builder makes
            estimators or Trainers of its own kind.

        Raises
        ------
        SearchError
            If no configuration is done, or a fit fails.
        TypeError, ValueError
            If `ensemble` is not as expected, or is a number beside a configuration.
        """
        if self.problem is None:
            raise SearchError(
                "fit: this result has no samples, expected one that Search.run has returned; run the search again"
            )
        if ensemble not in (None, "folds") and not is_positive_integer(ensemble):
            raise ValueError(f"fit: ensemble is {ensemble!r}, expected a number of configurations, 'folds', or None")
        if configuration is not None and ensemble not in (None, "folds"):
            raise ValueError(f"fit: a configuration is given beside ensemble={ensemble!r}, expected one of the two")
        top = 1 if ensemble in (None, "folds") else int(ensemble)
        chosen = [row.configuration for row in self.ranking.best(top)] if configuration is None else [configuration]
        configurations = list(map(as_configuration, chosen))
        n_folds = len(self.folds)
        refits = refit(self.problem, self.seed, n_folds, configurations, ensemble != "folds", progress)
        known = {as_configuration(row.configuration).text: row for row in (*self.ranking, *self.ranking.baselines)}
        rows = [known.get(one.text) for one in configurations]
        for one, row in zip(refits, rows, strict=True):
            if row is not None:
                one.check(row)
        model = make_model(self.problem, refits, n_folds, self._details(configurations, rows, ensemble))
        table = None if self.samples is None else self.samples.table
        return model if table is None else table.model(model)

    def _details(
        self, configurations: Sequence[Configuration], rows: Sequence[RankedConfiguration | None], ensemble: Any
    ) -> dict[str, Any]:
        """Return what a file says about a model: values that JSON can hold."""
        scores = []
        for row in rows:
            found = {} if row is None else {"validation_loss": row.losses} | getattr(row, "scores", {})
            scores.append({name: {"mean": float(np.mean(x)), "folds": list(x)} for name, x in found.items() if len(x)})
        plain = [json.loads(configuration.text) for configuration in configurations]
        plain = [{name: one[name] for name in configuration} for one, configuration in zip(plain, configurations, strict=True)]
        if len(plain) == 1:
            chosen: dict[str, Any] = {"configuration": plain[0], "scores": scores[0]}
        else:
            chosen = {"members": [{"configuration": a, "scores": b} for a, b in zip(plain, scores, strict=True)]}
        samples = 0 if self.problem is None else len(self.problem.x)
        return chosen | {"samples": samples, "seed": self.seed, "folds": len(self.folds), "ensemble": ensemble}

    def importance(self, seed: int = 0) -> Importance:
        """Measure how important each parameter is for the place in the ranking; see `search.parameter_importance`.

        Raises
        ------
        ImportError
            If scikit-learn is not installed.
        SearchError
            If there are fewer than 30 configurations, or no parameter varies.
        """
        return parameter_importance(self.ranking, seed)

    def retrain(
        self,
        top: int = 20,
        configurations: Iterable[Mapping[str, Any]] | None = None,
        *,
        train: DataSet,
        test: DataSet,
        progress: bool = True,
    ) -> Retrained:
        """Train the best configurations, or some given ones, again on the whole training set, and test them.

        The seed of each training depends on the search's seed and the configuration.

        Parameters
        ----------
        top : int, default=20
            How many configurations, at most. Those that are not done in the search are skipped.
        configurations : iterable of mapping, optional
            Configurations of the ranking to train instead of the best ones. Then `top` has no effect.
        train, test : tuple of array_like, or table
            x and y of the training and the test set, and the weights of their samples if the search had weights.
        progress : bool, default=True
            Whether to show a progress bar on standard error.

        Returns
        -------
        Retrained
            In the order of the ranking.

        Raises
        ------
        SearchError
            If no configuration of the ranking is done, or the workers cannot be started.
        TypeError, ValueError
            If the data are not as expected, `top` is less than one, or a configuration is not in the ranking.
        """
        chosen = self._chosen(top, configurations)
        fits = [self._fit(row.configuration, "retrain", keep=True) for row in chosen]
        outcomes = self._run(fits, train, test, progress)
        return Retrained(as_retrained(row, outcome) for row, outcome in zip(chosen, outcomes, strict=True))

    def seed_distribution(
        self,
        configuration: Mapping[str, Any],
        seeds: int = 20,
        *,
        train: DataSet,
        test: DataSet,
        progress: bool = True,
    ) -> np.ndarray:
        """Train one configuration on the whole training set from many seeds, and test each network.

        Parameters
        ----------
        configuration : mapping
            What to train. It need not be in the ranking.
        seeds : int, default=20
            How many. With more seeds, the first losses stay the same.
        train, test, progress
            As in `retrain`.

        Returns
        -------
        ndarray of float, shape (seeds,)
            Test losses; NaN if the training failed or diverged.

        Raises
        ------
        SearchError
            If the workers cannot be started.
        TypeError, ValueError
            If the data are not as expected, or `seeds` is less than one.
        """
        if seeds < 1:
            raise ValueError(f"seed_distribution: seeds={seeds}, expected at least 1")
        return self._losses_over_seeds([configuration], seeds, train, test, progress)[0]

    def optimism(
        self,
        top: int = 20,
        seeds: int = 20,
        configurations: Iterable[Mapping[str, Any]] | None = None,
        *,
        train: DataSet,
        test: DataSet,
        progress: bool = True,
    ) -> Optimism:
        """Measure how optimistic the lowest test loss of the best configurations, or some given ones, is, using many seeds.

        Parameters
        ----------
        top : int, default=20
            How many configurations, at most, as in `retrain`.
        seeds : int, default=20
            How many, at least 2. The losses are those of `seed_distribution` for each configuration.
        configurations, train, test, progress
            As in `retrain`.

        Returns
        -------
        Optimism
            The losses, in the order of the ranking, and their statistics.

        Raises
        ------
        SearchError
            If no configuration of the ranking is done, or the workers cannot be started.
        TypeError, ValueError
            If the data are not as expected, `top` is less than one, `seeds` is less than two, or a configuration is not in
            the ranking.
        """
        if seeds < 2:
            raise ValueError(f"optimism: seeds={seeds}, expected at least 2")
        chosen = [row.configuration for row in self._chosen(top, configurations)]
        return Optimism(self._losses_over_seeds(chosen, seeds, train, test, progress), self.ranking.measure)

    def report(
        self,
        folder: str | os.PathLike[str],
        *,
        train: DataSet | None = None,
        test: DataSet | None = None,
        retrained: Retrained | None = None,
        optimism: Optimism | None = None,
        top: int = 20,
        seeds: int = 20,
        title: str = "Report of a search",
        question: str = "Which configuration predicts best on points that it has not seen?",
        facts: Sequence[tuple[str, str]] = (),
        commands: Sequence[str] = (),
        progress: bool = True,
    ) -> Path:
        """Write a page about the search, ``index.html``, which needs neither a network connection nor any other file.

        If the search was run on a table, or a score decides, the best configuration is fitted as by `best`, and the page has a
        card of this model, for which scikit-learn is needed.

        With a training and a test set, the best configurations are re-trained and their optimism is measured, unless
        `retrained` and `optimism` are given.

        Parameters
        ----------
        folder : path-like
            Where to write. It is created if it does not exist.
        train, test : pair of array_like, optional
            x and y of the training and the test set. If they have one feature and one output, the samples and the network
            with the lowest test loss are plotted.
        retrained : Retrained, optional
            The result of `retrain` for these sets.
        optimism : Optimism, optional
            The result of `optimism` for these sets and the configurations in `retrained`.
        top, seeds : int, default=20
            How many configurations to train, and from how many seeds.
        title, question : str
            Shown at the top of the page.
        facts : sequence of (str, str)
            Names and values to add to those of the search and the machine.
        commands : sequence of str
            The commands that repeat the search, one a line.
        progress : bool, default=True
            Whether to show a progress bar on standard error.

        Returns
        -------
        pathlib.Path
            The path of the page.

        Raises
        ------
        SearchError
            If the file cannot be written, or the workers cannot be started.
        TypeError, ValueError
            If the data are not as expected, or `optimism` and `retrained` differ in their number of configurations.
        """
        # Imported here, so that workers need not load Jinja2.
        from search.report.machine import machine_facts
        from search.report.network import network_figures
        from search.report.page import write_report

        is_done = bool(self.ranking.done)
        card, remarks = self._model_card(progress) if is_done else (None, [])
        importance = None
        if card is not None:
            with suppress(SearchError):  # there are too few configurations
                importance = self.importance()
        figures, seed_losses = [], None
        if train is not None and test is not None and is_done:
            retrained, optimism = self._tested(retrained, optimism, top, seeds, train, test, progress)
            if retrained.done:
                winner = retrained.best_by_test
                seed_losses = next(x for row, x in zip(retrained, optimism.losses, strict=True) if row is winner)
                is_plain = not (is_table(train) or is_table(test) or self.classes is not None)
                figures = network_figures(self.build, winner, *((train[:2], test[:2]) if is_plain else ()))
        return write_report(
            folder,
            self.ranking,
            title=title,
            question=question,
            retrained=retrained,
            comparison=self.comparison() if is_done and self.folds else None,
            simplest=self.simplest_configuration() if is_done and self.folds and self._best_has_network() else None,
            optimism=optimism,
            nested=self.nested,
            seed_losses=seed_losses,
            figures=figures,
            facts=[*self.facts, *remarks, *facts, *machine_facts()],
            commands=commands,
            card=card,
            importance=importance,
        )

    def _model_card(self, progress: bool) -> "tuple[ModelCard | None, list[tuple[str, str]]]":
        """Return the card of the best model, or none and a remark that says why."""
        table = None if self.samples is None else self.samples.table
        if self.problem is None or (table is None and not self.ranking.measure.is_score):
            return None, []  # plain arrays and the data loss: a report of these may not need scikit-learn
        from search.report.card import model_card

        try:
            return model_card(self.ranking, self.problem, table, self.folds, self.seed, progress), []
        except (ImportError, SearchError) as error:
            return None, [("model card", f"left out: {error}")]

    def _tested(
        self,
        retrained: Retrained | None,
        optimism: Optimism | None,
        top: int,
        seeds: int,
        train: DataSet,
        test: DataSet,
        progress: bool,
    ) -> tuple[Retrained, Optimism]:
        """Return the given networks and optimism; train the one that is missing."""
        chosen = [row.configuration for row in (self.ranking.best(top) if retrained is None else retrained)]
        if optimism is not None and len(optimism.losses) != len(chosen):
            raise ValueError(
                f"report: optimism of {len(optimism.losses)} configurations, expected the {len(chosen)} that are re-trained; "
                "leave it out, or give optimism(configurations=...) of these"
            )
        if retrained is None:
            retrained = self.retrain(configurations=chosen, train=train, test=test, progress=progress)
        if optimism is None:
            optimism = self.optimism(seeds=max(2, seeds), configurations=chosen, train=train, test=test, progress=progress)
        return retrained, optimism

    def _chosen(self, top: int, configurations: Iterable[Mapping[str, Any]] | None) -> tuple[RankedConfiguration, ...]:
        """Return the rows of the given configurations or, if there are none, of the best ones."""
        return self.ranking.best(top) if configurations is None else self.ranking.rows_of(configurations)

    def _losses_over_seeds(
        self, configurations: Sequence[Mapping[str, Any]], seeds: int, train: DataSet, test: DataSet, progress: bool
    ) -> np.ndarray:
        """Return test losses of shape (configurations, seeds); NaN if a training failed or diverged."""
        fits = [self._fit(configuration, f"seed {number}") for configuration in configurations for number in range(seeds)]
        outcomes = self._run(fits, train, test, progress)
        objectives = [outcome.objective if outcome.status == "done" else np.nan for outcome in outcomes]
        return np.reshape([*map(self.ranking.measure.shown, objectives)], (len(configurations), seeds))

    def _run(self, fits: Sequence[Fit], train: DataSet, test: DataSet, progress: bool) -> list[Outcome]:
        """Train on the whole training set, and return the outcomes in the order of the fits."""
        problem = retraining_problem(self.build, train, test, self.samples, self.scoring)
        return run_in_order(problem, fits, self.workers, self.executor, self.time_limit, progress)

    def _best_has_network(self) -> bool:
        return has_network(build_trainer(self.build, self.ranking[0].configuration, 0))

    def _n_parameters(self, configuration: Configuration) -> int:
        built = build_trainer(self.build, configuration, 0)
        if not has_network(built):
            raise TypeError(
                f"simplest_configuration: a {type(built).__name__} has no number of parameters, expected complexity=, "
                "a function of a configuration"
            )
        network = built.model
        return sum(np.size(array) for array in network.state_dict().values())

    def _fit(self, given: Mapping[str, Any], label: str, keep: bool = False) -> Fit:
        """Return a fit on the whole training set. Its seed depends on the configuration and the label."""
        configuration = as_configuration(given)
        return Fit(configuration, 0, fit_seed(self.seed, configuration, label), keep)
