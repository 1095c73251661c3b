"""One fit: a configuration trained on one fold, and what came of it.

Problem (build, x, y, folds: the same for every fit)  --.
                                                         +--> run_fit --> Outcome
Fit (configuration, fold, seed)                       --'
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from search.configuration import Configuration
from search.data import Array
from search.folds import Fold

HISTORY_KEYS = ("train_loss", "validation_loss", "lr")


class Model(Protocol):
    """What a search needs of a network."""

    def state_dict(self) -> dict[str, Array]:
        """Return the weights by name."""
        ...


class History(Protocol):
    """What a search needs of a training's history."""

    def __getitem__(self, key: str, /) -> Any:
        """Return ``"train_loss"``, ``"validation_loss"`` or ``"lr"``: one number per epoch."""
        ...


class Trainer(Protocol):
    """What a search needs of the object that `build` returns, such as `tinygrad_lab.Trainer`."""

    @property
    def model(self) -> Model:
        """The network that is trained."""
        ...

    def fit(self, x: Array, y: Array, *, validation: tuple[Array, Array]) -> History:
        """Train on x and y; an `ArithmeticError` means that the training diverged."""
        ...

    def evaluate(self, x: Array, y: Array) -> float:
        """Return the data loss on x and y, without penalty."""
        ...


Build = Callable[[Configuration, np.random.Generator], Trainer]


@dataclass(frozen=True)
class Problem:
    """What every fit of a search shares: how to build a Trainer, the samples, and the folds as indices into them."""

    build: Build
    x: Array
    y: Array
    folds: tuple[Fold, ...]


@dataclass(frozen=True, eq=False)
class Fit:
    """One piece of work: this configuration, on that fold of the problem, from this seed. Equal only to itself."""

    configuration: Mapping[str, Any]
    fold: int
    seed: np.random.SeedSequence
    keep: bool = False  # whether the outcome holds the history and the weights


@dataclass(frozen=True)
class Trained:
    """What a fit that is kept leaves behind: its history by name, its weights by name."""

    history: dict[str, Array]
    state_dict: dict[str, Array]


@dataclass(frozen=True)
class Outcome:
    """What came of one fit.

    Attributes
    ----------
    status : str
        ``"done"``, ``"diverged"`` (a loss that is not finite) or ``"failed"`` (any other exception).
    validation_loss, train_loss : float
        Data loss of the trained model on the two parts of the fold; NaN where there is none.
    seconds : float
        Wall time of the fit.
    reason : str
        Why it did not end as ``"done"``, else empty.
    trained : Trained or None
        History and weights, for a fit that is kept and done.
    """

    status: str
    validation_loss: float = math.nan
    train_loss: float = math.nan
    seconds: float = 0.0
    reason: str = ""
    trained: Trained | None = field(default=None, compare=False)


def run_fit(problem: Problem, fit: Fit) -> Outcome:
    """Train one configuration on one fold.

    Whatever the fit raises becomes the outcome's reason, so that one bad configuration cannot end a search.

    Examples
    --------
    >>> def build(configuration, rng):
    ...     raise ValueError("no such activation")
    >>> x = np.zeros((2, 1))
    >>> problem = Problem(build, x, x, ((np.array([0]), np.array([1])),))
    >>> outcome = run_fit(problem, Fit({"activation": "step"}, 0, np.random.SeedSequence(0)))
    >>> outcome.status, outcome.reason
    ('failed', 'ValueError: no such activation')
    """
    start = time.perf_counter()
    train, validation = problem.folds[fit.fold]
    x, y = problem.x[train], problem.y[train]
    x_validation, y_validation = problem.x[validation], problem.y[validation]
    status, reason = "done", ""
    validation_loss = train_loss = math.nan
    trained = None
    try:
        # An overflow shows in the loss; as a warning it would depend on the caller's settings.
        with np.errstate(all="ignore"):
            trainer = problem.build(dict(fit.configuration), np.random.default_rng(fit.seed))
            history = trainer.fit(x, y, validation=(x_validation, y_validation))
            train_loss = float(trainer.evaluate(x, y))
            validation_loss = float(trainer.evaluate(x_validation, y_validation))
            if not math.isfinite(validation_loss):
                status, reason = "diverged", f"validation loss is {validation_loss}"
            elif fit.keep:
                trained = Trained(
                    {key: np.array(history[key], dtype=np.float64) for key in HISTORY_KEYS},
                    trainer.model.state_dict(),
                )
    except (Exception, SystemExit) as error:
        status = "diverged" if isinstance(error, ArithmeticError) else "failed"
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        validation_loss = train_loss = math.nan
    return Outcome(status, validation_loss, train_loss, time.perf_counter() - start, reason, trained)
