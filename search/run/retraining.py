"""Re-training: some configurations on the whole training set, tested on the test set.

    train, test --> one "fold" whose validation part is the test set --> pool --> Retrained, in order of the ranking

Training does not use the test set. Choosing the network with the lowest test loss, as the report does, does use it.
`Retrained.best_by_cv` is chosen without the test set, `Retrained.best_by_test` with it.
"""

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from search.errors import SearchError
from search.pool import open_pool, worker_count
from search.ranking.measure import Measure, measure_of
from search.ranking.ranking import RankedConfiguration
from search.run.plan import Chunker
from search.space.configuration import Configuration, as_columns
from search.table import EndedRows, text_table
from search.trials.data import Array, DataSet, Samples, is_table, read_samples
from search.trials.fits import Build, Fit, Outcome, Problem, Trained
from search.trials.running import run_fits
from search.trials.scoring import Scoring


@dataclass(frozen=True)
class RetrainedConfiguration:
    """One network that was trained on the whole training set.

    Attributes
    ----------
    rank : int
        The rank of its configuration in the cross-validation.
    configuration : dict
        What was trained.
    mean : float
        The mean validation loss of its configuration in the cross-validation, or the mean score if a score decides.
    train_loss, test_loss : float
        Data loss of the trained network; NaN if it is not done, or is an estimator.
    status, reason : str
        ``"done"``; or ``"diverged"``, ``"failed"`` or ``"crashed"``, with the reason.
    history : dict of str to ndarray
        ``"train_loss"``, ``"validation_loss"`` (on the test set, which no training can read) and ``"lr"`` per epoch; empty if
        it is not done. The losses on the test set are NaN for a user's own trainer that does not record them.
    state_dict : dict of str to ndarray
        The weights; empty if it is not done.
    seconds : float
        Wall time of the training.
    scores : dict of str to float
        The scores on the test set, the one that decides first; empty if the loss decides.

    Examples
    --------
    >>> import numpy as np
    >>> from search import GridSearch, ParameterGrid
    >>> from search.testing import build_polynomial
    >>> x = np.linspace(-1, 1, 12)
    >>> search = GridSearch(build_polynomial, ParameterGrid(degree=[1, 2]), store=None, workers=1)
    >>> result = search.run(x, x**2, progress=False)
    >>> [row] = result.retrain(top=1, train=(x, x**2), test=([0.5, 0.7], [0.25, 0.49]), progress=False)
    >>> row.rank, row.status, round(row.test_loss, 6)
    (1, 'done', 0.0)
    """

    rank: int
    configuration: Configuration
    mean: float
    train_loss: float
    test_loss: float
    status: str
    reason: str
    history: dict[str, np.ndarray]
    state_dict: dict[str, np.ndarray]
    seconds: float
    scores: dict[str, float] = field(default_factory=dict, hash=False)

    @property
    def test_value(self) -> float:
        """What decides, on the test set: the loss or the first score."""
        return next(iter(self.scores.values())) if self.scores else self.test_loss


class Retrained(EndedRows[RetrainedConfiguration]):
    """The re-trained networks, in order of their cross-validation rank.

    Parameters
    ----------
    rows : iterable of RetrainedConfiguration
        In order of their rank.

    Examples
    --------
    >>> import numpy as np
    >>> from search import GridSearch, ParameterGrid
    >>> from search.testing import build_polynomial
    >>> x = np.linspace(-1, 1, 12)
    >>> search = GridSearch(build_polynomial, ParameterGrid(degree=[1, 2]), store=None, workers=1)
    >>> result = search.run(x, x**2, progress=False)
    >>> retrained = result.retrain(top=2, train=(x, x**2), test=([0.5, 0.7], [0.25, 0.49]), progress=False)
    >>> retrained.best_by_cv.configuration, retrained.best_by_test.configuration
    ({'degree': 2}, {'degree': 2})
    """

    @property
    def best_by_cv(self) -> RetrainedConfiguration:
        """The first network that is done. The test set did not choose it, so its test loss is an unbiased estimate."""
        return self._trained()[0]

    @property
    def best_by_test(self) -> RetrainedConfiguration:
        """The network with the lowest test loss, as in the report, or the highest test score.

        The test set chose it, so this value is too optimistic.
        """
        return min(self._trained(), key=lambda row: self.measure.shown(row.test_value))

    @property
    def measure(self) -> Measure:
        """What decides: the loss, or the first score."""
        return measure_of(next((row.scores for row in self if row.scores), {}))

    def table(self) -> str:
        """Return the networks as an aligned text table, with status and reason if any of them is not done."""
        names, values = as_columns([row.configuration for row in self])
        scored = next(([*row.scores] for row in self if row.scores), [])
        header = ["cv rank", *names, "cv mean", "train loss", "test loss", *(f"test {name}" for name in scored)]
        body = [
            [row.rank, *cells, row.mean, row.train_loss, row.test_loss, *(row.scores.get(name, math.nan) for name in scored)]
            for row, cells in zip(self, values, strict=True)
        ]
        if len(self.done) < len(self):
            header += ["status", "reason"]
            body = [[*line, row.status, row.reason] for line, row in zip(body, self, strict=True)]
        return text_table(header, body)

    def _trained(self) -> tuple[RetrainedConfiguration, ...]:
        if not self.done:
            raise SearchError("no configuration could be re-trained; the table gives the reasons")
        return self.done


def as_retrained(row: RankedConfiguration, outcome: Outcome) -> RetrainedConfiguration:
    """Return a configuration of the ranking with the outcome of its fit on the whole training set."""
    trained = outcome.trained or Trained({}, {})
    return RetrainedConfiguration(
        rank=row.rank,
        configuration=row.configuration,
        mean=row.value,
        train_loss=outcome.train_loss,
        test_loss=outcome.validation_loss,
        status=outcome.status,
        reason=outcome.reason,
        history=trained.history,
        state_dict=trained.state_dict,
        seconds=outcome.seconds,
        scores=outcome.scores,
    )


def retraining_problem(
    build: Build, train: DataSet, test: DataSet, searched: Samples | None = None, scoring: Scoring | None = None
) -> Problem:
    """Return the problem whose one fold trains on all of `train` and validates on `test`.

    Parameters
    ----------
    build : callable
    train, test : (x, y), (x, y, weights of the samples), or a table
    searched : Samples, optional
        Of the search: its task, and its classes, by which labels are encoded.
    scoring : Scoring, optional
        Of the search.

    Raises
    ------
    ValueError
        If the two sets differ in their features or dtypes, one lacks the weights that the search had, or
        `search.trials.data.read_samples` does not accept one of them.

    Examples
    --------
    >>> problem = retraining_problem(print, train=([1, 2, 3], [1, 4, 9]), test=([4], [16]))
    >>> problem.folds
    ((array([0, 1, 2]), array([3])),)
    """
    task, classes = (None, None) if searched is None else (searched.task, searched.classes)
    gaps = searched is not None and searched.table is not None
    one, other = (_read(given, label, task, classes, gaps) for given, label in ((train, "training "), (test, "test ")))
    for name, ours, theirs in (("x", one.x, other.x), ("y", one.y, other.y)):
        if ours.shape[1:] != theirs.shape[1:] or ours.dtype != theirs.dtype:
            raise ValueError(
                f"test {name} has samples of shape {theirs.shape[1:]} and {theirs.dtype}, "
                f"expected {ours.shape[1:]} and {ours.dtype} as in training {name}"
            )
    if searched is not None and searched.weight is not None and one.weight is None:
        raise ValueError(
            "the samples of the search had weights and the training set has none, expected them too: "
            "train=(x, y, sample_weight)"
        )
    if (one.weight is None) != (other.weight is None):
        raise ValueError("one of the training and the test set has weights, expected both or none")
    weight = None if one.weight is None or other.weight is None else np.concatenate([one.weight, other.weight])
    fold = (np.arange(len(one.x)), np.arange(len(one.x), len(one.x) + len(other.x)))
    x, y = np.concatenate([one.x, other.x]), np.concatenate([one.y, other.y])
    return Problem(build, x, y, (fold,), weight, task, classes, one.categories, scoring)


def _read(given: DataSet, label: str, task: str | None, classes: Array | None, gaps: bool) -> Samples:
    x, y, weight = (given, None, None) if is_table(given) else given if len(given) == 3 else (*given, None)
    return read_samples(x, y, weight=weight, task=task, classes=classes, label=label, gaps=gaps)


def run_in_order(
    problem: Problem,
    fits: Sequence[Fit],
    workers: int | None,
    executor: Executor | None,
    time_limit: float | None,
    progress: bool,
) -> list[Outcome]:
    """Run fits without a store, and return their outcomes in the order of the fits."""
    outcomes: dict[Fit, Outcome] = {}
    chunker = Chunker(fits, worker_count(workers))
    with (
        tqdm(total=len(fits), unit="fit", disable=not progress) as bar,
        open_pool(problem, workers, executor, time_limit) as pool,
    ):

        def handle(fit: Fit, outcome: Outcome) -> None:
            outcomes[fit] = outcome
            chunker.learn(fit, outcome)
            bar.update()

        pool.run(run_fits, chunker.chunks(), handle)
    return [outcomes[fit] for fit in fits]
