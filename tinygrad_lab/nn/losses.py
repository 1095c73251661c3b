"""Losses: one number that says how far predictions are from targets.

    prediction, target --> loss of each sample --(times sample_weight)--> mean over the samples

Prediction and target have one row for each sample. A loss never broadcasts one to the shape of the other. Otherwise
predictions of shape (n, 1) and targets of shape (n,) would silently compare each prediction with all targets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_lab.autodiff.ops import equal, where
from tinygrad_lab.autodiff.tensor import Tensor, as_tensor
from tinygrad_lab.checks import is_finite_number
from tinygrad_lab.returned import check_tensor


class Loss(ABC):
    """The mean over the samples of the loss of each sample.

    A subclass computes in `per_sample`. It says in `check_target` which targets have a meaning, if not all finite numbers do.

    Examples
    --------
    >>> class PoissonDeviance(Loss):
    ...     def per_sample(self, prediction, target):
    ...         return (prediction.exp() - target * prediction).sum(-1)
    ...     def check_target(self, target):
    ...         super().check_target(target)
    ...         self.refuse(target, target < 0, "counts of at least 0")
    >>> PoissonDeviance()([[0.0], [0.0]], [[2.0], [3.0]])
    Tensor(1.)
    >>> PoissonDeviance()([[0.0], [0.0]], [[2.0], [-1.0]])
    Traceback (most recent call last):
    ValueError: PoissonDeviance: target holds -1.0 at (1, 0), expected counts of at least 0
    """

    class_labels: ClassVar[bool] = False
    """Whether a target may be an integer label for each sample, rather than a row of numbers."""

    @abstractmethod
    def per_sample(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each sample, of shape (n,), for inputs that `check` accepts.

        Both are of one floating-point dtype, unless the target holds labels of classes.
        """

    def check_target(self, target: np.ndarray) -> None:
        """Raise a ValueError if the target holds values without a meaning; by default, nan and infinity.

        `fit` and `evaluate` call it once, with the whole target. The updates of a training do not repeat it.
        """
        self.refuse(target, ~np.isfinite(target), "finite numbers")

    def refuse(self, target: np.ndarray, wrong: np.ndarray, expected: str) -> None:
        """Raise a ValueError that shows the first element of `target` for which `wrong` holds, if there is one."""
        if wrong.any():
            position = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise ValueError(f"{type(self).__name__}: target holds {target[position]} at {position}, expected {expected}")

    def check(self, prediction: Tensor, target: Tensor) -> None:
        """Raise a ValueError if prediction and target do not fit each other, or if there is no sample."""
        owner = type(self).__name__
        if self.class_labels and target.dtype.kind in "iu":
            self._check_labels(prediction, target)
        elif self.class_labels and (prediction.ndim != 2 or prediction.shape != target.shape or not prediction.size):
            raise ValueError(f"{owner}: prediction has shape {prediction.shape}, {_expected_labels(target)}")
        elif prediction.shape != target.shape or not prediction.size or not prediction.ndim:
            raise ValueError(
                f"{owner}: prediction has shape {prediction.shape}, target {target.shape}; expected the same, "
                "with at least one sample"
            )

    def _check_labels(self, prediction: Tensor, target: Tensor) -> None:
        """Raise a ValueError if the integer labels of the samples do not fit the logits of the classes."""
        if prediction.ndim != 2 or target.shape != prediction.shape[:1] or not prediction.size:
            raise ValueError(
                f"{type(self).__name__}: prediction has shape {prediction.shape}, target {target.shape} of {target.dtype}; "
                "expected (n, classes) beside n integer labels or (n, classes) probabilities"
            )
        low, high = target._array.min(), target._array.max()  # read only for this check, so that no number enters the step
        if low < 0 or high >= prediction.shape[1]:
            raise ValueError(f"{type(self).__name__}: labels run from {low} to {high}, expected 0 to {prediction.shape[1] - 1}")

    def __call__(
        self, prediction: ArrayLike | Tensor, target: ArrayLike | Tensor, sample_weight: ArrayLike | Tensor | None = None
    ) -> Tensor:
        """Return the mean loss, computed in floating point.

        Parameters
        ----------
        prediction : array_like or Tensor, shape (n, ...)
        target : array_like or Tensor, shape (n, ...)
            The values of an array are checked by `check_target`. Those of a Tensor are not, because a training step has
            Tensors and its data were checked before.
        sample_weight : array_like or Tensor, shape (n,), optional
            Factors of the samples' losses. The mean divides by n and not by the sum of the weights, so that a weight has an
            effect even in a batch of one sample.

        Returns
        -------
        Tensor of shape ()

        Raises
        ------
        TypeError
            If the arguments are of two floating-point dtypes.
        ValueError
            If the shapes do not fit, or if an array holds a target without a meaning or a weight below 0.
        """
        given, prediction, target = target, as_tensor(prediction), as_tensor(target)
        self.check(prediction, target)
        if given is not target:
            self.check_target(target._array)
        prediction = self._floating("prediction", prediction, target)
        if not (self.class_labels and target.dtype.kind in "iu"):
            target = self._floating("target", target, prediction)
        losses = self.per_sample(prediction, target)
        check_tensor(self, "per_sample", losses, prediction._array.shape[:1], prediction._array.dtype)
        if sample_weight is not None:
            losses = losses * self._weights(sample_weight, losses)
        return losses.mean()

    def _floating(self, name: str, x: Tensor, other: Tensor) -> Tensor:
        """Return `x` as floating-point numbers, and refuse a dtype that differs from that of `other`."""
        kinds = x.dtype.kind + other.dtype.kind
        if kinds == "ff" and x.dtype != other.dtype:
            raise TypeError(
                f"{type(self).__name__}: {name} is of {x.dtype} beside {other.dtype}, expected one dtype; use .astype()"
            )
        return x if kinds[0] in "fc" else x.astype(other.dtype if kinds[1] == "f" else np.float64)

    def _weights(self, sample_weight: ArrayLike | Tensor, losses: Tensor) -> Tensor:
        weight = as_tensor(sample_weight)
        owner = type(self).__name__
        if weight.shape != losses.shape:
            raise ValueError(f"{owner}: sample_weight has shape {weight.shape}, expected {losses.shape}, one a sample")
        if weight is not sample_weight and not (np.isfinite(weight._array) & (weight._array >= 0)).all():
            low, high = weight._array.min(), weight._array.max()
            raise ValueError(f"{owner}: sample_weight runs from {low} to {high}, expected finite numbers of at least 0")
        return self._floating("sample_weight", weight, losses)


def _expected_labels(target: Tensor | np.ndarray) -> str:
    return (
        f"target has shape {target.shape} of {target.dtype}, expected integer labels of shape (n,) or probabilities of shape "
        "(n, classes); use .astype(int) for labels"
    )


def _features(x: Tensor) -> tuple[int, ...]:
    """Return all axes but the first, which is that of the samples."""
    return tuple(range(1, x.ndim))


@dataclass(frozen=True)
class HalfSquaredError(Loss):
    """Half the squared Euclidean distance, Σ (ŷ - y)² / 2 over the features, as in the report.

    Examples
    --------
    >>> HalfSquaredError()([[3.0], [0.0]], [[1.0], [0.0]])
    Tensor(1.)
    """

    def per_sample(self, prediction: Tensor, target: Tensor) -> Tensor:
        return 0.5 * (prediction - target).square().sum(_features(prediction))


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """The mean over the features of (ŷ - y)².

    Examples
    --------
    >>> MeanSquaredError()([[3.0], [0.0]], [[1.0], [0.0]])
    Tensor(2.)
    """

    def per_sample(self, prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction - target).square().mean(_features(prediction))


@dataclass(frozen=True)
class MeanAbsoluteError(Loss):
    """The mean over the features of |ŷ - y|, whose derivative at 0 is 0.

    Examples
    --------
    >>> MeanAbsoluteError()([[3.0], [0.0]], [[1.0], [0.0]])
    Tensor(1.)
    """

    def per_sample(self, prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction - target).abs().mean(_features(prediction))


@dataclass(frozen=True)
class Huber(Loss):
    """The mean over the features of a function of d = |ŷ - y|: d²/2 up to `delta`, and delta (d - delta/2) above.

    Source: Huber, Annals of Mathematical Statistics 35, 1964.

    Examples
    --------
    >>> Huber(delta=1.0)([[3.0], [0.5]], [[0.0], [0.0]])
    Tensor(1.3125)
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        if not is_finite_number(self.delta) or self.delta <= 0:
            raise ValueError(f"Huber: delta is {self.delta!r}, expected a positive number")

    def per_sample(self, prediction: Tensor, target: Tensor) -> Tensor:
        distance = (prediction - target).abs()
        near = 0.5 * distance.square()
        far = self.delta * (distance - 0.5 * self.delta)
        return where(distance <= self.delta, near, far).mean(_features(prediction))


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """The cross-entropy of softmax(logits) with class labels or class probabilities, without overflow.

    `prediction` holds logits of shape (n, classes). `target` holds integer labels of shape (n,) or probabilities of shape
    (n, classes). Probabilities are at least 0, and those of a sample add up to 1; they may be rounded to 3 digits.

    Examples
    --------
    >>> CrossEntropy()([[0.0, 0.0], [100.0, 0.0]], [1, 0])
    Tensor(0.34657359)
    """

    class_labels: ClassVar[bool] = True

    def check_target(self, target: np.ndarray) -> None:
        if target.dtype.kind in "iu":
            self.refuse(target, target < 0, "labels of at least 0")
            return
        sums = target.sum(axis=-1)
        is_one = abs(sums - 1.0) <= 0.005
        if (target.ndim == 1 or target.shape[-1] == 1) and not is_one.all():
            raise ValueError(f"{type(self).__name__}: {_expected_labels(target)}")
        self.refuse(target, ~(target >= 0), "probabilities of at least 0")
        if not is_one.all():
            sample = int(np.argmin(is_one))
            raise ValueError(
                f"{type(self).__name__}: the probabilities of target {sample} add up to {sums[sample]:.6g}, expected 1"
            )

    def per_sample(self, prediction: Tensor, target: Tensor) -> Tensor:
        log_probability = prediction.log_softmax(axis=-1)
        if target.dtype.kind in "iu":
            # Compare with every class instead of indexing: a comparison is elementwise, so it has lanes and a loop form.
            is_label = equal(target.reshape(-1, 1), np.arange(prediction.shape[1]))
            return -where(is_label, log_probability, 0.0).sum(axis=-1)
        return -(target * log_probability).sum(axis=-1)


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """The mean over the features of the cross-entropy of sigmoid(logit) with targets in [0, 1], without overflow.

    With logit z and target t it is t log(1 + exp(-z)) + (1 - t) log(1 + exp(z)). No term is negative, so no digits cancel.

    Examples
    --------
    >>> BinaryCrossEntropy()([[0.0], [1000.0]], [[1.0], [1.0]])
    Tensor(0.34657359)
    """

    def check_target(self, target: np.ndarray) -> None:
        self.refuse(target, ~((target >= 0) & (target <= 1)), "probabilities from 0 to 1")

    def per_sample(self, prediction: Tensor, target: Tensor) -> Tensor:
        losses = target * (-prediction).softplus() + (1.0 - target) * prediction.softplus()
        return losses.mean(_features(prediction))
