"""Inspection of a model: what it predicts for samples that it has not seen, which features it needs, and how it uses them.

fold models, samples that each has not seen --> out-of-fold predictions, permutation importance
model of all samples, one feature set to a value --> mean prediction --> partial dependence
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.ranking.comparison import corrected_intervals
from search.trials.data import Array
from search.trials.folds import Fold
from tinygrad_lab.checks import install_hint
from tinygrad_lab.seeds import stream

PERMUTATIONS = 5
MOST_SAMPLES = 2_000  # whose features are permuted or set; more take long and change little
MOST_EFFECTS = 3  # features whose partial dependence is computed: the most important ones
POINTS = 25  # values of a number at which it is computed
TINY = 1e-15  # the least probability, as its logarithm is taken


@dataclass(frozen=True)
class Feature:
    """One feature of the data.

    Attributes
    ----------
    name : str
    kind : str
        ``"number"``, ``"category"`` or ``"date"``.
    levels : tuple of str
        What the values 0, 1, ... of a category stand for.
    """

    name: str
    kind: str = "number"
    levels: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImportantFeature:
    """The importance of one feature, with its 95 % interval over the folds."""

    feature: Feature
    importance: float
    low: float
    high: float


@dataclass(frozen=True)
class Effect:
    """The partial dependence of the outputs on one feature.

    Attributes
    ----------
    feature : Feature
    values : ndarray, shape (values,)
        At which it was computed.
    outputs : ndarray, shape (values, outputs)
        The mean output over the samples, with the feature set to each value.
    """

    feature: Feature
    values: Array
    outputs: Array


@dataclass(frozen=True)
class Inspection:
    """What is known about a model.

    Attributes
    ----------
    task : str
        ``"regression"``, ``"classification"`` or ``"multilabel"``.
    outputs : tuple of str
        The names of the targets, classes or labels.
    observed : ndarray
        Of the samples that were held out by at least one fold: numbers of shape (samples, targets), the numbers of the classes
        of shape (samples,), or labels 0 and 1 of shape (samples, labels).
    predicted : ndarray, shape (samples, outputs)
        Out-of-fold predictions: numbers, or probabilities.
    has_probabilities : bool
        Whether a classifier has these. If not, the predicted class has probability 1.
    importances : tuple of ImportantFeature
        The most important first.
    measure : str
        In which the importances are.
    effects : tuple of Effect
        Of the most important features.
    """

    task: str
    outputs: tuple[str, ...]
    observed: Array
    predicted: Array
    has_probabilities: bool
    importances: tuple[ImportantFeature, ...]
    measure: str
    effects: tuple[Effect, ...]


def inspect_model(
    model: Any,
    fold_models: Sequence[Any],
    folds: Sequence[Fold],
    x: Array,
    y: Array,
    task: str,
    features: Sequence[Feature],
    outputs: Sequence[str],
    seed: int = 0,
) -> Inspection:
    """Inspect a model. Needs scikit-learn.

    Parameters
    ----------
    model : object with `predict` and, for classes, `predict_proba`
        Fitted on all samples.
    fold_models : sequence of such objects
        Each fitted on the training part of a fold.
    folds : sequence of (training indices, validation indices)
    x : ndarray, shape (samples, features)
        May have NaN.
    y : ndarray
        Numbers, or for a classification the numbers of the classes.
    task : {"regression", "classification", "multilabel"}
    features : sequence of Feature
    outputs : sequence of str
        The names of the targets, classes or labels.
    seed : int, default=0
        Of permutations, and of the samples that are drawn if there are many.

    Returns
    -------
    Inspection

    Raises
    ------
    ImportError
        If scikit-learn is not installed.

    References
    ----------
    Breiman (2001), "Random forests", Machine Learning 45: permutation importance.
    Friedman (2001), "Greedy function approximation: a gradient boosting machine", Annals of Statistics 29, section 8.2: partial
    dependence.

    Examples
    --------
    >>> class Doubles:
    ...     def predict(self, x):
    ...         return 2.0 * x[:, 0]
    >>> x = np.random.default_rng(0).normal(size=(40, 2))
    >>> folds = [(np.arange(20), np.arange(20, 40)), (np.arange(20, 40), np.arange(20))]
    >>> features = [Feature("used"), Feature("unused")]
    >>> found = inspect_model(Doubles(), [Doubles()] * 2, folds, x, 2.0 * x[:, 0], "regression", features, ["y"])
    >>> [(row.feature.name, row.importance > 1.0) for row in found.importances]
    [('used', True), ('unused', False)]
    """
    classes = len(outputs) if task == "classification" else None
    respond = _Responder(task, classes)
    observed = y if task == "classification" else y.reshape(len(y), -1)
    total, count = np.zeros((len(x), len(outputs))), np.zeros(len(x))
    for fold_model, (_, unseen) in zip(fold_models, folds, strict=True):
        total[unseen] += respond(fold_model, x[unseen])
        count[unseen] += 1.0
    seen = count > 0.0
    importances = _importances(respond, fold_models, folds, x, observed, features, seed)
    rows = _some(np.arange(len(x)), seed)
    leading = [row.feature for row in importances[:MOST_EFFECTS] if row.importance > 0.0]
    effects = (_effect(respond, model, x[rows], list(features).index(feature), feature) for feature in leading)
    return Inspection(
        task=task,
        outputs=tuple(outputs),
        observed=observed[seen],
        predicted=total[seen] / count[seen, np.newaxis],
        has_probabilities=respond.has_probabilities,
        importances=tuple(importances),
        measure=respond.measure,
        effects=tuple(effect for effect in effects if len(effect.values) > 1),
    )


class _Responder:
    """Returns the outputs of models, of shape (samples, outputs), and how well outputs fit what was observed."""

    def __init__(self, task: str, classes: int | None) -> None:
        self.task = task
        self.classes = classes
        self.has_probabilities = task != "regression"

    def __call__(self, model: Any, x: Array) -> Array:
        if self.task == "regression":
            return np.asarray(model.predict(x), dtype=float).reshape(len(x), -1)
        try:
            return np.asarray(model.predict_proba(x), dtype=float)
        except (AttributeError, TypeError):  # a classifier without probabilities
            self.has_probabilities = False
        predicted = np.asarray(model.predict(x))
        if self.classes is None:
            return predicted.astype(float)
        known = list(getattr(model, "classes_", range(self.classes)))
        return np.eye(self.classes)[[known.index(label) for label in predicted]]

    @property
    def measure(self) -> str:
        if self.task == "regression":
            return "R²"
        return "log loss" if self.has_probabilities else "share of right labels"

    def score(self, observed: Array, outputs: Array) -> float:
        """Return R², minus the log loss, or the share of right labels: the higher, the better."""
        if self.task == "regression":
            residual, total = ((observed - outputs) ** 2).sum(), ((observed - observed.mean(axis=0)) ** 2).sum()
            return float(1.0 - residual / total) if total else 0.0
        if self.classes is not None:
            of_true = outputs[np.arange(len(outputs)), observed.astype(int)]
        else:
            of_true = np.where(observed == 1, outputs, 1.0 - outputs)
        return float(np.log(np.maximum(of_true, TINY)).mean() if self.has_probabilities else of_true.mean())


class _Estimator:
    """A fitted model as scikit-learn's permutation importance asks for it, with a method `fit`."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def fit(self, *_: Any) -> "_Estimator":
        return self


def _importances(
    respond: _Responder,
    fold_models: Sequence[Any],
    folds: Sequence[Fold],
    x: Array,
    observed: Array,
    features: Sequence[Feature],
    seed: int,
) -> list[ImportantFeature]:
    """Return by how much the score falls on the samples that a fold model has not seen if a feature is permuted."""
    try:
        from sklearn.inspection import permutation_importance
    except ImportError:
        raise ImportError(f"the model card needs scikit-learn: {install_hint('sklearn')}") from None

    def score(estimator: _Estimator, x: Array, y: Array) -> float:
        return respond.score(y, respond(estimator.model, x))

    drops = []
    for number, (fold_model, (_, unseen)) in enumerate(zip(fold_models, folds, strict=True)):
        rows = _some(np.asarray(unseen), seed)
        random = int(stream(seed, "importance", number).generate_state(1)[0])
        found = permutation_importance(
            _Estimator(fold_model), x[rows], observed[rows], scoring=score, n_repeats=PERMUTATIONS, random_state=random
        )
        drops.append(found.importances_mean)
    means, lows, highs = corrected_intervals(np.array(drops).T, folds, 0.95)
    found = [ImportantFeature(feature, float(means[i]), float(lows[i]), float(highs[i])) for i, feature in enumerate(features)]
    return sorted(found, key=lambda row: -row.importance)


def _effect(respond: _Responder, model: Any, x: Array, position: int, feature: Feature) -> Effect:
    """Return the mean output with one feature set to each of some values.

    scikit-learn's `partial_dependence` has no grid for a feature with NaN, and takes its own estimators only.
    """
    column = x[:, position]
    present = np.unique(column[~np.isnan(column)])
    if feature.kind != "category" and len(present) > POINTS:
        present = np.unique(np.nanquantile(column, np.linspace(0.05, 0.95, POINTS)))
    outputs = []
    for value in present:
        changed = x.copy()
        changed[:, position] = value
        outputs.append(respond(model, changed).mean(axis=0))
    return Effect(feature, present, np.array(outputs))


def _some(rows: Array, seed: int) -> Array:
    """Return the rows, or MOST_SAMPLES of them that are drawn at random."""
    if len(rows) <= MOST_SAMPLES:
        return rows
    return np.sort(np.random.default_rng(stream(seed, "samples")).choice(rows, MOST_SAMPLES, replace=False))
