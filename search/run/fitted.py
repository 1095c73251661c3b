"""Trained estimators of scikit-learn as the model of a search: the labels of the user, intervals, and the mean of several.

estimators --predict, predict_proba--> mean --> numbers, labels        fold estimators --Calibration--> intervals, sets
"""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from search.trials.data import Array
from tinygrad_lab.prediction.conformal import Calibration


class FittedEstimator:
    """What `SearchResult.fit` returns where the builder makes estimators, or Trainers of its own kind.

    Parameters
    ----------
    estimators : sequence of object with `predict`
        Their predictions, or probabilities, are averaged.
    task : {"regression", "classification", "multilabel"}
    classes : ndarray, optional
        The label of each code 0, 1, ... that the estimators predict. By default they predict the labels themselves.
    flat : bool
        Whether predictions of one number have shape (samples,).
    details : mapping, optional

    Attributes
    ----------
    calibration : Calibration or None
        What intervals are made from.
    classes_ : ndarray
        Only of a classification.

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
        classes: Array | None = None,
        *,
        flat: bool = True,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self.estimators = tuple(estimators)
        self.task = task
        self.flat = flat
        self.details = dict(details or {})
        self.fold_estimators: tuple[tuple[Any, ...], ...] = ()
        self.calibration: Calibration | None = None
        self._is_encoded = classes is not None
        if classes is not None:
            self.classes_ = classes
        elif task == "classification":
            self.classes_ = np.unique(np.concatenate([estimator.classes_ for estimator in estimators]))

    def predict(self, x: ArrayLike) -> Array:
        """Predict numbers, of shape (samples,) or (samples, outputs), or labels.

        Parameters
        ----------
        x : array_like, shape (samples, features)
        """
        if self.task == "regression":
            return self._shaped(self._numbers(self.estimators, x))
        if len(self.estimators) > 1:
            probabilities = self.predict_proba(x)
            if self.task == "multilabel":
                return (probabilities >= 0.5).astype(np.int64)
            return np.asarray(self.classes_[probabilities.argmax(axis=1)])
        predicted = np.asarray(self.estimators[0].predict(x))
        is_code = self._is_encoded and self.task == "classification"
        return np.asarray(self.classes_[predicted.astype(np.intp)]) if is_code else predicted

    def predict_proba(self, x: ArrayLike) -> Array:
        """Return the probabilities of the classes or labels, of shape (samples, classes).

        Raises
        ------
        TypeError
            For a regression, or if an estimator has no `predict_proba`.
        """
        if self.task == "regression":
            self._refuse("predict_proba", "this is a regression", "use predict or predict_interval")
        return self._probabilities(self.estimators, x)

    def predict_interval(self, x: ArrayLike, coverage: float = 0.9) -> tuple[Array, Array]:
        """Return bounds with a promised coverage; see `tinygrad_lab.Predictor.predict_interval`."""
        if self.task != "regression":
            self._refuse("predict_interval", f"this is a {self.task} task", "use predict_set or predict_proba")
        calibration = self._calibrated("predict_interval")
        predictions = np.stack([self._numbers(estimators, x) for estimators in self.fold_estimators])
        lower, upper = calibration.interval(predictions, coverage)
        return self._shaped(lower), self._shaped(upper)

    def predict_set(self, x: ArrayLike, coverage: float = 0.9) -> NDArray[np.bool_]:
        """Return sets of classes with a promised coverage; see `tinygrad_lab.Predictor.predict_set`."""
        if self.task != "classification":
            self._refuse("predict_set", f"this is a {self.task} task", "use predict_interval")
        self._check_probabilities(self.estimators[0])
        calibration = self._calibrated("predict_set")
        return calibration.sets(np.stack([self._probabilities(models, x) for models in self.fold_estimators]), coverage)

    def calibrate(self, fold_estimators: Sequence[Sequence[Any]], held_out: Sequence[Array], x: Array, y: Array) -> None:
        """Learn how far the estimators of a cross-validation are off; see `tinygrad_lab.Predictor.calibrate`.

        Parameters
        ----------
        fold_estimators : sequence of sequences of object with `predict`
        held_out : sequence of ndarray of int
        x : ndarray
        y : ndarray
            Numbers, or positions in `classes_`.
        """
        folds = tuple(map(tuple, fold_estimators))
        parts = list(zip(folds, held_out, strict=True))
        if self.task == "regression":
            targets = y.reshape(len(y), -1)
            predictions = [self._numbers(estimators, x[rows]) for estimators, rows in parts]
            calibration = Calibration.of_residuals(held_out, predictions, targets)
        else:
            probabilities = [self._probabilities(estimators, x[rows]) for estimators, rows in parts]
            calibration = Calibration.of_probabilities(held_out, probabilities, y)
        self.fold_estimators, self.calibration = folds, calibration

    def save(self, path: Any) -> NoReturn:  # noqa: ARG002
        """Refuse: only networks have files without pickle."""
        kind = type(self.estimators[0])
        self._refuse(
            "save",
            f"a {kind.__name__} of {kind.__module__.partition('.')[0]} has no file format without pickle",
            "save a network, or the estimator by skops or joblib",
        )

    def _numbers(self, estimators: Sequence[Any], x: ArrayLike) -> Array:
        of_each = [np.asarray(estimator.predict(x)) for estimator in estimators]
        of_each = [numbers.reshape(len(numbers), -1) for numbers in of_each]
        return of_each[0] if len(of_each) == 1 else np.asarray(np.mean(of_each, axis=0))

    def _probabilities(self, estimators: Sequence[Any], x: ArrayLike) -> Array:
        of_each = [self._probabilities_of(estimator, x) for estimator in estimators]
        return of_each[0] if len(of_each) == 1 else np.asarray(np.mean(of_each, axis=0))

    def _probabilities_of(self, estimator: Any, x: ArrayLike) -> Array:
        self._check_probabilities(estimator)
        found = estimator.predict_proba(x)
        if isinstance(found, list):  # of a multi-output classifier: the probabilities of both values of each label
            return np.column_stack([1.0 - probability[:, 0] for probability in found])
        if self.task == "multilabel":
            return np.asarray(found)
        probabilities = np.zeros((len(found), len(self.classes_)))  # a fold may have no sample of a class
        known = np.asarray(estimator.classes_)
        probabilities[:, known.astype(np.intp) if self._is_encoded else np.searchsorted(self.classes_, known)] = found
        return probabilities

    def _check_probabilities(self, estimator: Any) -> None:
        if not hasattr(estimator, "predict_proba"):
            self._refuse("predict_proba", f"a {type(estimator).__name__} has no probabilities", "search an estimator that has")

    def _shaped(self, numbers: Array) -> Array:
        return numbers[:, 0] if self.flat and numbers.shape[1] == 1 else numbers

    def _calibrated(self, method: str) -> Calibration:
        if self.calibration is None:
            self._refuse(method, "there are no folds that hold out each sample once", "search with such folds, as KFold has")
        return self.calibration

    def _refuse(self, method: str, why: str, cure: str) -> NoReturn:
        raise TypeError(f"FittedEstimator: {method} is called, but {why}; {cure}")

    def __repr__(self) -> str:
        return f"FittedEstimator({', '.join(map(repr, self.estimators))}, task={self.task!r})"
