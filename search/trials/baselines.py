"""Baselines: what simple estimators of scikit-learn reach on the same folds, so that one sees whether a network was worth it.

    "mean"      the mean of the targets, or the frequencies of the classes
    "linear"    ridge or logistic regression, on standardised columns
    "boosting"  gradient boosting of trees on histograms

Gaps are filled by medians and marked, and categories are one-hot encoded, by what the training part of the fold shows.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from search.space.configuration import Configuration
from search.trials.data import Array
from tinygrad_lab import BinaryCrossEntropy, CrossEntropy, HalfSquaredError, Huber, MeanAbsoluteError, MeanSquaredError, Trainer
from tinygrad_lab.checks import install_hint

BASELINE = "(baseline)"  # the reserved parameter of a baseline's configuration
KINDS = ("mean", "linear", "boosting")
CATEGORIES_OF_TREES = 255  # the most that scikit-learn's gradient boosting takes as categories

# Their predictions are numbers in the units of y, or logits of probabilities. What other losses mean is not known.
REGRESSION_LOSSES = (HalfSquaredError, MeanSquaredError, MeanAbsoluteError, Huber)


def baseline_configurations() -> list[Configuration]:
    """Return the configuration of each baseline, by which its fits are stored."""
    return [Configuration({BASELINE: kind}) for kind in KINDS]


def baseline_of(configuration: Mapping[str, Any]) -> str | None:
    """Return the kind of a baseline's configuration; None for any other configuration.

    Examples
    --------
    >>> baseline_of({"(baseline)": "mean"}), baseline_of({"lr": 0.1})
    ('mean', None)
    """
    return configuration[BASELINE] if len(configuration) == 1 and BASELINE in configuration else None


def missing_extra() -> str:
    """Return one line that says what to install for baselines; an empty text if nothing is missing."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        return f"baselines need scikit-learn, which is not installed: {install_hint('sklearn')}"
    return ""


def make_baseline(kind: str, task: str, x: Array, n_targets: int = 1, categories: Sequence[int] = (), seed: int = 0) -> Any:
    """Return the estimator of a baseline.

    Parameters
    ----------
    kind : {"mean", "linear", "boosting"}
    task : {"regression", "classification", "multilabel"}
    x : ndarray, shape (samples, features)
        All samples. Only the number of columns and the largest codes of categories are used.
    n_targets : int, default=1
        The number of targets or labels.
    categories : sequence of int
        The columns of x that hold codes of categories.
    seed : int, default=0
        Of the estimator's random numbers.

    Examples
    --------
    >>> x = np.array([[0.0], [1.0], [np.nan], [3.0]])
    >>> make_baseline("mean", "regression", x).fit(x, [1.0, 2.0, 3.0, 6.0]).predict(x[:1])
    array([3.])
    """
    from sklearn.dummy import DummyClassifier, DummyRegressor
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
    from sklearn.pipeline import make_pipeline

    is_regression = task == "regression"
    if kind == "mean":
        return DummyRegressor() if is_regression else DummyClassifier(strategy="prior")
    if kind == "linear":
        linear = Ridge() if is_regression else LogisticRegression(max_iter=1000)
        return make_pipeline(
            _prepared(x.shape[1], categories), MultiOutputClassifier(linear) if task == "multilabel" else linear
        )
    few = [i for i in categories if not np.nanmax(x[:, i], initial=0.0) >= CATEGORIES_OF_TREES]
    trees = HistGradientBoostingRegressor if is_regression else HistGradientBoostingClassifier
    # scikit-learn's 20 samples in a leaf would make no split at all in a small training set.
    boosting = trees(random_state=seed, categorical_features=few or None, min_samples_leaf=max(2, min(20, len(x) // 20)))
    if n_targets == 1:
        return boosting
    return MultiOutputRegressor(boosting) if is_regression else MultiOutputClassifier(boosting)


def _prepared(n_features: int, categories: Sequence[int]) -> Any:
    """Return the transformer of x for a linear model."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = [i for i in range(n_features) if i not in set(categories)]
    filled = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(filled, StandardScaler()), numbers),
            ("categories", OneHotEncoder(handle_unknown="ignore"), list(categories)),
        ]
    )


def loss_of_baseline(trainer: Any, estimator: Any, train: Sequence[Array], samples: Sequence[Array]) -> float:
    """Return the data loss of a baseline's predictions, as the Trainer of a network would compute that of its network.

    Parameters
    ----------
    trainer : object
        What the builder makes; it is not trained.
    estimator : object with predict
        The fitted baseline.
    train, samples : (x, y) or (x, y, weight)
        What the baseline was fitted on, and what to compute the loss on.

    Returns
    -------
    float
        NaN if it is not known which predictions the loss expects.
    """
    if not isinstance(trainer, Trainer):
        return math.nan
    x, y, *weight = samples
    kind = type(trainer.loss)
    if kind in REGRESSION_LOSSES and y.ndim == 2:
        prediction, target = np.reshape(estimator.predict(x), y.shape), y.astype(np.float64)
        if trainer.targets is not None:
            trainer.targets.learn(*train[1:])
            prediction, target = trainer.targets.transform(prediction), trainer.targets.transform(target)
    elif kind is CrossEntropy and y.ndim == 1:
        prediction, target = _log(estimator.predict_proba(x)), y
    elif kind is BinaryCrossEntropy and hasattr(estimator, "predict_proba"):
        found = estimator.predict_proba(x)
        several = np.column_stack([p[:, 1] for p in found]) if isinstance(found, list) else found
        positive = several[:, 1:] if y.ndim == 1 else several
        prediction, target = _log(positive) - _log(1.0 - positive), y.reshape(positive.shape).astype(np.float64)
    else:
        return math.nan
    return trainer.loss(prediction, target, *weight).item()


def _log(probability: Array) -> Array:
    return np.log(np.maximum(probability, np.finfo(np.float64).tiny))
