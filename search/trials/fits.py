"""Fits: configurations, each trained on one fold, and their outcomes.

Problem (build, x, y, folds: the same for every fit)  --.
                                                         +--> run_fits --> an Outcome for each fit, as it ends
Fits (configuration, fold, seed)                      --'                     |
                        ^-- resume: the training goes on <------ state -------'   if a fit stops after some epochs
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec, Protocol, TypeGuard, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

import tinygrad_lab
from search.errors import one_line
from search.space.configuration import Configuration
from search.trials.baselines import baseline_of, loss_of_baseline, make_baseline
from search.trials.containment import LeftError, contained, each_contained
from search.trials.data import Array
from search.trials.folds import Fold
from search.trials.models import NetworkModel, fit_estimator, is_estimator
from search.trials.scoring import Scoring
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

    def training_set(self, fit: "Fit") -> tuple[Array, ...]:
        """Return x, y and, if there are any, the weights of the training part of a fit's fold."""
        train, _ = self.folds[fit.fold]
        return self._part(train)

    def validation_set(self, fit: "Fit") -> tuple[Array, ...]:
        """Return x, y and, if there are any, the weights of the validation part of a fit's fold."""
        _, validation = self.folds[fit.fold]
        return self._part(validation)

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
    shared = _shared_parts(built.values())
    lanes = {i: x for i, x in built.items() if _may_be_lane(x, fits[i]) and not shared & {id(x.inputs), id(x.targets)}}
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


def _shared_parts(built: Iterable[Any]) -> set[int]:
    """Return the ids of preprocessors that several Trainers have. Trained together, each would use what another has learnt."""
    parts = (getattr(trainer, name, None) for trainer in built for name in ("inputs", "targets"))
    uses = Counter(id(part) for part in parts if part is not None)
    return {part for part, count in uses.items() if count > 1}


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
    elif fit.epochs is not None:
        raise TypeError(
            f"a {type(trainer).__name__} cannot stop after {fit.epochs} epochs and go on, expected a tinygrad_lab.Trainer"
        )
    elif is_estimator(trainer):
        outcome = _fit_estimator(problem, fit, trainer)
        kept = Trained({}, {}) if fit.keep and outcome.status == "done" else None
        return replace(outcome, trained=kept, seconds=time.perf_counter() - start)
    else:
        history = _fit(problem, fit, trainer)
    outcome = _score(problem, fit, trainer, run)
    if fit.keep and outcome.status == "done":
        curves = {key: np.array(history[key], dtype=np.float64) for key in HISTORY_KEYS}
        outcome = replace(outcome, trained=Trained(curves, trainer.model.state_dict()))
    return replace(outcome, seconds=time.perf_counter() - start)


def _fit(problem: Problem, fit: Fit, trainer: Trainer) -> History:
    """Train without the fold that scores, which must not decide when to stop."""
    x, y, *weight = problem.training_set(fit)
    options: dict[str, Any] = {"sample_weight": weight[0]} if weight else {}
    if not fit.keep:
        return trainer.fit(x, y, **options)
    if isinstance(trainer, tinygrad_lab.Trainer):
        if type(trainer) is not tinygrad_lab.Trainer or trainer.callbacks or trainer.validation_fraction is not None:
            watcher = LossWatcher(*problem.validation_set(fit))
            history = trainer.fit(x, y, callbacks=[watcher], **options)
            return {"train_loss": history["train_loss"], "validation_loss": watcher.losses, "lr": history["lr"]}
        return trainer.fit(x, y, problem.validation_set(fit)[:2], **options)  # nothing in it reads these losses
    if getattr(trainer, "only_watches_validation", False):
        return trainer.fit(x, y, validation=problem.validation_set(fit)[:2], **options)
    history = trainer.fit(x, y, **options)
    unknown = np.full(np.shape(history["train_loss"]), np.nan)
    return {"train_loss": history["train_loss"], "validation_loss": unknown, "lr": history["lr"]}


class StateKeeper(tinygrad_lab.Callback):
    """Keeps the state after the last epoch of a run, before `EarlyStopping` puts back the weights of another."""

    only_watches = True

    def __init__(self) -> None:
        self.state: bytes | None = None

    def on_epoch_seen(self, run: Run) -> None:
        if not run.is_active:
            self.state = checkpoint_bytes(run)


class LossWatcher(tinygrad_lab.Callback):
    """Records the loss on some samples after each epoch. Unlike `validation`, no other callback can read it.

    Parameters
    ----------
    x, y, weight : ndarray
        As for `Trainer.evaluate`.
    """

    only_watches = True

    def __init__(self, *samples: Array) -> None:
        self.samples = samples
        self.losses: list[float] = []

    def on_epoch_end(self, run: Run) -> str:
        self.losses.append(run.trainer.evaluate(*self.samples))
        return ""


def _score(problem: Problem, fit: Fit, trainer: Trainer, run: Run | None) -> Outcome:
    """Evaluate a trained model on both parts of its fold, and save the state of a training that is stopped."""
    train_loss = float(trainer.evaluate(*problem.training_set(fit)))
    validation_loss = float(trainer.evaluate(*problem.validation_set(fit)))
    if not math.isfinite(validation_loss):
        return Outcome("diverged", validation_loss, train_loss, reason=f"validation loss is {validation_loss}")
    scores = {}
    if problem.scoring is not None:
        model: Any = trainer
        if isinstance(trainer, tinygrad_lab.Trainer):
            n_classes = problem.n_targets if problem.classes is None else len(problem.classes)
            model = NetworkModel(trainer, problem.task or "regression", n_classes)
        scores = _scores(problem, problem.scoring, fit, model)
    state = None
    if run is not None and fit.epochs is not None:
        [keeper] = [callback for callback in run.callbacks if isinstance(callback, StateKeeper)] or [None]
        state = checkpoint_bytes(run) if keeper is None else keeper.state or fit.resume  # it saw no epoch if all was over
    return _judged(Outcome("done", validation_loss, train_loss, state=state, scores=scores))


def _fit_estimator(problem: Problem, fit: Fit, estimator: Any) -> Outcome:
    """Fit an estimator, and score it by the search's scores or by its own."""
    train, validation = problem.training_set(fit), problem.validation_set(fit)
    with threadpool_limits(limits=1):  # its libraries may have been loaded after the pool was opened
        x, y, *weight = train
        fit_estimator(estimator, x, _plain(problem, y), *weight)
        losses = [math.nan, math.nan]
        has_own_score = problem.scoring is None
        if baseline_of(fit.configuration) is not None and problem.reference is not None:
            trainer = build_trainer(problem.build, problem.reference, fit.seed)
            has_own_score = has_own_score and is_estimator(trainer)
            losses = [loss_of_baseline(trainer, estimator, train, samples) for samples in (train, validation)]
        scores = {}
        if problem.scoring is not None:
            scores = _scores(problem, problem.scoring, fit, estimator)
        elif has_own_score:
            x, y, *weight = validation
            scores = {"score": float(estimator.score(x, _plain(problem, y), *weight))}
    return _judged(Outcome("done", losses[1], losses[0], scores=scores))


def _scores(problem: Problem, scoring: Scoring, fit: Fit, model: Any) -> dict[str, float]:
    if not callable(getattr(model, "predict", None)):
        raise TypeError(f"a {type(model).__name__} has no predict, expected one beside scoring={scoring!r}")
    x, y, *weight = problem.validation_set(fit)
    return scoring(model, x, _plain(problem, y), weight[0] if weight else None, problem.classes)


def _plain(problem: Problem, y: Array) -> Array:
    """Return targets as estimators and scores take them: one target as a 1-D array, and labels as integers."""
    if problem.task == "multilabel":
        return y.astype(np.int64)
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def _judged(outcome: Outcome) -> Outcome:
    """Return the outcome, as failed if what decides is no finite number: it could not be ranked."""
    if math.isfinite(outcome.objective):
        return outcome
    if not outcome.scores:
        reason = "its loss is not known, expected a loss of tinygrad_lab such as MeanSquaredError, or scoring="
        return replace(outcome, status="failed", reason=reason)
    name, value = next(iter(outcome.scores.items()))
    return replace(outcome, status="failed", reason=f"{name} is {value}, expected a finite number", state=None)


def _failure(error: BaseException) -> Outcome:
    status = "diverged" if isinstance(error, ArithmeticError) else "failed"
    cause = error.__cause__ if isinstance(error, LeftError) else None
    return Outcome(status, reason=one_line(cause or error))
