"""Scores: numbers that decide a ranking in place of the loss. The greater, the better.

scoring="r2", or a function, or several --> Scoring --(model, x, y)--> {"r2": 0.83, ...}, of which the first decides
"""

from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from inspect import signature
from typing import Any

import numpy as np

from search.trials.data import Array, Samples
from search.trials.models import LabelledModel
from tinygrad_lab.checks import install_hint

Score = str | Callable[..., float]

# Where scikit-learn keeps the functions of its scores, and the tasks for which they are.
REGRESSION = "sklearn.metrics._regression"
CLASSIFICATION = ("sklearn.metrics._classification", "sklearn.metrics._ranking")

# Means over the samples, which exist also if no sample is of some class. Others, such as "roc_auc", are not defined then.
MEANS_OF_PROBABILITIES = ("neg_log_loss", "neg_brier_score", "top_k_accuracy")


class Scoring:
    """One or more scores of a trained model, of which the first decides.

    Parameters
    ----------
    given : str, callable, or iterable of these
        A name of scikit-learn's, such as ``"r2"``; or a function ``f(model, x, y)`` that returns a number, the greater, the
        better. It may take ``sample_weight`` as well. `model` has ``predict`` and, for classes, ``predict_proba``.

    Attributes
    ----------
    names : tuple of str
        In the given order.
    functions : tuple of callable
        Those that are no names of scikit-learn's.

    Raises
    ------
    ImportError
        If a name is given, and scikit-learn is not installed.
    TypeError, ValueError
        If there is no score, or one is unknown or is there twice.

    Notes
    -----
    A score by name sees labels as 0, 1, ... in the order of the classes. So class 1 is the positive one of ``"f1"``. A
    function sees the labels as they were given.

    Examples
    --------
    >>> def bias(model, x, y):
    ...     return -abs(float(np.mean(model.predict(x) - y)))
    >>> Scoring(["r2", bias])
    r2, bias
    """

    def __init__(self, given: Score | Iterable[Score]) -> None:
        if isinstance(given, Mapping):
            raise TypeError(
                "scoring: a mapping given, expected a name, a function, or a list of these; scores keep their own names"
            )
        self._given = (given,) if isinstance(given, str) or callable(given) else tuple(given)
        if not self._given:
            raise ValueError("scoring: no score given, expected a name of scikit-learn's, a function, or a list of these")
        self.names = tuple(map(_name, self._given))
        self.functions = tuple(score for score in self._given if not isinstance(score, str))
        if twice := [name for name in self.names if self.names.count(name) > 1]:
            raise ValueError(f"scoring: {twice[0]!r} is there twice, expected each score once")
        for score in self._given:
            if isinstance(score, str):
                _scorer(score)
            elif not callable(score):
                raise TypeError(
                    f"scoring: {score!r} given, expected a name of scikit-learn's, a function f(model, x, y), or a list"
                )

    def __repr__(self) -> str:
        return ", ".join(self.names)

    def implied_task(self) -> str | None:
        """Return the task for which the first score is; None if that is not known.

        Examples
        --------
        >>> Scoring("r2").implied_task(), Scoring("accuracy").implied_task()
        ('regression', 'classification')
        """
        return _task_of(self._given[0])

    def check(self, task: str, weighted: bool) -> None:
        """Raise a ValueError if a score is for another task, or cannot use the weights of samples."""
        for name, score in zip(self.names, self._given, strict=True):
            implied = _task_of(score)
            if implied is not None and (implied == "regression") != (task == "regression"):
                raise ValueError(f"scoring: {name!r} is a score for {implied}, expected one for the task {task!r}")
            if weighted and not _takes_weights(score):
                raise ValueError(f"scoring: {name!r} takes no sample_weight, expected a score that does beside weights")

    def __call__(self, model: Any, x: Array, y: Array, weight: Array | None, classes: Array | None) -> dict[str, float]:
        """Return the scores of a trained model by name.

        Parameters
        ----------
        model : object with predict
            It predicts codes of classes.
        x, y : ndarray
            y has shape (samples,) for one target.
        weight : ndarray or None
        classes : ndarray or None
            What the codes stand for.

        Raises
        ------
        TypeError
            If a function returns no number.
        """
        weights = {} if weight is None else {"sample_weight": weight}
        scores = {}
        for name, score in zip(self.names, self._given, strict=True):
            if isinstance(score, str):
                known = None if classes is None or y.ndim > 1 else np.arange(len(classes))
                value = _scorer(score, known)(model, x, y, **weights)
            elif classes is None or y.ndim > 1:
                value = score(model, x, y, **weights)
            else:
                value = score(LabelledModel(model, classes), x, classes[y], **weights)
            if np.ndim(value) or not isinstance(value, int | float | np.number):
                raise TypeError(f"scoring: {name} returned {value!r}, expected a number")
            scores[name] = float(value)
        return scores


def default_scoring(samples: Samples) -> Scoring | None:
    """Return the scores of a search that is run on a table: in the units of the target, or of probabilities.

    The data loss decides if there is no table, if there are several targets, whose units differ, or without scikit-learn.

    Examples
    --------
    >>> import numpy as np
    >>> default_scoring(Samples(np.zeros((2, 1)), np.zeros((2, 1)), "regression")) is None
    True
    """
    if samples.table is None or find_spec("sklearn") is None:
        return None
    if samples.task == "classification":
        return Scoring(["neg_log_loss", "accuracy"])
    return Scoring("neg_root_mean_squared_error") if samples.task == "regression" and samples.y.shape[1] == 1 else None


def _name(score: Any) -> str:
    if isinstance(score, str):
        return score
    function = getattr(score, "_score_func", score)  # of an object that scikit-learn's make_scorer has made
    return str(getattr(function, "__name__", type(function).__name__))


def _scorer(name: str, classes: Array | None = None) -> Any:
    """Return a scorer of scikit-learn's, which is told all classes if it needs them: a fold may not validate on each."""
    try:
        from sklearn.metrics import get_scorer
    except ImportError:
        raise ImportError(f"scoring={name!r} needs scikit-learn, which is not installed: {install_hint('sklearn')}") from None
    try:
        scorer = get_scorer(name)  # a copy
    except ValueError:
        from difflib import get_close_matches

        from sklearn.metrics import get_scorer_names

        near = get_close_matches(name, get_scorer_names(), n=1)
        advice = f"did you mean {near[0]!r}?" if near else "see sklearn.metrics.get_scorer_names()"
        raise ValueError(f"scoring: {name!r} given, expected a name of scikit-learn's or a function; {advice}") from None
    if classes is not None and name in MEANS_OF_PROBABILITIES and "labels" in signature(scorer._score_func).parameters:
        scorer._kwargs = {**scorer._kwargs, "labels": classes}
    return scorer


def _task_of(score: Any) -> str | None:
    function = getattr(_scorer(score) if isinstance(score, str) else score, "_score_func", None)
    module = getattr(function, "__module__", "")
    if module == REGRESSION:
        return "regression"
    return "classification" if module in CLASSIFICATION else None


def _takes_weights(score: Any) -> bool:
    function = _scorer(score) if isinstance(score, str) else score
    function = getattr(function, "_score_func", function)
    return "sample_weight" in signature(function).parameters
