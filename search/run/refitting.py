"""Refitting: configurations on all rows and once per fold, as a model that predicts.

    configuration --fit on all rows----------------------> networks, or estimators --.
                  --fit on each fold, as the search did--> out-of-fold residuals -----+--> Predictor, FittedEstimator

The fits run in this process, together where they can. Their seeds are those of the search, so the fold models are the same to
the bit.
"""

import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

import tinygrad_lab
from search.errors import SearchError
from search.ranking.measure import measure_of
from search.ranking.ranking import RankedConfiguration
from search.run.fitted import FittedEstimator
from search.space.configuration import Configuration, as_configuration
from search.trials.fits import Fit, Problem, Trainer
from search.trials.folds import Fold
from search.trials.running import run_fits
from search.trials.seeds import fit_seed
from tinygrad_lab.prediction.calibrated import CalibratedModel
from tinygrad_lab.prediction.conformal import check_partition
from tinygrad_lab.prediction.tasks import task_of


@dataclass(frozen=True)
class _RememberingProblem(Problem):
    """A problem that keeps the Trainer that it has built last for each fit."""

    built: dict[Fit, Trainer] = field(default_factory=dict, compare=False)

    def trainer(self, fit: Fit) -> Trainer:
        self.built[fit] = super().trainer(fit)
        return self.built[fit]


@dataclass(frozen=True)
class Refit:
    """The trained models of one configuration.

    Attributes
    ----------
    trainer : Trainer
        One of the Trainers, which says what the models are.
    whole : Layer or estimator, or None
        Trained on all rows, unless only the fold models were asked for.
    folds : tuple of (Layer or estimator)
        Trained on the training part of each fold.
    objectives : tuple of float
        Of the fold models on the samples that they have not seen.
    """

    trainer: Any
    whole: Any
    folds: tuple[Any, ...]
    objectives: tuple[float, ...]

    def check(self, row: RankedConfiguration) -> None:
        """Warn if the fold models are not those of the search."""
        for fold, (now, before) in enumerate(zip(self.objectives, row.objectives, strict=False)):
            if row.status == "done" and now != before:
                measure = measure_of(row.scores)
                warnings.warn(
                    f"configuration {as_configuration(row.configuration).text} has {measure.name} {measure.shown(now):.6g} on "
                    f"fold {fold}, and had {measure.shown(before):.6g} in the search: its builder, what that reads, or an "
                    "installed package has changed since, or it draws random numbers of its own instead of from rng",
                    stacklevel=3,
                )
                return


def refit(
    problem: Problem, seed: int, n_folds: int, configurations: Sequence[Configuration], on_all_rows: bool, progress: bool
) -> list[Refit]:
    """Fit configurations on the first `n_folds` folds and, if `on_all_rows`, on all rows.

    Raises
    ------
    SearchError
        If a fit fails or diverges.
    """
    rows = np.arange(len(problem.x))
    folds: tuple[Fold, ...] = (*problem.folds[:n_folds], (rows, rows))
    remembering = _RememberingProblem(**{name: getattr(problem, name) for name in Problem.__dataclass_fields__})
    remembering = replace(remembering, folds=folds)
    fits = []
    for configuration in configurations:
        fits += [Fit(configuration, fold, fit_seed(seed, configuration, fold)) for fold in range(n_folds)]
        if on_all_rows:
            fits.append(Fit(configuration, n_folds, fit_seed(seed, configuration, "retrain")))
    models: dict[Fit, Any] = {}
    objectives: dict[Fit, float] = {}
    # Not in a file: the property `best` has no argument to turn it off.
    with (
        threadpool_limits(limits=1),  # as in the search, because more threads may add in another order
        tqdm(total=len(fits), unit="fit", disable=None if progress else True, delay=1.0) as bar,
    ):
        for position, outcome in run_fits(remembering, fits):
            fit = fits[position]
            if outcome.status != "done":
                where = "all rows" if fit.fold == n_folds else f"fold {fit.fold}"
                raise SearchError(f"configuration {fit.configuration.text} {outcome.status} on {where}: {outcome.reason}")
            # Copied at once: Trainers may share a part, which the next training would change.
            models[fit] = deepcopy(_model_of(remembering.built[fit]))
            objectives[fit] = outcome.objective
            bar.update()
    each = len(fits) // len(configurations)
    refits = []
    for start in range(0, len(fits), each):
        own = fits[start : start + each]
        refits.append(
            Refit(
                trainer=remembering.built[own[0]],
                whole=models[own[n_folds]] if on_all_rows else None,
                folds=tuple(models[fit] for fit in own[:n_folds]),
                objectives=tuple(objectives[fit] for fit in own[:n_folds]),
            )
        )
    return refits


def _model_of(trainer: Any) -> Any:
    if isinstance(trainer, tinygrad_lab.Trainer):
        return trainer.network
    if not callable(getattr(trainer, "predict", None)):
        raise SearchError(
            f"a {type(trainer).__name__} cannot predict, expected a tinygrad_lab.Trainer or an object with predict; add it"
        )
    return trainer


def make_model(problem: Problem, refits: Sequence[Refit], n_folds: int, details: dict[str, Any]) -> CalibratedModel:
    """Return the model that averages what was fitted: a Predictor, or a FittedEstimator.

    Parameters
    ----------
    problem : Problem
    refits : sequence of Refit
        If they have a model of all rows, the mean of these is the model, else the mean of all fold models.
    n_folds : int
    details : dict
        For the file of the model.
    """
    trainer = refits[0].trainer
    members = [one.whole for one in refits] if refits[0].whole is not None else [model for one in refits for model in one.folds]
    fold_models = list(zip(*(one.folds for one in refits), strict=True))
    networks = [isinstance(one.trainer, tinygrad_lab.Trainer) for one in refits]
    if any(networks) != all(networks):
        raise SearchError("an ensemble has networks and estimators, expected one kind; fit each configuration by itself")
    task, classes = problem.task, problem.classes
    model: CalibratedModel
    if all(networks):
        outputs = trainer.predict(problem.x[:1]).shape[-1]
        if task not in ("classification", "multilabel"):
            task = task_of(trainer.loss, outputs)
        if classes is None and task != "regression":
            classes = np.arange(max(2, outputs))
        model = tinygrad_lab.Predictor(members[0], task, classes, members[1:], details=details)
    else:
        task = task or ("classification" if hasattr(members[0], "classes_") else "regression")
        model = FittedEstimator(members, task, classes, details=details)
    held_out = [validation for _, validation in problem.folds[:n_folds]]
    y = _targets(problem, model)
    if y is not None and _is_partition(held_out, len(problem.x)):
        model.calibrate(fold_models, held_out, problem.x, y)
    return model


def _targets(problem: Problem, model: CalibratedModel) -> Any:
    """Return the targets for the calibration; None if they are no numbers and no labels, or there are no probabilities."""
    if model.task == "regression":
        return problem.y
    y = problem.y[:, 0] if problem.y.ndim == 2 and problem.y.shape[1] == 1 else problem.y
    if model.task == "multilabel" or y.ndim == 2:
        return None
    if isinstance(model, FittedEstimator):
        if not all(hasattr(estimator, "predict_proba") for estimator in model.models):
            return None
        return y if problem.classes is None else problem.classes[y]
    codes = y.astype(np.int64)
    if (codes != y).any() or codes.min() < 0 or codes.max() >= len(model.classes_):  # probabilities as targets
        return None
    return model.classes_[codes]


def _is_partition(held_out: Sequence[Any], samples: int) -> bool:
    try:
        check_partition(held_out, samples)
    except ValueError:
        return False
    return True
