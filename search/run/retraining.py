"""Re-training: some configurations on the whole training set, tested on the test set.

    train, test --> one "fold" whose validation part is the test set --> pool --> Retrained, in order of the ranking

Training does not use the test set. Choosing the network with the lowest test loss, as the report does, does use it.
`Retrained.best_by_cv` is chosen without the test set, `Retrained.best_by_test` with it.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from search.errors import SearchError
from search.pool import open_pool, worker_count
from search.ranking.ranking import RankedConfiguration
from search.run.plan import Chunker
from search.space.configuration import Configuration, as_columns
from search.table import EndedRows, text_table
from search.trials.data import DataSet, as_samples
from search.trials.fits import Build, Fit, Outcome, Problem, Trained, run_fits


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
        The mean validation loss of its configuration in the cross-validation.
    train_loss, test_loss : float
        Data loss of the trained network; NaN if it is not done.
    status, reason : str
        ``"done"``; or ``"diverged"``, ``"failed"`` or ``"crashed"``, with the reason.
    history : dict of str to ndarray
        ``"train_loss"``, ``"validation_loss"`` (on the test set) and ``"lr"`` per epoch; empty if it is not done.
    state_dict : dict of str to ndarray
        The weights; empty if it is not done.
    seconds : float
        Wall time of the training.
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


class Retrained(EndedRows[RetrainedConfiguration]):
    """The re-trained networks, in order of their cross-validation rank.

    Parameters
    ----------
    rows : iterable of RetrainedConfiguration
        In order of their rank.
    """

    @property
    def best_by_cv(self) -> RetrainedConfiguration:
        """The first network that is done. The test set did not choose it, so its test loss is an unbiased estimate."""
        return self._trained()[0]

    @property
    def best_by_test(self) -> RetrainedConfiguration:
        """The network with the lowest test loss, as in the report. The test set chose it, so this loss is too optimistic."""
        return min(self._trained(), key=lambda row: row.test_loss)

    def table(self) -> str:
        """Return the networks as an aligned text table, with status and reason if any of them is not done."""
        names, values = as_columns([row.configuration for row in self])
        header = ["cv rank", *names, "cv mean", "train loss", "test loss"]
        body = [[row.rank, *cells, row.mean, row.train_loss, row.test_loss] for row, cells in zip(self, values, strict=True)]
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
        mean=row.mean,
        train_loss=outcome.train_loss,
        test_loss=outcome.validation_loss,
        status=outcome.status,
        reason=outcome.reason,
        history=trained.history,
        state_dict=trained.state_dict,
        seconds=outcome.seconds,
    )


def retraining_problem(build: Build, train: DataSet, test: DataSet) -> Problem:
    """Return the problem whose one fold trains on all of `train` and validates on `test`.

    Raises
    ------
    ValueError
        If the two sets differ in their features or dtypes, or `search.trials.data.as_samples` does not accept one of them.

    Examples
    --------
    >>> problem = retraining_problem(print, train=([1, 2, 3], [1, 4, 9]), test=([4], [16]))
    >>> problem.folds
    ((array([0, 1, 2]), array([3])),)
    """
    x, y = as_samples(*train, label="training ")
    x_test, y_test = as_samples(*test, label="test ")
    for name, ours, theirs in (("x", x, x_test), ("y", y, y_test)):
        if ours.shape[1:] != theirs.shape[1:] or ours.dtype != theirs.dtype:
            raise ValueError(
                f"test {name} has samples of shape {theirs.shape[1:]} and {theirs.dtype}, "
                f"expected {ours.shape[1:]} and {ours.dtype} as in training {name}"
            )
    fold = (np.arange(len(x)), np.arange(len(x), len(x) + len(x_test)))
    return Problem(build, np.concatenate([x, x_test]), np.concatenate([y, y_test]), (fold,))


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
