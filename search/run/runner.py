"""Running: the rounds of strategies, side by side on one pool, with a progress bar.

strategy runs --fits of their rounds that are missing--> chunks --> pool --> Results --> the next rounds, until all end
"""

import math
import random
from collections.abc import Sequence
from itertools import chain
from typing import Any

from tqdm import tqdm

from search.pool import Pool
from search.run.plan import Chunker, Forecast, forecast
from search.run.strategy_run import Results, StrategyRun, mean_objective
from search.trials.baselines import baseline_configurations, baseline_of
from search.trials.fits import Fit, Outcome, Problem
from search.trials.running import run_fits

BASELINE_TEXTS = {configuration.text for configuration in baseline_configurations()}
FORECAST_CONFIGURATIONS = 5_000  # used for a forecast; of more, a sample of this size is drawn


def forecast_round(
    problem: Problem, strategy_runs: Sequence[StrategyRun], results: Results, pool: Pool, workers: int
) -> Forecast | None:
    """Predict how long the missing fits of the current rounds will take; None where no fit is missing."""
    total = sum(strategy_run.count_missing(results) for strategy_run in strategy_runs if strategy_run.round is not None)
    if not total:
        return None
    limit = FORECAST_CONFIGURATIONS // len(strategy_runs)
    fits = [fit for strategy_run in strategy_runs for fit in strategy_run.missing(results, _sample(strategy_run, limit))]
    return forecast(problem, fits, total, pool, workers)


def _sample(strategy_run: StrategyRun, limit: int) -> list[int] | None:
    """Return the positions of a sample of a round's configurations; None for all of them."""
    size = len(strategy_run.round.configurations) if strategy_run.round is not None else 0
    # At random: positions at equal distances could coincide with a period of the grid.
    return sorted(random.Random(0).sample(range(size), limit)) if size > limit else None


class RoundRunner:
    """Runs the rounds of strategies until each strategy has come to its end.

    Parameters
    ----------
    problem : Problem
    results : Results
        Where outcomes are looked up and added.
    pool : Pool
    workers : int
        Of the pool.
    bar : tqdm
        Counts fits, and shows the lowest mean loss, or the highest mean score, so far of the first strategy run. Only fits of
        equally many epochs are compared.
    """

    def __init__(self, problem: Problem, results: Results, pool: Pool, workers: int, bar: "tqdm[Any]") -> None:
        self._problem = problem
        self._results = results
        self._pool = pool
        self._workers = workers
        self._bar = bar
        self._best: dict[tuple[int | None, range], float] = {}  # mean objective after some epochs, on some folds

    def run(self, strategy_runs: Sequence[StrategyRun]) -> None:
        """Run all rounds: the first rounds of all strategies together, then the second ones, and so on."""
        while active := [strategy_run for strategy_run in strategy_runs if strategy_run.round is not None]:
            self._run_round(active)
            for strategy_run in active:
                strategy_run.advance(self._results)
            resumed_from = {past.epochs for strategy_run in active for past in strategy_run.past_rounds[-2:-1]}
            just_stopped = {strategy_run.past_rounds[-1].epochs for strategy_run in active}
            for epochs in resumed_from - just_stopped - {None}:
                self._results.forget_states(epochs)

    def _run_round(self, strategy_runs: Sequence[StrategyRun]) -> None:
        results, bar, first = self._results, self._bar, strategy_runs[0]
        missing = sum(strategy_run.count_missing(results) for strategy_run in strategy_runs)
        total = sum(
            len(strategy_run.round.configurations) * len(strategy_run.fold_numbers)
            for strategy_run in strategy_runs
            if strategy_run.round
        )
        bar.total = (bar.total or 0) + total
        bar.update(total - missing)
        if not bar.disable:
            bar.initial += total - missing  # they took no time, so they do not count for the rate
            bar.refresh()
        if not missing:
            return
        self._look_up_best(first)
        chunker = Chunker(chain.from_iterable(strategy_run.missing(results) for strategy_run in strategy_runs), self._workers)

        def handle(fit: Fit, outcome: Outcome) -> None:
            results.add(fit, outcome)
            chunker.learn(fit, outcome)
            if fit.fold in first.fold_numbers and baseline_of(fit.configuration) is None:
                key = fit.epochs, first.fold_numbers
                objective = mean_objective(fit.configuration.text, results.at(fit.epochs), first.fold_numbers)
                self._best[key] = best = min(self._best[key], objective)
                bar.set_postfix_str(f"best {results.measure.shown(best):.4g}" if math.isfinite(best) else "", refresh=False)
            bar.update()

        self._pool.run(run_fits, chunker.chunks(), handle)

    def _look_up_best(self, strategy_run: StrategyRun) -> None:
        """Look up the best mean objective among stored results, unless an earlier round has done so."""
        epochs = strategy_run.round.epochs if strategy_run.round else None
        if (epochs, strategy_run.fold_numbers) not in self._best:
            known = self._results.at(epochs)
            texts = {text for text, fold in known if fold in strategy_run.fold_numbers} - BASELINE_TEXTS
            objectives = (mean_objective(text, known, strategy_run.fold_numbers) for text in texts)
            self._best[epochs, strategy_run.fold_numbers] = min(objectives, default=math.inf)
