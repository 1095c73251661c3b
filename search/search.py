"""The search: a strategy proposes configurations; they are fitted on every fold, stored as they end, and ranked.

    strategy --> Round --> fits not yet in the store --> chunks --> pool --> store --> losses --> strategy --> ... --> ranking

A search that was stopped continues with the missing fits when it is run again. Its ranking is the same to the bit.
"""

import hashlib
import json
import math
import os
import sys
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from inspect import Signature, signature
from operator import index
from typing import Any

from numpy.typing import ArrayLike
from tqdm import tqdm

from search.pool import check_pool, open_pool, worker_count
from search.ranking.nested import NestedEstimate
from search.result import SearchResult
from search.run.runner import RoundRunner, forecast_round
from search.run.strategy_run import Results, StrategyRun
from search.space.configuration import Configuration, canonical_text
from search.space.grid import ParameterGrid
from search.space.rounds import EVERY_CANDIDATE, ListedConfigurations, Strategy, checked_candidates
from search.space.union import as_strategy
from search.store import Store
from search.store.differences import DIGEST
from search.store.fingerprint import describe_function, fingerprint
from search.trials.baselines import baseline_configurations, missing_extra
from search.trials.data import Samples, is_table, read_samples
from search.trials.fits import Build, Outcome, Problem
from search.trials.folds import (
    DEFAULT_SPLITS,
    Layout,
    Splitter,
    as_groups,
    check_class_sizes,
    check_group_count,
    default_folds,
    make_layout,
    untrained_class,
)
from search.trials.scoring import Score, Scoring, default_scoring
from search.trials.surroundings import surroundings_of
from tinygrad_lab.checks import is_positive_integer


class Search:
    """Cross-validate the configurations that a strategy proposes, on a pool of processes.

    One fit is one configuration on one fold. What decides is the data loss of the trained model on the fold's validation part,
    or a score of it there. Its seed depends on `seed`, the configuration and the fold. So no result depends on the order of
    the grid, on the number of workers or on interruptions. If a fit raises an exception or diverges, the reason is stored, its
    configuration is ranked last, and the search continues.

    Parameters
    ----------
    build : callable
        ``build(configuration, rng)`` returns a Trainer that is ready to fit; or an estimator or a pipeline of scikit-learn's,
        whose own ``score`` decides if no `scoring` is given. The configuration is a plain dict, which the function may change.
        If it is sent to other processes, it must be at the top level of a module. Values of the user's modules that it reads,
        such as global variables, must be the same there and whenever the search is resumed.
    strategy : ParameterGrid, RandomSampler, SuccessiveHalving, OptunaSampler, other Strategy, or iterable of mapping
        What to fit. An iterable has configurations, or grids: `ParameterGrid`, or scikit-learn's mappings from names to lists
        of values. Grids may overlap; each configuration is fitted once.
    folds : object with scikit-learn's `split`, optional
        By default four: ``KFold(4, shuffle=True, seed=0)``; for labels, scikit-learn's ``StratifiedKFold``, shuffled with the
        seed; for groups, its ``GroupKFold`` or ``StratifiedGroupKFold``.
    store : path-like or None, default="search.sqlite"
        The file of finished fits. None keeps them in memory.
    seed : int, default=0
        The seed of the whole search.
    workers : int, optional
        Number of worker processes, by default one for each processor. One means this process.
    executor : concurrent.futures.Executor, optional
        Runs the fits instead of worker processes. It gets the data with each chunk of fits.
    time_limit : float, optional
        Seconds that a fit may take. Then its worker process is killed, and after three tries the fit is stored as crashed.
        If networks are trained together, the limit is the sum of their limits. With a limit, even one worker is a separate
        process. It cannot be combined with an executor, whose workers cannot be killed.
    repeats : int, default=1
        How often each fold is fitted, each time from other initial weights.
    fork : path-like, optional
        The store of another search with the same data, folds and seed. A new `store` starts with its results for the
        configurations of this search, or with all of them if this search's configurations depend on losses. Fits that failed
        or crashed are not copied, so they are tried again. This search may add `repeats` or `outer`.
    notes : mapping of str to str, optional
        Texts to store beside the results, such as the file that describes this search.
    scoring : str, callable, or list of these, optional
        The score that decides instead of the data loss: a name of scikit-learn's, such as ``"r2"`` or ``"accuracy"``, or a
        function ``f(model, x, y)`` of which more is better. Of several, the first decides, and the ranking shows all. The
        default for a table is ``"neg_root_mean_squared_error"``, or ``["neg_log_loss", "accuracy"]`` for classes: a table
        scales its targets in each fold, so losses are in other units there.
    baselines : bool, optional
        Whether the ranking shows what the mean, a linear model and gradient boosting of scikit-learn's reach on the same
        folds. By default, if `scoring` is given, or the search is run on a table.

    Raises
    ------
    ImportError
        If `scoring` or `baselines` needs scikit-learn, and it is not installed.
    TypeError
        If `build` cannot be sent to another process, `folds` has no `split`, or a configuration is no mapping or has a
        value of an unknown type.
    ValueError
        If there is no configuration, or one appears twice; if `workers` or `repeats` is less than one; or if `time_limit` is
        not above 0 or is given with an executor.

    Notes
    -----
    A script must call `run` under ``if __name__ == "__main__":``, because each spawned worker imports the script.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import loguniform
    >>> from search import KFold, RandomSampler
    >>> from search.testing import build_polynomial
    >>> x = np.linspace(-1, 1, 12)
    >>> search = Search(build_polynomial, RandomSampler(5, degree=[1, 2], lr=loguniform(0.1, 1.0)), store=None, workers=1)
    >>> result = search.run(x, x**2, outer=KFold(3), progress=False)
    >>> len(result.ranking), result.ranking[0].configuration["degree"]
    (5, 2)
    >>> len(result.nested.losses)
    3
    """

    def __init__(
        self,
        build: Build,
        strategy: Strategy | Iterable[Mapping[str, Any]],
        folds: Splitter | None = None,
        store: str | os.PathLike[str] | None = "search.sqlite",
        seed: int = 0,
        workers: int | None = None,
        executor: Executor | None = None,
        time_limit: float | None = None,
        repeats: int = 1,
        fork: str | os.PathLike[str] | None = None,
        notes: Mapping[str, str] | None = None,
        scoring: Score | Iterable[Score] | None = None,
        baselines: bool | None = None,
    ) -> None:
        _check_splitter("folds", folds)
        if not is_positive_integer(repeats):
            raise ValueError(f"repeats={repeats!r}, expected an integer of at least 1")
        self.build = build
        self.strategy = as_strategy(strategy)
        self.folds = folds
        self.store = store
        self.seed = index(seed)
        self.workers = workers
        self.executor = executor
        self.time_limit = time_limit
        self.repeats = index(repeats)
        self.fork = fork
        self.notes = {} if notes is None else dict(notes)
        self.scoring = None if scoring is None else Scoring(scoring)
        check_pool(build, () if self.scoring is None else self.scoring.functions, workers, executor, time_limit)
        if baselines is not None and not isinstance(baselines, bool):
            raise TypeError(
                f"baselines={baselines!r}, expected True, False, or None for those that the data and scores call for"
            )
        self.baselines = baselines
        if baselines and (missing := missing_extra()):
            raise ImportError(missing)

    def run(
        self,
        x: Any,
        y: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        outer: Splitter | None = None,
        progress: bool = True,
        sample_weight: ArrayLike | None = None,
        task: str | None = None,
    ) -> SearchResult:
        """Fit what is not yet in the store, and rank.

        Parameters
        ----------
        x, y : array_like
            The training set, real and finite, of shape (samples, features); one dimension means one feature. y may also be
            strings, booleans or numbers that are labels, or a matrix of 0 and 1 that says which labels a sample has. Instead
            of both, x may be a table: an object with ``x``, ``y``, ``groups``, ``weight``, ``task`` and ``classes``.
        groups : array_like, optional
            The group of each sample, for a splitter that keeps groups together, such as scikit-learn's GroupKFold.
        outer : object with scikit-learn's `split`, optional
            For nested cross-validation. The whole search is repeated in each outer training set, and the configuration that
            it chooses is tested on the outer test set. The estimate is `nested` of the result. Each outer fold takes as many
            fits as the search itself.
        progress : bool, default=True
            Whether to print a forecast of the duration (for a strategy of several rounds, of the first one) and to show a
            progress bar with the best mean loss or score so far, on standard error.
        sample_weight : array_like, shape (samples,), optional
            For the trainings, the losses and the scores. In each part of a fold, weights are scaled to a mean of 1.
        task : {"regression", "classification", "multilabel"}, optional
            What y is. By default, strings and booleans are labels, and other values are what `scoring` is for. Without
            `scoring`, one-dimensional integers are labels where the Trainer's loss takes them.

        Returns
        -------
        SearchResult
            The ranking, and methods to compare and re-train its configurations.

        Raises
        ------
        StoreError
            If the store is another search's, or cannot be read or written; or if a training cannot be resumed from its state
            in the store, because the builder now makes another Trainer.
        SearchError
            If the workers cannot be started. Finished fits are kept: run again to continue.
        TypeError, ValueError
            If x, y, the groups, the weights or the folds are invalid, for instance if a fold splits a group, there is one
            class only, or a class has fewer samples than there are folds.
        """
        _check_splitter("outer", outer)
        samples = self._read(x, y, groups, sample_weight, task)
        scoring = default_scoring(samples) if self.scoring is None else self.scoring
        layout = self._layout(samples, outer)
        candidates = checked_candidates(self.strategy, self.seed)
        baselines = self._baselines(samples)
        made_from = fingerprint(
            samples.x,
            samples.y,
            candidates,
            layout,
            self.seed,
            self.build,
            _describe_scoring(scoring),
            samples.weight,
            samples.classes,
            scores=() if scoring is None else scoring.functions,
            packages=("sklearn",) if baselines or scoring is not None else (),
            task=samples.task,
            categories=samples.categories,
        )
        made_from["strategy"] = self.strategy.describe()
        asked_for = map(canonical_text, candidates) if len(candidates) else None
        own, *inner = (
            StrategyRun(self.strategy, self.seed, fold_numbers)
            for fold_numbers in (layout.fold_numbers, *(fold.inner for fold in layout.nested))
        )
        problem = Problem(
            self.build,
            samples.x,
            samples.y,
            layout.folds,
            samples.weight,
            samples.task,
            samples.classes,
            samples.categories,
            scoring,
            reference=own.round.configurations[0] if baselines and own.round else None,
        )
        workers = worker_count(self.workers)
        with Store(self.store, made_from, self.fork, asked_for, layout.folds) as store:
            for key, text in (self.notes | {"plan": self._describe_size(layout, len(baselines))}).items():
                store.note(key, text)
            results = Results(store)
            if any(run.round and run.count_missing(results) for run in (own, *inner)):
                store.check_engine()
            with open_pool(problem, self.workers, self.executor, self.time_limit) as pool:
                if progress and (expected := forecast_round(problem, [own, *inner], results, pool, workers)):
                    which = "" if self.strategy.describe() == EVERY_CANDIDATE else "first round: "
                    tqdm.write(f"{which}{expected}", file=sys.stderr)
                # Shown only after the first round has set the number of fits.
                with tqdm(total=0, unit="fit", disable=not progress, delay=1e-9) as bar:
                    runner = RoundRunner(problem, results, pool, workers, bar)
                    beside = StrategyRun(ListedConfigurations(baselines), self.seed, layout.fold_numbers) if baselines else None
                    runner.run([own, *inner, *([beside] if beside else [])])
                    nested = self._nested(layout, own, inner, results, runner) if inner else None
            ranking = own.ranking(results, layout.n_folds, self.repeats, baselines)
            if self.strategy.describe() != EVERY_CANDIDATE:  # then the number of fits is not known before
                store.note("complete", str(sum(store.progress().counts.values())))
        return SearchResult(
            ranking,
            self.build,
            self.seed,
            self.workers,
            self.executor,
            folds=layout.folds[: layout.n_folds],
            repeats=self.repeats,
            nested=nested,
            facts=_facts(made_from, results.outcomes()),
            time_limit=self.time_limit,
            problem=problem,
            samples=samples,
            scoring=scoring,
        )

    def _read(
        self, x: Any, y: ArrayLike | None, groups: ArrayLike | None, sample_weight: ArrayLike | None, task: str | None
    ) -> Samples:
        """Return the samples, whose task is that of the scores."""
        implied = None if self.scoring is None or is_table(x) else self.scoring.implied_task()
        task = "classification" if task is None and implied == "classification" else task
        samples = read_samples(x, y, groups, sample_weight, task)
        if samples.task is None and implied is not None:
            samples = read_samples(x, y, groups, sample_weight, implied)
        if samples.task is None and (self.scoring is not None or self.baselines):
            raise ValueError(
                "y is integers, which may be numbers or labels, expected task='regression' or 'classification' with them"
            )
        if self.scoring is not None:
            self.scoring.check(samples.task or "regression", samples.weight is not None)
        return samples

    def _layout(self, samples: Samples, outer: Splitter | None) -> Layout:
        labels = samples.y if samples.task == "classification" else None
        groups = as_groups(samples.groups, len(samples.x))
        splitter = self.folds
        if splitter is None:
            splitter = default_folds(samples.task, groups is not None, self.seed)
            if groups is not None:
                check_group_count(groups)
            if labels is not None and samples.classes is not None:
                check_class_sizes(labels, samples.classes.tolist(), DEFAULT_SPLITS)
        layout = make_layout(splitter, samples.x, samples.y, groups, outer, self.repeats)
        if labels is not None and samples.classes is not None and (lost := untrained_class(layout, labels)):
            fold, code = lost
            name = samples.classes.tolist()[code]
            warnings.warn(f"fold {fold}: no sample of class {name!r} trains, so none can be recognized there", stacklevel=3)
        return layout

    def _baselines(self, samples: Samples) -> list[Configuration]:
        """Return the configurations of the baselines, or none with a line that says why."""
        wanted = self.baselines
        if wanted is None:
            wanted = samples.table is not None or self.scoring is not None
            if wanted and (missing := missing_extra()):
                warnings.warn(missing, stacklevel=3)
                return []
        return baseline_configurations() if wanted else []

    def _nested(
        self, layout: Layout, own: StrategyRun, inner: Sequence[StrategyRun], results: Results, runner: RoundRunner
    ) -> NestedEstimate:
        """Train the choice of each inner search on its whole outer training set, and test it."""
        chosen = [strategy_run.best(results) for strategy_run in inner]
        finals = [
            StrategyRun(ListedConfigurations([configuration]), self.seed, range(fold.outer, fold.outer + 1))
            for (configuration, _), fold in zip(chosen, layout.nested, strict=True)
            if configuration is not None
        ]
        runner.run(finals)
        losses = {final.fold_numbers[0]: final.best(results)[1] for final in finals}
        measure = results.measure
        return NestedEstimate(
            losses=tuple(measure.shown(losses.get(fold.outer, math.nan)) for fold in layout.nested),
            configurations=tuple(configuration for configuration, _ in chosen),
            inner_means=tuple(measure.shown(mean) for _, mean in chosen),
            search_mean=measure.shown(own.best(results)[1]),
            train_sizes=tuple(len(layout.folds[fold.outer][0]) for fold in layout.nested),
            search_train_sizes=tuple(len(train) for train, _ in layout.folds[: layout.n_folds]),
            measure=measure,
        )

    def _describe_size(self, layout: Layout, n_baselines: int) -> str:
        """Return the size of this search as JSON, for readers of its store; 0 fits if their number depends on losses."""
        fits = 0
        if self.strategy.describe() == EVERY_CANDIDATE:
            inner = sum(len(fold.inner) for fold in layout.nested)
            fits = len(self.strategy.candidates(self.seed)) * (len(layout.fold_numbers) + inner) + len(layout.nested)
            fits += n_baselines * len(layout.fold_numbers)
        sizes = [(len(train), len(validation)) for train, validation in layout.folds[: layout.n_folds]]
        return json.dumps({"fits": fits, "fold sizes": sizes, "repeats": self.repeats})


def _with_grid(search: Signature, own: Signature) -> Signature:
    """Return the signature of `Search` with the parameter `grid` instead of `strategy`."""
    parameters = [own.parameters["grid"] if x.name == "strategy" else x for x in search.parameters.values()]
    return search.replace(parameters=parameters)


class GridSearch(Search):
    """A `Search` of every configuration of a grid.

    Parameters
    ----------
    build : callable
        As in `Search`, and so are all parameters after `grid`.
    grid : ParameterGrid, or iterable of ParameterGrid or mapping
        The configurations, or several grids of them; see `Search`.
    folds, store, seed, workers, executor, time_limit, repeats, fork, notes, scoring, baselines : optional

    Examples
    --------
    >>> import numpy as np
    >>> from search.testing import build_polynomial
    >>> x = np.linspace(-1, 1, 12)
    >>> search = GridSearch(build_polynomial, ParameterGrid(degree=[1, 2]), store=None, workers=1)
    >>> result = search.run(x, x**2, progress=False)
    >>> result.ranking[0].configuration
    {'degree': 2}
    """

    def __init__(
        self, build: Build, grid: ParameterGrid | Iterable[Mapping[str, Any]], *arguments: Any, **options: Any
    ) -> None:
        super().__init__(build, grid, *arguments, **options)

    # For help() and IPython; type checkers see any arguments.
    __init__.__signature__ = _with_grid(signature(Search.__init__), signature(__init__))  # type: ignore[attr-defined]


def _describe_scoring(scoring: Scoring | None) -> str:
    """Return the text of the scores for the fingerprint. That of a function has its code and what it reads."""
    if scoring is None:
        return "data loss"
    names = ", ".join(scoring.names)
    if not scoring.functions:
        return names
    read = surroundings_of(scoring.functions)
    code = json.dumps([[*map(describe_function, scoring.functions)], read.values, read.code])
    return names + DIGEST + hashlib.sha256(code.encode()).hexdigest()


def _facts(made_from: Mapping[str, str], outcomes: Collection[Outcome]) -> tuple[tuple[str, str], ...]:
    """Return what was searched, and how long the fits took, as text for people."""
    seconds = sum(outcome.seconds for outcome in outcomes)
    work = f"{seconds / 60.0:.3g} minutes" if seconds >= 60.0 else f"{seconds:.3g} seconds"
    # Values of global variables stay in the store: a report may be published.
    told = {name: text.partition(DIGEST)[0] for name, text in made_from.items() if name not in ("values", "code")}
    return (("fits", f"{len(outcomes):,}, {work} of work together"), *told.items())


def _check_splitter(name: str, splitter: Splitter | None) -> None:
    if isinstance(splitter, type) or (splitter is not None and not callable(getattr(splitter, "split", None))):
        raise TypeError(
            f"{name}={splitter!r} is no splitter, expected an object with split, such as KFold(4, shuffle=True, seed=0)"
        )
