"""What all models in use share: a task, labels, and intervals from the models of a cross-validation.

models --_means--> numbers, probabilities --> predict, predict_proba
fold models --_means--> one prediction for each fold --Calibration--> predict_interval, predict_set
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_lab.prediction.conformal import Calibration, check_partition
from tinygrad_lab.prediction.tasks import TASKS, as_classes, class_numbers, sklearn_tags
from tinygrad_lab.training.data import check_rows, check_same_length


class CalibratedModel(ABC):
    """A model, or the mean of several, that knows how far it is off.

    A subclass says in `_means` what its models predict on average.

    Parameters
    ----------
    task : {"regression", "classification", "multilabel"}
    models : sequence of object
    classes : array_like or None
        The labels of the classes; needed unless the task is a regression.
    flat : bool
        Whether the predictions of a regression with one output have shape (samples,), rather than (samples, 1).
    details : mapping, optional

    Attributes
    ----------
    models : tuple
        Those whose mean is predicted.
    classes_ : ndarray of shape (classes,)
        The labels. A regression has none.
    fold_models : tuple of tuple
        For each fold of `calibrate`, its models.
    calibration : Calibration or None
        What intervals are made from.
    """

    def __init__(
        self, task: str, models: Sequence[Any], classes: ArrayLike | None, flat: bool, details: Mapping[str, Any] | None
    ) -> None:
        if task not in TASKS:
            raise ValueError(f"{type(self).__name__}: task is {task!r}, expected {', '.join(TASKS)}")
        self.task = task
        self.models = self._check_models("models", models)
        self.flat = flat
        self.details = dict(details or {})
        self.fold_models: tuple[tuple[Any, ...], ...] = ()
        self.calibration: Calibration | None = None
        if classes is not None:
            self.classes_ = as_classes(classes)

    @abstractmethod
    def predict(self, x: ArrayLike) -> np.ndarray:
        """Predict numbers, of shape (samples,) or (samples, outputs), or labels."""

    @abstractmethod
    def _means(self, models: Sequence[Any], x: ArrayLike) -> np.ndarray:
        """Return the mean over some models, of shape (samples, outputs): numbers, or the probabilities of all classes."""

    @abstractmethod
    def _check_models(self, name: str, models: Any) -> tuple[Any, ...]:
        """Return models as a tuple, checked."""

    @abstractmethod
    def _check_inputs(self, x: ArrayLike) -> np.ndarray:
        """Return samples as an array, checked."""

    def predict_proba(self, x: ArrayLike) -> np.ndarray:
        """Return the probability of each class of `classes_`, or of each label of a multilabel task.

        Parameters
        ----------
        x : array_like, shape (samples, features)

        Returns
        -------
        ndarray of shape (samples, classes)

        Raises
        ------
        TypeError
            For a regression.
        """
        if self.task == "regression":
            self._refuse("predict_proba", "is for classes, and this is a regression; use predict_interval")
        return self._means(self.models, x)

    def predict_interval(self, x: ArrayLike, coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Return bounds between which the true value is with a promised probability (CV+).

        For n samples that were used for `calibrate`, it is at least 2 · coverage - 1 - √(2/n), and close to `coverage` in
        practice, if the new samples are exchangeable with them. For several outputs it holds for each by itself. Weights of
        samples do not count.

        Parameters
        ----------
        x : array_like, shape (samples, features)
        coverage : float, default=0.9

        Returns
        -------
        lower, upper : ndarray
            Of the shape that `predict` returns.

        Raises
        ------
        TypeError
            For classes; see `predict_set`.
        ValueError
            If there are no fold models, or too few samples for this coverage.

        References
        ----------
        Barber, Candès, Ramdas & Tibshirani, Predictive inference with the jackknife+, Annals of Statistics 49, 2021.
        """
        if self.task != "regression":
            self._refuse("predict_interval", f"is for numbers, and this is a {self.task} task; use predict_set")
        calibration = self._calibrated("predict_interval")
        lower, upper = calibration.interval(self._of_folds(x), coverage)
        return self._shaped(lower), self._shaped(upper)

    def predict_set(self, x: ArrayLike, coverage: float = 0.9) -> np.ndarray:
        """Return the classes among which the true one is with a promised probability; see `predict_interval`.

        Parameters
        ----------
        x : array_like, shape (samples, features)
        coverage : float, default=0.9

        Returns
        -------
        ndarray of bool, shape (samples, classes)
            Whether a class of `classes_` is in the set. A set may be empty.

        References
        ----------
        Romano, Sesia & Candès, Classification with valid and adaptive coverage, NeurIPS 2020.
        """
        if self.task != "classification":
            self._refuse("predict_set", f"is for one class a sample, and this is a {self.task} task; use predict_interval")
        calibration = self._calibrated("predict_set")
        return calibration.sets(self._of_folds(x), coverage)

    def calibrate(self, fold_models: Sequence[Any], held_out: Sequence[ArrayLike], x: ArrayLike, y: ArrayLike) -> None:
        """Learn how far the models of a cross-validation are off on the samples that they have not seen.

        Parameters
        ----------
        fold_models : sequence
            For each fold the model, or a sequence of models, that was trained on the other samples.
        held_out : sequence of array_like of int
            For each fold the samples that it held out. Each sample is in exactly one of them.
        x, y : array_like
            All samples, with the numbers or labels that `predict` predicts.

        Raises
        ------
        TypeError, ValueError
            If the folds do not hold out each sample once, or the data do not fit the models.
        """
        if self.task == "multilabel":
            self._refuse("calibrate", "is for numbers and single labels, and this is a multilabel task; leave it out")
        given = [one if isinstance(one, (list, tuple)) else (one,) for one in fold_models]
        models = tuple(self._check_models(f"fold_models[{i}]", one) for i, one in enumerate(given))
        rows = [np.asarray(part) for part in held_out]
        if not models:
            raise ValueError(f"{type(self).__name__}.calibrate: fold_models is empty, expected a model for each fold")
        if len(rows) != len(models):
            raise ValueError(
                f"{type(self).__name__}.calibrate: {len(rows)} folds for {len(models)} fold models, expected as many"
            )
        inputs = self._check_inputs(x)
        targets = check_rows("y", y, np.float64) if self.task == "regression" else class_numbers(y, self.classes_)
        check_same_length(x=inputs, y=targets)
        check_partition(rows, len(inputs))
        predictions = [self._means(of_fold, inputs[part]) for of_fold, part in zip(models, rows, strict=True)]
        if self.task == "regression":
            if predictions[0].shape[1:] != targets.shape[1:]:
                raise ValueError(f"y has shape {targets.shape}, expected {predictions[0].shape[1]} outputs, as of the models")
            calibration = Calibration.of_residuals(rows, predictions, targets)
        else:
            calibration = Calibration.of_probabilities(rows, predictions, targets)
        self.fold_models, self.calibration = models, calibration

    def _of_folds(self, x: ArrayLike) -> np.ndarray:
        return np.stack([self._means(models, x) for models in self.fold_models])

    def _shaped(self, outputs: np.ndarray) -> np.ndarray:
        return outputs[:, 0] if self.flat and outputs.shape[1] == 1 else outputs

    def _calibrated(self, method: str) -> Calibration:
        if self.calibration is None:
            raise ValueError(
                f"{type(self).__name__}: {method} needs the models of a cross-validation that holds out each sample once, "
                "and probabilities for sets; use result.best of a search with such folds, or call calibrate"
            )
        return self.calibration

    def _refuse(self, method: str, why: str) -> NoReturn:
        raise TypeError(f"{type(self).__name__}: {method} {why}")

    # scikit-learn's protocol ------------------------------------------------------------------------------------------

    def fit(self, X: Any = None, y: Any = None) -> Self:  # noqa: N803, ARG002
        """Refuse: the model is trained. scikit-learn's inspection looks only whether there is such a method."""
        self._refuse("fit", "is called on a trained model; use a Trainer, an estimator or a search to train")

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        """Describe the task to scikit-learn, which alone calls this."""
        return sklearn_tags(self.task)
