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


class Loss(ABC):
    """The mean over the samples of the loss of each sample."""

    class_labels: ClassVar[bool] = False
    """Whether a target may be an integer label for each sample, rather than a row of numbers."""

    @abstractmethod
    def per_sample(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each sample, of shape (n,), for inputs that `check` accepts."""

    def check(self, prediction: Tensor, target: Tensor) -> None:
        """Raise a ValueError if prediction and target do not fit each other, or if there is no sample."""
        if self.class_labels and target.dtype.kind in "iu":
            self._check_labels(prediction, target)
        elif prediction.shape != target.shape or not prediction.size or not prediction.ndim:
            raise ValueError(
                f"{type(self).__name__}: prediction has shape {prediction.shape}, target {target.shape}; expected the same, "
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
        """Return the mean loss.

        Parameters
        ----------
        prediction : array_like or Tensor, shape (n, ...)
        target : array_like or Tensor, shape (n, ...)
        sample_weight : array_like or Tensor, shape (n,), optional
            Factors of the samples' losses. The mean divides by n and not by the sum of the weights, so that a weight has an
            effect even in a batch of one sample.

        Returns
        -------
        Tensor of shape ()

        Raises
        ------
        ValueError
            If the shapes do not fit.
        """
        prediction, target = as_tensor(prediction), as_tensor(target)
        self.check(prediction, target)
        losses = self.per_sample(prediction, target)
        if sample_weight is not None:
            weight = as_tensor(sample_weight)
            if weight.shape != losses.shape:
                raise ValueError(
                    f"{type(self).__name__}: sample_weight has shape {weight.shape}, expected {losses.shape}, one a sample"
                )
            losses = losses * weight
        return losses.mean()


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
    (n, classes).

    Examples
    --------
    >>> CrossEntropy()([[0.0, 0.0], [100.0, 0.0]], [1, 0])
    Tensor(0.34657359)
    """

    class_labels: ClassVar[bool] = True

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

    def per_sample(self, prediction: Tensor, target: Tensor) -> Tensor:
        losses = target * (-prediction).softplus() + (1.0 - target) * prediction.softplus()
        return losses.mean(_features(prediction))
