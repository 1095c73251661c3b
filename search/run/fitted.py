"""Trained estimators of scikit-learn as the model of a search: the labels of the user, intervals, and the mean of several.

estimators --predict, predict_proba--> mean --> numbers, labels        fold estimators --Calibration--> intervals, sets
"""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from search.trials.data import Array
from tinygrad_lab.prediction.calibrated import CalibratedModel


class FittedEstimator(CalibratedModel):
    """What `SearchResult.fit` returns where the builder makes estimators, or Trainers of its own kind.

    Parameters
    ----------
    estimators : sequence of object with `predict`
        Their predictions, or probabilities, are averaged.
    task : {"regression", "classification", "multilabel"}
    classes : array_like, optional
        The label of each code 0, 1, ... that the estimators predict. By default they predict the labels themselves.
    flat : bool
        Whether predictions of one number have shape (samples,).
    details : mapping, optional

    Attributes
    ----------
    models : tuple of object
        The estimators.
    classes_ : ndarray of shape (classes,)
        The labels. A regression has none.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> x = np.array([[0.0], [1.0], [2.0]])
    >>> FittedEstimator([LinearRegression().fit(x, 2.0 * x[:, 0])], "regression").predict([[3.0]])
    array([6.])
    """

    def __init__(
        self,
        estimators: Sequence[Any],
        task: str,
        classes: ArrayLike | None = None,
        *,
        flat: bool = True,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self._is_encoded = classes is not None
        if classes is None and task == "classification":
            classes = np.unique(np.concatenate([estimator.classes_ for estimator in estimators]))
        super().__init__(task, estimators, classes, flat, details)

    def predict(self, x: ArrayLike) -> Array:
        """Predict numbers, of shape (samples,) or (samples, outputs), or labels.

        Parameters
        ----------
        x : array_like, shape (samples, features)
        """
        if self.task == "regression":
            return self._shaped(self._means(self.models, x))
        if len(self.models) == 1:
            predicted = np.asarray(self.models[0].predict(x))
            is_code = self._is_encoded and self.task == "classification"
            return np.asarray(self.classes_[predicted.astype(np.intp)]) if is_code else predicted
        probabilities = self._means(self.models, x)
        if self.task == "multilabel":
            return (probabilities > 0.5).astype(np.int64)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])

    def save(self, path: Any) -> NoReturn:  # noqa: ARG002
        """Refuse: only networks have files without pickle."""
        kind = type(self.models[0]).__name__
        self._refuse("save", f"is for networks, and a {kind} has no file without pickle; save it by skops or joblib")

    def _check_models(self, name: str, models: Any) -> tuple[Any, ...]:
        found = tuple(models)
        if not found or not all(callable(getattr(estimator, "predict", None)) for estimator in found):
            raise TypeError(f"FittedEstimator: {name} is {found!r}, expected at least one object with predict")
        return found

    def _check_inputs(self, x: ArrayLike) -> Array:
        return np.asarray(x)

    def _means(self, models: Sequence[Any], x: ArrayLike) -> Array:
        of_each = [self._outputs(estimator, x) for estimator in models]
        return of_each[0] if len(of_each) == 1 else np.asarray(np.mean(of_each, axis=0))

    def _outputs(self, estimator: Any, x: ArrayLike) -> Array:
        if self.task == "regression":
            numbers = np.asarray(estimator.predict(x), np.float64)
            return numbers.reshape(len(numbers), -1)
        if not hasattr(estimator, "predict_proba"):
            self._refuse("predict_proba", f"is called, but a {type(estimator).__name__} has none; search an estimator that has")
        found = estimator.predict_proba(x)
        if isinstance(found, list):  # of a multi-output classifier: the probabilities of both values of each label
            return np.column_stack([1.0 - probability[:, 0] for probability in found])
        if self.task == "multilabel":
            return np.asarray(found)
        known = np.asarray(estimator.classes_)
        probabilities = np.zeros((len(found), len(self.classes_)))  # a fold may have no sample of a class
        probabilities[:, known.astype(np.intp) if self._is_encoded else np.searchsorted(self.classes_, known)] = found
        return probabilities

    def __repr__(self) -> str:
        return f"FittedEstimator({', '.join(map(repr, self.models))}, task={self.task!r})"
