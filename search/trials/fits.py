"""Fits: configurations, each trained on one fold, and their outcomes.

Problem (build, x, y, folds: the same for every fit)  --.
                                                         +--> run_fits --> an Outcome for each fit, as it ends
Fits (configuration, fold, seed)                      --'                     |
                        ^-- resume: the training goes on <------ state -------'   if a fit stops after some epochs
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

import tinygrad_lab
from search.space.configuration import Configuration
from search.trials.baselines import baseline_of, make_baseline
from search.trials.containment import contained
from search.trials.data import Array
from search.trials.folds import Fold
from search.trials.models import is_estimator
from search.trials.scoring import Scoring
from search.trials.watchers import StateKeeper

REFUSED = "refused"  # the status of a fit whose Trainer does not accept the state to resume from; it ends a search
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
    """What a search needs of the object that `build` returns, such as `tinygrad_lab.Trainer`.

    Examples
    --------
    >>> class Mean:
    ...     model = None
    ...     def fit(self, x, y):
    ...         self.mean = y.mean()
    ...         return {}
    ...     def evaluate(self, x, y):
    ...         return float(0.5 * ((y - self.mean) ** 2).mean())
    >>> import numpy as np
    >>> from search import GridSearch, ParameterGrid
    >>> def build(config, rng):
    ...     return Mean()
    >>> search = GridSearch(build, ParameterGrid(name=["mean"]), store=None, workers=1)
    >>> round(search.run(np.arange(8.0), [0.0, 1.0] * 4, progress=False).ranking[0].mean, 3)
    0.174
    """

    @property
    def model(self) -> Model:
        """The network that is trained."""
        ...

    def fit(self, x: Array, y: Array) -> History:
        """Train on x and y; an `ArithmeticError` means that the training diverged.

        If samples have weights, it also gets ``sample_weight``. If the object has the attribute
        ``only_watches_validation = True``, a re-training gives it ``validation``, the test set, for its history.
        """
        ...

    def evaluate(self, x: Array, y: Array) -> float:
        """Return the data loss on x and y, without penalty. If samples have weights, these are a third argument."""
        ...


Build = Callable[[dict[str, Any], np.random.Generator], Trainer]


def build_trainer(build: Build, configuration: Mapping[str, Any], seed: np.random.SeedSequence | int) -> Trainer:
    """Return the Trainer of a configuration.

    Raises
    ------
    TypeError
        If `build` returns anything but a Trainer or an estimator.

    Examples
    --------
    >>> build_trainer(lambda configuration, rng: None, {"lr": 0.1}, 0)
    Traceback (most recent call last):
    TypeError: build returned None, expected a Trainer; is a return missing?
    """
    with contained():
        trainer = build(dict(configuration), np.random.default_rng(seed))
    if trainer is None:
        raise TypeError("build returned None, expected a Trainer; is a return missing?")
    is_trainer = all(callable(getattr(trainer, name, None)) for name in ("fit", "evaluate"))
    if isinstance(trainer, type) or not (is_trainer or is_estimator(trainer)):
        what = f"the class {trainer.__name__}" if isinstance(trainer, type) else f"an object of type {type(trainer).__name__}"
        raise TypeError(f"build returned {what}, expected a Trainer with fit and evaluate, or an estimator")
    return trainer


@dataclass(frozen=True)
class Problem:
    """What all fits of a search share.

    Attributes
    ----------
    build : callable
        Makes a Trainer of a configuration.
    x, y, weight : ndarray
        The samples, as in `search.trials.data.Samples`; `weight` may be None.
    folds : tuple of (training indices, validation indices)
    task : str or None
        As in `Samples`, as is `classes`.
    classes : ndarray or None
    categories : tuple of int
        The columns of x that hold codes of categories.
    scoring : Scoring or None
        The scores of each fit; None for the data loss alone.
    reference : dict or None
        A configuration whose Trainer has the loss that baselines are measured by.
    """

    build: Build
    x: Array
    y: Array
    folds: tuple[Fold, ...]
    weight: Array | None = None
    task: str | None = None
    classes: Array | None = None
    categories: tuple[int, ...] = ()
    scoring: Scoring | None = None
    reference: Configuration | None = None

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        """The functions that a user may have written: the builder, and scores."""
        return (self.build, *(() if self.scoring is None else self.scoring.functions))

    def trainer(self, fit: "Fit") -> Trainer:
        """Build the Trainer of a fit."""
        kind = baseline_of(fit.configuration)
        if kind is None:
            trainer = build_trainer(self.build, fit.configuration, fit.seed)
            if type(trainer) is tinygrad_lab.Trainer and trainer.callbacks and fit.epochs is not None:
                trainer.callbacks = [*trainer.callbacks, StateKeeper()]
            return trainer
        seed = int(fit.seed.generate_state(1)[0])
        return make_baseline(kind, self.task or "regression", self.x, self.n_targets, self.categories, seed)

    @property
    def n_targets(self) -> int:
        """The number of targets, or of labels that a sample may have at once."""
        return 1 if self.y.ndim == 1 else self.y.shape[1]

    @property
    def n_classes(self) -> int:
        """The number of classes, or of labels that a sample may have at once."""
        return self.n_targets if self.classes is None else len(self.classes)

    def training_set(self, fit: "Fit") -> tuple[Array, ...]:
        """Return x, y and, if there are any, the weights of the training part of a fit's fold."""
        train, _ = self.folds[fit.fold]
        return self._part(train)

    def validation_set(self, fit: "Fit") -> tuple[Array, ...]:
        """Return x, y and, if there are any, the weights of the validation part of a fit's fold."""
        _, validation = self.folds[fit.fold]
        return self._part(validation)

    def test_set(self, fit: "Fit") -> tuple[Array, Array]:
        """Return x and y of the validation part, which is the test set of a re-training."""
        x, y, *_ = self.validation_set(fit)
        return x, y

    def _part(self, indices: Array) -> tuple[Array, ...]:
        if self.weight is None:
            return self.x[indices], self.y[indices]
        weight = self.weight[indices]
        # A loss is a mean over samples, not over weights. So a mean weight of 1 keeps the losses of parts comparable.
        return self.x[indices], self.y[indices], weight / (weight.mean() or 1.0)


@dataclass(frozen=True, eq=False)
class Fit:
    """One training: of this configuration, on this fold of the problem, from this seed. A Fit is equal only to itself."""

    configuration: Configuration
    fold: int
    seed: np.random.SeedSequence
    keep: bool = False  # whether the outcome has the history and the weights
    epochs: int | None = None  # after how many to stop and save the state; None trains to the Trainer's own end
    resume: bytes | None = field(default=None, repr=False)  # the state from which to continue


@dataclass(frozen=True)
class Trained:
    """The history and the weights of a fit, both by name."""

    history: dict[str, Array]
    state_dict: dict[str, Array]


@dataclass(frozen=True)
class Outcome:
    """The outcome of one fit.

    Attributes
    ----------
    status : str
        ``"done"``, ``"diverged"`` (a loss that is not finite), ``"failed"`` (any other exception) or ``"crashed"`` (its worker
        process died three times, or it took longer than the time limit). One that is ``"refused"`` ends a search and is not
        stored.
    validation_loss, train_loss : float
        Data loss of the trained model on the two parts of the fold; NaN where there is none, as for an estimator.
    scores : dict of str to float
        The scores on the validation part, the one that decides first; empty if the loss decides.
    seconds : float
        Wall time of the fit. Fits that were trained together share theirs equally.
    reason : str
        Why the status is not ``"done"``, else empty.
    trained : Trained or None
        History and weights, if the fit has `keep` and is done.
    state : bytes or None
        A training that was stopped after some epochs and can be resumed, as written by
        `tinygrad_lab.training.checkpoint_bytes`.

    Examples
    --------
    >>> outcome = Outcome("done", validation_loss=0.5, train_loss=0.25)
    >>> outcome.status, outcome.validation_loss, outcome.reason
    ('done', 0.5, '')
    """

    status: str
    validation_loss: float = math.nan
    train_loss: float = math.nan
    seconds: float = 0.0
    reason: str = ""
    trained: Trained | None = field(default=None, compare=False)
    state: bytes | None = field(default=None, compare=False, repr=False)
    scores: dict[str, float] = field(default_factory=dict, hash=False)

    @property
    def objective(self) -> float:
        """What strategies minimize: minus the first score or, if there is none, the validation loss."""
        return -next(iter(self.scores.values())) if self.scores else self.validation_loss
