"""Running fits: Trainers of one structure together, all others alone, and the losses and scores of each.

Problem, Fits --build--> Trainers --> lanes, trained together --.
                    '--> estimators, own trainers, alone ------+--> losses, scores --> an Outcome for each fit, as it ends
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ParamSpec, TypeGuard, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

import tinygrad_lab
from search.errors import one_line
from search.trials.baselines import baseline_of, loss_of_baseline
from search.trials.containment import contained, each_contained
from search.trials.data import Array
from search.trials.fits import HISTORY_KEYS, REFUSED, Fit, History, Outcome, Problem, Trained, Trainer, build_trainer
from search.trials.models import OwnModel, fit_estimator, has_network, is_estimator, scored_model
from search.trials.scoring import Scoring
from search.trials.watchers import LossWatcher, StateKeeper
from tinygrad_lab.training import Run, checkpoint_bytes

P = ParamSpec("P")
Result = TypeVar("Result")


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
    if fit.keep and outcome.status == "done" and not has_network(trainer):
        outcome = replace(outcome, trained=Trained({}, {}))
    elif fit.keep and outcome.status == "done":
        curves = {key: np.array(history[key], dtype=np.float64) for key in HISTORY_KEYS}
        network = trainer.network if isinstance(trainer, tinygrad_lab.Trainer) else trainer.model  # with what it has learnt
        outcome = replace(outcome, trained=Trained(curves, network.state_dict()))
    return replace(outcome, seconds=time.perf_counter() - start)


def _fit(problem: Problem, fit: Fit, trainer: Trainer) -> History:
    """Train without the fold that scores, which must not decide when to stop."""
    x, y, *weight = problem.training_set(fit)
    options: dict[str, Any] = {"sample_weight": weight[0]} if weight else {}
    if not fit.keep or not has_network(trainer):
        return trainer.fit(x, y, **options)
    if isinstance(trainer, tinygrad_lab.Trainer):
        is_plain = type(trainer) is tinygrad_lab.Trainer and not trainer.callbacks and trainer.validation_fraction is None
        if weight or not is_plain:  # `validation` takes no weights, and other parts might use it
            watcher = LossWatcher(*problem.validation_set(fit))
            history = trainer.fit(x, y, callbacks=[watcher], **options)
            return {"train_loss": history["train_loss"], "validation_loss": watcher.losses, "lr": history["lr"]}
        return trainer.fit(x, y, problem.test_set(fit), **options)  # nothing in it reads these losses
    if getattr(trainer, "only_watches_validation", False):
        return trainer.fit(x, y, validation=problem.test_set(fit), **options)  # type: ignore[call-arg]
    own = trainer.fit(x, y, **options)
    unknown = np.full(np.shape(own["train_loss"]), np.nan)
    return {"train_loss": own["train_loss"], "validation_loss": unknown, "lr": own["lr"]}


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
            model = scored_model(trainer, problem.task or "regression", problem.n_classes)
        scores = _scores(problem, problem.scoring, fit, model)
    state = None
    if run is not None and fit.epochs is not None:
        keeper = next((callback for callback in run.callbacks if isinstance(callback, StateKeeper)), None)
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
            try:
                trainer = build_trainer(problem.build, problem.reference, fit.seed)
                has_own_score = has_own_score and is_estimator(trainer)
                losses = [loss_of_baseline(trainer, estimator, train, samples) for samples in (train, validation)]
            except Exception:  # that configuration may be a bad one, and scores do not need it
                if problem.scoring is None:
                    raise
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
    if not hasattr(model, "__sklearn_tags__"):
        model = OwnModel(model, problem.task or "regression", problem.n_classes)
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
    return Outcome(status, reason=one_line(error))
