"""Gradient hooks: pure functions of all gradients, which the optimizer calls in list order before its update.

gradients --> ClipGradValue --> ClipGradNorm --> ... --> optimizer
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import nan

import numpy as np

from tinygrad_lab.autodiff import ops
from tinygrad_lab.autodiff.ops import maximum, where
from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.hyperparameters import Hyperparameter


class GradientHook(ABC):
    """A function that turns the list of all gradients into a list of new ones, and does not branch on their values.

    Examples
    --------
    >>> class Halve(GradientHook):
    ...     def __call__(self, gradients):
    ...         return [0.5 * g for g in gradients]
    >>> Halve()([Tensor([1.0, -2.0])])
    [Tensor([ 0.5, -1. ])]
    """

    @abstractmethod
    def __call__(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Return the changed gradients, in the same order and shapes."""


class ClipGradNorm(GradientHook):
    """Rescale all gradients together so that their global norm is at most `max_norm`.

    The factor is max_norm / max(norm, max_norm) (Pascanu, Mikolov & Bengio, ICML 2013). So it is exactly 1 below the limit,
    and its derivative is finite even if all gradients are 0. The norm of finite gradients does not overflow.

    If an element is infinite or nan, all become nan, and the training reports a loss that is not finite. So does a gradient
    for which the factor is no normal number of its dtype, instead of 0: this takes a norm of 1e307 times `max_norm`, or of
    1e37 times in single precision.

    Parameters
    ----------
    max_norm : float
        From 1e-150 to 1e150, so that its square is a normal number in double precision.

    Attributes
    ----------
    max_norm : Tensor of shape ()

    Examples
    --------
    >>> ClipGradNorm(1.0)([Tensor([3.0]), Tensor([4.0])])
    [Tensor([0.6]), Tensor([0.8])]
    """

    max_norm = Hyperparameter(least=1e-150, most=1e150)

    def __init__(self, max_norm: float) -> None:
        self.max_norm = max_norm

    @np.errstate(over="ignore", invalid="ignore")  # of the first sum of squares, or of gradients that are not finite
    def __call__(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        gradients = list(gradients)
        if not gradients:
            return []
        limit = self.max_norm
        norm = ops.norm(*[g.astype_like(limit) for g in gradients], ndims=tuple(g.ndim for g in gradients))
        factor = limit / maximum(norm, limit)
        factors = {tiny: where(factor < tiny, nan, factor) for tiny in {_smallest(g) for g in gradients}}
        return [g * factors[_smallest(g)].astype_like(g) for g in gradients]

    def __repr__(self) -> str:
        return f"ClipGradNorm({self.max_norm._array})"


def _smallest(x: Tensor) -> float:
    """Return the smallest normal number of a Tensor's dtype."""
    return float(np.finfo(x.dtype).tiny)


class ClipGradValue(GradientHook):
    """Limit each element of each gradient to [-limit, limit].

    Parameters
    ----------
    limit : float
        Above 0.

    Attributes
    ----------
    limit : Tensor of shape ()

    Examples
    --------
    >>> ClipGradValue(1.0)([Tensor([3.0, -0.5])])
    [Tensor([ 1. , -0.5])]
    """

    limit = Hyperparameter(zero=False)

    def __init__(self, limit: float) -> None:
        self.limit = limit

    @np.errstate(over="ignore")  # a limit that single precision cannot hold is infinite, and limits nothing
    def __call__(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        gradients = list(gradients)
        limits = [self.limit.astype_like(g) for g in gradients]
        return [g.clip(-limit, limit) for g, limit in zip(gradients, limits, strict=True)]

    def __repr__(self) -> str:
        return f"ClipGradValue({self.limit._array})"
