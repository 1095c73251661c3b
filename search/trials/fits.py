"""Fits: configurations, each trained on one fold, and their outcomes.

Problem (build, x, y, folds: the same for every fit)  --.
                                                         +--> run_fits --> an Outcome for each fit, as it ends
Fits (configuration, fold, seed)                      --'                     |
                        ^-- resume: the training goes on <------ state -------'   if a fit stops after some epochs
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec, Protocol, TypeGuard, TypeVar

import numpy as np

import tinygrad_lab
from search.errors import one_line
from search.space.configuration import Configuration
from search.trials.containment import LeftError, contained, each_contained
from search.trials.data import Array
from search.trials.folds import Fold
from tinygrad_lab.training import Run, checkpoint_bytes

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


P = ParamSpec("P")
Result = TypeVar("Result")
Build = Callable[[dict[str, Any], np.random.Generator], Trainer]


def build_trainer(build: Build, configuration: Mapping[str, Any], seed: np.random.SeedSequence | int) -> Trainer:
    """Return the Trainer of a configuration.

    Raises
    ------
    TypeError
        If `build` returns anything but a Trainer.

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
    if isinstance(trainer, type) or not all(callable(getattr(trainer, name, None)) for name in ("fit", "evaluate")):
        what = f"the class {trainer.__name__}" if isinstance(trainer, type) else f"an object of type {type(trainer).__name__}"
        raise TypeError(f"build returned {what}, expected a Trainer with fit and evaluate")
    return trainer


@dataclass(frozen=True)
class Problem:
    """What all fits of a search share: how to build a Trainer, the samples, and the folds as indices of samples."""

    build: Build
    x: Array
    y: Array
    folds: tuple[Fold, ...]

    def trainer(self, fit: "Fit") -> Trainer:
        """Build the Trainer of a fit."""
        return build_trainer(self.build, fit.configuration, fit.seed)

    def training_set(self, fit: "Fit") -> tuple[Array, Array]:
        """Return x and y of the training part of a fit's fold."""
        train, _ = self.folds[fit.fold]
        return self.x[train], self.y[train]

    def validation_set(self, fit: "Fit") -> tuple[Array, Array]:
        """Return x and y of the validation part of a fit's fold."""
        _, validation = self.folds[fit.fold]
        return self.x[validation], self.y[validation]


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
        Data loss of the trained model on the two parts of the fold; NaN where there is none.
    seconds : float
        Wall time of the fit. Fits that were trained together share theirs equally.
    reason : str
        Why the status is not ``"done"``, else empty.
    trained : Trained or None
        History and weights, if the fit has `keep` and is done.
    state : bytes or None
        A training that was stopped after some epochs and can be resumed, as written by
        `tinygrad_lab.training.checkpoint_bytes`.
    """

    status: str
    validation_loss: float = math.nan
    train_loss: float = math.nan
    seconds: float = 0.0
    reason: str = ""
    trained: Trained | None = field(default=None, compare=False)
    state: bytes | None = field(default=None, compare=False, repr=False)


def run_fits(problem: Problem, fits: Sequence[Fit]) -> Iterator[tuple[int, Outcome]]:
    """Train some configurations, each on its fold. Those whose Trainers have the same structure are trained together.

    An exception in a fit becomes its outcome's reason, so that one bad configuration cannot end a search. No outcome depends
    on the fits that are trained together with it.

    Yields
    ------
    position : int
        Of a fit in `fits`. Fits may end in any order.
    outcome : Outcome

    Examples
    --------
    >>> def build(configuration, rng):
    ...     raise ValueError("no such activation")
    >>> x = np.zeros((2, 1))
    >>> problem = Problem(build, x, x, ((np.array([0]), np.array([1])),))
    >>> [(position, outcome)] = run_fits(problem, [Fit({"activation": "step"}, 0, np.random.SeedSequence(0))])
    >>> position, outcome.status, outcome.reason
    (0, 'failed', 'ValueError: no such activation')
    """
    built = {i: _attempt(problem.trainer, fit) for i, fit in enumerate(fits)}
    lanes = {i: trainer for i, trainer in built.items() if _may_be_lane(trainer, fits[i])}
    alone = dict(built)
    for epochs in dict.fromkeys(fits[i].epochs for i in lanes):
        stopping_together = {i: trainer for i, trainer in lanes.items() if fits[i].epochs == epochs}
        for i, outcome in _run_lanes(problem, fits, stopping_together, epochs):
            del alone[i]
            yield i, outcome
    for i, trainer in alone.items():
        if isinstance(trainer, Outcome):
            yield i, trainer
        else:  # lanes that failed together may be trained in part, so their Trainers are built again
            yield i, _attempt(_run_alone, problem, fits[i], None if i in lanes else trainer)


def _may_be_lane(trainer: Trainer | Outcome, fit: Fit) -> TypeGuard[tinygrad_lab.Trainer]:
    return type(trainer) is tinygrad_lab.Trainer and not fit.keep


def _attempt(function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result | Outcome:
    """Call the function; an exception becomes an outcome."""
    start = time.perf_counter()
    try:
        # An overflow shows in the loss. Whether NumPy warns of it would depend on the caller's settings.
        with np.errstate(all="ignore"), contained():
            return function(*args, **kwargs)
    except Exception as error:
        return replace(_failure(error), seconds=time.perf_counter() - start)


def _run_lanes(
    problem: Problem, fits: Sequence[Fit], trainers: Mapping[int, tinygrad_lab.Trainer], until: int | None
) -> Iterator[tuple[int, Outcome]]:
    """Train Trainers together and yield the outcomes as they end; stop at an exception, which may be due to one fit."""
    positions = list(trainers)  # of the lanes, in `fits`
    training_sets = [problem.training_set(fits[i]) for i in positions]
    resume = [fits[i].resume for i in positions]
    start = time.perf_counter()
    try:
        lanes = tinygrad_lab.lanes_as_completed(list(trainers.values()), training_sets, until=until, resume=resume)
        for ended in each_contained(lanes):
            outcomes = {}
            for lane, run in ended.items():
                i = positions[lane]
                outcomes[i] = _failure(run.error) if run.error else _attempt(_score, problem, fits[i], trainers[i], run)
            share = (time.perf_counter() - start) / len(outcomes)
            yield from ((i, replace(outcome, seconds=share)) for i, outcome in outcomes.items())
            start = time.perf_counter()
    except Exception:
        return


def _run_alone(problem: Problem, fit: Fit, trainer: Trainer | None) -> Outcome:
    start = time.perf_counter()
    trainer = problem.trainer(fit) if trainer is None else trainer
    history: History = {}
    run: Run | None = None
    if _may_be_lane(trainer, fit):
        # Trained as a single lane, without validation: an overflow in one validation would end the training.
        data = [problem.training_set(fit)]
        try:
            [ended] = tinygrad_lab.lanes_as_completed([trainer], data, until=fit.epochs, resume=[fit.resume])
        except tinygrad_lab.WeightsError as error:
            if fit.resume is None:
                raise
            return Outcome(REFUSED, reason=str(error))
        run = ended[0]
        if run.error is not None:
            raise run.error
    elif fit.epochs is None:
        history = trainer.fit(*problem.training_set(fit), validation=problem.validation_set(fit))
    else:
        raise TypeError(
            f"a {type(trainer).__name__} cannot stop after {fit.epochs} epochs and go on, expected a tinygrad_lab.Trainer"
        )
    outcome = _score(problem, fit, trainer, run)
    if fit.keep and outcome.status == "done":
        curves = {key: np.array(history[key], dtype=np.float64) for key in HISTORY_KEYS}
        outcome = replace(outcome, trained=Trained(curves, trainer.model.state_dict()))
    return replace(outcome, seconds=time.perf_counter() - start)


def _score(problem: Problem, fit: Fit, trainer: Trainer, run: Run | None) -> Outcome:
    """Evaluate a trained model on both parts of its fold, and save the state of a training that is stopped."""
    train_loss = float(trainer.evaluate(*problem.training_set(fit)))
    validation_loss = float(trainer.evaluate(*problem.validation_set(fit)))
    if not math.isfinite(validation_loss):
        return Outcome("diverged", validation_loss, train_loss, reason=f"validation loss is {validation_loss}")
    state = checkpoint_bytes(run) if run is not None and fit.epochs is not None else None
    return Outcome("done", validation_loss, train_loss, state=state)


def _failure(error: BaseException) -> Outcome:
    status = "diverged" if isinstance(error, ArithmeticError) else "failed"
    cause = error.__cause__ if isinstance(error, LeftError) else None
    return Outcome(status, reason=one_line(cause or error))
