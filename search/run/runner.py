"""Running: the rounds of some selections, side by side on one pool, with a progress bar.

selections --fits of their rounds that are missing--> plan --> pool --> Results --> the selections' next rounds, until all end
"""

import math
import random
from collections.abc import Sequence
from itertools import chain
from typing import Any

from tqdm import tqdm

from search.pool import Pool
from search.run.plan import Forecast, Plan, forecast
from search.run.selection import Results, Selection, mean_loss
from search.trials.fits import Fit, Outcome, Problem, run_fits

LOOKED_AT = 5_000  # configurations, to tell how long a round will take; of more, a sample is drawn


def forecast_round(
    problem: Problem, selections: Sequence[Selection], results: Results, pool: Pool, workers: int
) -> Forecast | None:
    """Tell how long the fits that are missing in the rounds of some selections will take; None where none is missing."""
    total = sum(selection.count_missing(results) for selection in selections if selection.round is not None)
    if not total:
        return None
    limit = LOOKED_AT // len(selections)
    fits = [fit for selection in selections for fit in selection.missing(results, _sample(selection, limit))]
    return forecast(problem, fits, total, pool, workers)


def _sample(selection: Selection, limit: int) -> list[int] | None:
    """Return the positions of a sample of a round's configurations; None for all of them."""
    size = len(selection.round.configurations) if selection.round is not None else 0
    # Not at equal distances: these could be a period of the grid.
    return sorted(random.Random(0).sample(range(size), limit)) if size > limit else None


class Runner:
    """Runs rounds until their selections have come to their ends.

    Parameters
    ----------
    problem : Problem
    results : Results
        Where outcomes are found, and go.
    pool : Pool
    workers : int
        Of the pool.
    bar : tqdm
        Shows fits, and the lowest mean loss on the first selection's folds, of trainings that stopped or ended alike.
    """

    def __init__(self, problem: Problem, results: Results, pool: Pool, workers: int, bar: "tqdm[Any]") -> None:
        self._problem = problem
        self._results = results
        self._pool = pool
        self._workers = workers
        self._bar = bar
        self._best: dict[tuple[int | None, range], float] = {}  # mean loss after some epochs, on some folds

    def run(self, selections: Sequence[Selection]) -> None:
        """Run all rounds of some selections, the first ones together, then the second ones, and so on."""
        while active := [selection for selection in selections if selection.round is not None]:
            self._run_round(active)
            for selection in active:
                selection.advance(self._results)
            gone_on_from = {past.epochs for selection in active for past in selection.past[-2:-1]}
            just_stopped = {selection.past[-1].epochs for selection in active}
            for epochs in gone_on_from - just_stopped - {None}:
                self._results.forget_states(epochs)

    def _run_round(self, selections: Sequence[Selection]) -> None:
        results, bar, first = self._results, self._bar, selections[0]
        missing = sum(selection.count_missing(results) for selection in selections)
        total = sum(len(selection.round.configurations) * len(selection.numbers) for selection in selections if selection.round)
        bar.total = (bar.total or 0) + total
        bar.update(total - missing)
        if not bar.disable:
            bar.initial += total - missing  # which took no time: the rate is that of the others
            bar.refresh()
        if not missing:
            return
        self._look_up_best(first)
        plan = Plan(chain.from_iterable(selection.missing(results) for selection in selections), self._workers)

        def handle(fit: Fit, outcome: Outcome) -> None:
            results.add(fit, outcome)
            plan.learn(fit, outcome)
            key = fit.epochs, first.numbers
            if fit.fold in first.numbers:
                loss = mean_loss(fit.configuration.text, results.at(fit.epochs), first.numbers)
                self._best[key] = min(self._best[key], loss)
                bar.set_postfix_str(f"best {self._best[key]:.4g}" if math.isfinite(self._best[key]) else "", refresh=False)
            bar.update()

        self._pool.run(run_fits, plan.chunks(), handle)

    def _look_up_best(self, selection: Selection) -> None:
        """Look up the best mean loss of a selection among what is stored, where no earlier round has done so."""
        epochs = selection.round.epochs if selection.round else None
        if (epochs, selection.numbers) not in self._best:
            known = self._results.at(epochs)
            texts = {text for text, fold in known if fold in selection.numbers}
            losses = (mean_loss(text, known, selection.numbers) for text in texts)
            self._best[epochs, selection.numbers] = min(losses, default=math.inf)
