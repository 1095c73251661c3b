"""The ranking: the configurations of a search, best first.

configurations, outcomes of all their fits --rank--> Ranking, by loss or score, beside its baselines --> table, CSV, data frame
"""

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from search.errors import SearchError
from search.frames import data_frame
from search.output import write_csv
from search.ranking.measure import Measure, measure_of
from search.space.configuration import Configuration, as_columns, as_configuration, canonical_text, value_text
from search.table import EndedRows, text_table
from search.trials.baselines import baseline_of
from search.trials.fits import Outcome

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RankedConfiguration:
    """One row of a ranking.

    Attributes
    ----------
    rank : int
        Counted from 1; 0 for a baseline.
    configuration : dict
        What was fitted.
    mean, std : float
        Mean and standard deviation (``ddof=0``, as in scikit-learn) of the folds' validation losses; NaN if the status is not
        ``"done"``, or it has no loss, as an estimator.
    losses : tuple of float
        The validation loss of each fold; with repeats, of each fold in the first repeat, then in the second, and so on.
    status : str
        ``"done"`` if all fits are done, else the status of the first fit that is not; or ``"stopped"`` if a strategy
        continued without this configuration.
    reason : str
        Why it is not done, and in which fold; else empty.
    last_round : int or None
        The number of epochs in the last round of a stopped configuration; None for all others. Its own training may be
        shorter.
    scores : dict of str to tuple of float
        The scores of each fold by name, the one that decides first; empty if the loss decides.

    Examples
    --------
    >>> import numpy as np
    >>> from search import GridSearch, ParameterGrid
    >>> from search.testing import build_polynomial
    >>> x = np.linspace(-1, 1, 12)
    >>> search = GridSearch(build_polynomial, ParameterGrid(degree=[1, 2]), store=None, workers=1)
    >>> result = search.run(x, x**2, progress=False)
    >>> row = result.ranking[0]
    >>> row.rank, row.configuration, row.status, len(row.losses)
    (1, {'degree': 2}, 'done', 4)
    """

    rank: int
    configuration: Configuration
    mean: float
    std: float
    losses: tuple[float, ...]
    status: str
    reason: str
    last_round: int | None = None
    scores: dict[str, tuple[float, ...]] = field(default_factory=dict, hash=False)

    @property
    def objectives(self) -> tuple[float, ...]:
        """For each fold, what the search minimizes: the loss, or minus the score that decides."""
        return tuple(-score for score in next(iter(self.scores.values()))) if self.scores else self.losses

    @property
    def objective(self) -> float:
        """The mean of the objectives; NaN if the status is not ``"done"``."""
        return mean_and_std(self.objectives)[0] if self.status == "done" else math.nan

    @property
    def values(self) -> tuple[float, ...]:
        """For each fold, what decides, as it is: the loss or the first score."""
        return next(iter(self.scores.values())) if self.scores else self.losses

    @property
    def value(self) -> float:
        """The mean of the values; NaN if the status is not ``"done"``."""
        return measure_of(self.scores).shown(self.objective)


class Ranking(EndedRows[RankedConfiguration]):
    """The configurations of a search, lowest mean validation loss first, or highest mean of the score that decides.

    Configurations that are done come first. Those that a strategy stopped follow: the longest last round first, and within a
    round by the mean loss in it. Configurations with a fit that failed or diverged come last. Ties are ordered by canonical
    text, so that the ranking depends only on the results.

    Parameters
    ----------
    rows : iterable of RankedConfiguration
        In order of their rank, all with the same number of folds.
    repeats : int, default=1
        How often each fold was fitted, from other initial weights.
    baselines : iterable of RankedConfiguration
        What simple estimators reach on the same folds, best first. They are no part of the sequence.

    Examples
    --------
    >>> ranking = rank([{"lr": 0.1}, {"lr": 0.2}], {('{"lr":0.1}', 0): Outcome("done", 0.75, 0.5),
    ...                                             ('{"lr":0.2}', 0): Outcome("done", 0.25, 0.5)}, n_folds=1)
    >>> print(ranking)
    rank   lr  mean  std  fold 0
       1  0.2  0.25    0    0.25
       2  0.1  0.75    0    0.75
    >>> ranking.best(top=1)[0].configuration
    {'lr': 0.2}
    """

    def __init__(
        self, rows: Iterable[RankedConfiguration], repeats: int = 1, baselines: Iterable[RankedConfiguration] = ()
    ) -> None:
        super().__init__(rows)
        self.repeats = repeats
        self.baselines = tuple(baselines)

    @property
    def measure(self) -> Measure:
        """What decides: the loss, or the first score."""
        return measure_of(self._rows[0].scores if self._rows else {})

    @property
    def score_names(self) -> tuple[str, ...]:
        """The names of the scores, the one that decides first; empty if the loss decides."""
        return tuple(self._rows[0].scores) if self._rows else ()

    @property
    def fold_names(self) -> list[str]:
        """The names of the folds, in the order of a row's losses."""
        n_fits = len(self._rows[0].losses) if self._rows else 0
        return _fold_names(n_fits // self.repeats, self.repeats)

    @property
    def failure(self) -> str:
        """Why no configuration is done, in one line with the most frequent reason; empty if one is."""
        if self.done or not self._rows:
            return ""
        bad = [row for row in self if row.status != "stopped"]
        reasons = Counter(f"{row.status}, {row.reason.partition(': ')[2] or row.reason}" for row in bad)
        [(reason, count)] = reasons.most_common(1)
        some = f"{len(bad):,} of {len(self):,} configurations" if len(bad) < len(self) else "every configuration"
        share = "all for the same reason" if count == len(bad) else "most of them" if 2 * count > len(bad) else "for example"
        return f"{some} failed or diverged, {share}: {reason}"

    def best(self, top: int = 20) -> tuple[RankedConfiguration, ...]:
        """Return the first rows that are done.

        Parameters
        ----------
        top : int, default=20
            How many, at most.

        Raises
        ------
        SearchError
            If no configuration is done.
        ValueError
            If `top` is less than one.
        """
        if top < 1:
            raise ValueError(f"top={top}, expected at least 1")
        if not (done := self.done):
            raise SearchError(self.failure or "the ranking has no configuration")
        return done[:top]

    def rows_of(self, configurations: Iterable[Mapping[str, Any]]) -> tuple[RankedConfiguration, ...]:
        """Return the rows of some configurations, each once, in the order of the ranking.

        Parameters
        ----------
        configurations : iterable of mapping
            In any order.

        Raises
        ------
        ValueError
            If no configuration is given, or one is not in the ranking.
        """
        wanted = {canonical_text(configuration) for configuration in configurations}
        rows = {canonical_text(row.configuration): row for row in self}
        if not wanted:
            raise ValueError("configurations is empty, expected at least one")
        if unknown := wanted - rows.keys():
            raise ValueError(f"configuration {min(unknown)} is not in the ranking, expected one of its rows")
        return tuple(row for text, row in rows.items() if text in wanted)

    def table(self, top: int = 20) -> str:
        """Return the first rows as an aligned text table, with status and reason if any of them is not done.

        Each baseline has the place that it would have in the ranking, and its name instead of a rank. Further lines say which
        score decides, and whether a baseline is better than the best configuration.
        """
        rows = self._with_baselines(self._rows[:top])
        header, body = self._columns(rows)
        if all(row.status == "done" for row in rows):
            header, body = header[:-2], [line[:-2] for line in body]
        return "\n".join([text_table(header, body), *self._remarks()])

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write all rows to a CSV file, whole or not at all; floats round-trip to the bit.

        Raises
        ------
        SearchError
            If the file cannot be written.
        """
        write_csv(path, *self._columns(self._rows))

    def to_frame(self) -> "pd.DataFrame":
        """Return all rows as a pandas data frame; see `search.frames.data_frame` for the types of its columns.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        header, body = self._columns(self._rows)
        names, values = as_columns([row.configuration for row in self], missing=None)
        end = 1 + len(names)
        others = [[*line[:1], *line[end:]] for line in body]
        return data_frame(names, values, [*header[:1], *header[end:]], others)

    def _with_baselines(self, rows: Sequence[RankedConfiguration]) -> list[RankedConfiguration]:
        """Return the rows, and the baselines where they would be: those that are done before the first that is worse."""
        merged = [*rows]
        for baseline in reversed(self.baselines):
            worse = (i for i, row in enumerate(merged) if row.status != "done" or row.objective > baseline.objective)
            merged.insert(next(worse, len(merged)) if baseline.status == "done" else len(merged), baseline)
        return merged

    def _remarks(self) -> list[str]:
        lines = [f"ranked by {self.measure.name}: the higher, the better"] if self.measure.is_score else []
        done = [baseline for baseline in self.baselines if baseline.status == "done"]
        if done and self.done:
            better = [str(baseline_of(x.configuration)) for x in done if x.objective < self.done[0].objective]
            if better:
                lines.append(f"better than the best configuration: the baseline {' and '.join(better)}")
        return lines

    def _columns(self, rows: Sequence[RankedConfiguration]) -> tuple[list[str], list[list[Any]]]:
        """Return the header and the cells of some rows; status and reason are the last two.

        If scores decide, their means are before the mean loss, which estimators do not have, and the folds are those of the
        score that decides.
        """
        names, values = as_columns([{} if row.rank == 0 else row.configuration for row in rows])
        scored = self.score_names
        has_loss = any(loss == loss for row in (*self._rows, *self.baselines) for loss in row.losses)
        summary = [*scored, "std", "mean loss"][: None if has_loss else -1] if scored else ["mean", "std"]
        header = ["rank", *names, *summary, *self.fold_names, "status", "reason"]
        body = [
            [
                row.rank or f"({baseline_of(row.configuration)})",
                *cells,
                *(_summary(row, scored)[: len(summary)] if scored else (row.mean, row.std)),
                *row.values,
                row.status,
                row.reason,
            ]
            for row, cells in zip(rows, values, strict=True)
        ]
        return header, body


def _summary(row: RankedConfiguration, names: Sequence[str]) -> list[float]:
    """Return the mean of each score, the standard deviation of the first, and the mean loss; NaN if the row is not done."""
    if row.status != "done":
        return [math.nan] * (len(names) + 2)
    means = [mean_and_std(row.scores[name]) for name in names]
    return [*(mean for mean, _ in means), means[0][1], row.mean]


def mean_and_std(losses: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the standard deviation (``ddof=0``) of some losses; infinite where they overflow.

    Examples
    --------
    >>> mean_and_std([1.0, 2.0])
    (1.5, 0.5)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.mean(losses)), float(np.std(losses))


def rank(
    configurations: Iterable[Mapping[str, Any]],
    outcomes: Mapping[tuple[str, int], Outcome],
    n_folds: int,
    repeats: int = 1,
    last_rounds: Mapping[str, int] | None = None,
) -> Ranking:
    """Return the ranking of configurations whose fits have all ended: first done, then stopped, then failed.

    Parameters
    ----------
    configurations : iterable of mapping
        In any order. Baselines among them become those of the ranking.
    outcomes : mapping
        From canonical text and fold to the outcome, as `Store.outcomes` gives them. Fold k in repeat r has the number
        ``r * n_folds + k``.
    n_folds : int
        Number of folds.
    repeats : int, default=1
        How often each fold was fitted, from other initial weights.
    last_rounds : mapping, optional
        From the canonical text of each configuration that a strategy stopped to the epochs of its last round. Its outcomes
        are those of that round.

    Examples
    --------
    >>> outcomes = {('{"lr":0.1}', 0): Outcome("done", 0.75), ('{"lr":0.2}', 0): Outcome("done", 0.25)}
    >>> print(rank([{"lr": 0.1}, {"lr": 0.2}], outcomes, n_folds=1, last_rounds={'{"lr":0.2}': 9}))
    rank   lr  mean  std  fold 0  status   reason
       1  0.1  0.75    0    0.75  done
       2  0.2   nan  nan    0.25  stopped  not among the best of the round to epoch 9
    """
    names = _fold_names(n_folds, repeats)
    scores = next((tuple(outcome.scores) for outcome in outcomes.values() if outcome.scores), ())
    given = map(as_configuration, configurations)
    unranked = (_unranked(configuration, outcomes, names, last_rounds or {}, scores) for configuration in given)
    rows = sorted(unranked, key=_order)
    baselines = [replace(row, rank=0) for row in rows if baseline_of(row.configuration) is not None]
    rows = [row for row in rows if baseline_of(row.configuration) is None] if baselines else rows
    return Ranking((replace(row, rank=position) for position, row in enumerate(rows, start=1)), repeats, baselines)


def varying_parameters(ranking: Ranking) -> dict[str, list[Any]]:
    """Return the parameters that have more than one value, each with its values in order.

    Examples
    --------
    >>> from search import Outcome
    >>> grid = [{"lr": 0.2, "epochs": 9}, {"lr": 0.1, "epochs": 9}]
    >>> outcomes = {(canonical_text(row), 0): Outcome("done", row["lr"]) for row in grid}
    >>> varying_parameters(rank(grid, outcomes, n_folds=1))
    {'lr': [0.1, 0.2]}
    """
    names, rows = as_columns([row.configuration for row in ranking])
    columns = {name: in_order(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
    return {name: values for name, values in columns.items() if len(values) > 1}


def _fold_names(n_folds: int, repeats: int) -> list[str]:
    if repeats == 1:
        return [f"fold {fold}" for fold in range(n_folds)]
    return [f"fold {fold} repeat {repeat}" for repeat in range(repeats) for fold in range(n_folds)]


def _unranked(
    configuration: Configuration,
    outcomes: Mapping[tuple[str, int], Outcome],
    names: Sequence[str],
    last_rounds: Mapping[str, int],
    score_names: Sequence[str],
) -> RankedConfiguration:
    fits = [outcomes[configuration.text, number] for number in range(len(names))]
    losses = tuple(outcome.validation_loss for outcome in fits)
    mean, std, status, reason, last_round = math.nan, math.nan, "done", "", None
    bad = next((number for number, outcome in enumerate(fits) if outcome.status != "done"), None)
    if bad is not None:
        status, reason = fits[bad].status, f"{names[bad]}: {fits[bad].reason}"
    elif configuration.text in last_rounds:
        last_round = last_rounds[configuration.text]
        status, reason = "stopped", f"not among the best of the round to epoch {last_round}"
    else:
        mean, std = mean_and_std(losses)
    scores = {name: tuple(outcome.scores.get(name, math.nan) for outcome in fits) for name in score_names}
    return RankedConfiguration(0, configuration, mean, std, losses, status, reason, last_round, scores)


def _order(row: RankedConfiguration) -> tuple[int, int, float, str]:
    text = row.configuration.text
    if row.status == "done":
        return 0, 0, row.objective, text
    if row.last_round is not None:
        return 1, -row.last_round, mean_and_std(row.objectives)[0], text
    return 2, 0, 0.0, text


def in_order(values: Sequence[Any]) -> list[Any]:
    """Return the different values, sorted. If they cannot be compared, sort them by their text."""
    different = [*{value_text(value): value for value in values}.values()]
    try:
        return sorted(different)
    except TypeError:
        return sorted(different, key=value_text)
