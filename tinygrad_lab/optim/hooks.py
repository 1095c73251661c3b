"""Gradient hooks: pure functions of all gradients, which the optimizer calls in list order before its update.

gradients --> ClipGradValue --> ClipGradNorm --> ... --> optimizer
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import reduce
from operator import add

import numpy as np

from tinygrad_lab.autodiff.ops import maximum, where
from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.optim.hyperparameters import hyperparameter


class GradientHook(ABC):
    """A function that turns the list of all gradients into a list of new ones, and does not branch on their values."""

    @abstractmethod
    def __call__(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Return the changed gradients, in the same order and shapes."""


class ClipGradNorm(GradientHook):
    """Rescale all gradients together so that their global norm is at most `max_norm`.

    The factor is max_norm / √max(Σ g², max_norm²) (Pascanu, Mikolov & Bengio, ICML 2013). The maximum is taken before the
    root. So the factor is exactly 1 below the limit, and its derivative is finite even if all gradients are 0.

    All finite gradients are clipped to full precision, even if their squares overflow. If an element is infinite, it becomes
    nan and the finite ones become 0. If an element is nan, all become nan.

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

    def __init__(self, max_norm: float) -> None:
        self.max_norm = hyperparameter("ClipGradNorm", "max_norm", max_norm, zero=False)
        if not 1e-150 <= self.max_norm.item() <= 1e150:
            raise ValueError(f"ClipGradNorm: max_norm is {max_norm!r}, expected a number from 1e-150 to 1e150")

    @np.errstate(over="ignore")  # of the first sum, which then selects the scale
    def __call__(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        gradients = list(gradients)
        if not gradients:
            return []
        limit = self.max_norm
        doubles = [g.astype_like(limit) for g in gradients]
        squares = _sum_of_squares(doubles)
        # Write the factor as a product of two. Then neither underflows, and no square overflows. A power of two, and 1,
        # change no digit.
        if all(g.dtype == np.float32 for g in gradients):  # the square of such a number is finite in double precision
            factor = limit / maximum(squares, limit * limit).sqrt()
            is_small = factor < 2.0**-100
            first, second = where(is_small, factor.sqrt(), 1.0), where(is_small, factor.sqrt(), factor)
            scaled = [g * first.astype_like(g) for g in gradients]
        else:
            first = where(squares > 2.0**998, 2.0**-540, 1.0)
            scaled = [g * first for g in doubles]
            scaled_limit = limit * first
            second = limit / maximum(_sum_of_squares(scaled), scaled_limit * scaled_limit).sqrt()
        return [(x * second.astype_like(x)).astype_like(g) for g, x in zip(gradients, scaled, strict=True)]

    def __repr__(self) -> str:
        return f"ClipGradNorm({self.max_norm.item()})"


def _sum_of_squares(tensors: Iterable[Tensor]) -> Tensor:
    return reduce(add, [x.square().sum() for x in tensors])


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

    def __init__(self, limit: float) -> None:
        self.limit = hyperparameter("ClipGradValue", "limit", limit, zero=False)

    @np.errstate(over="ignore")  # a limit that single precision cannot hold is infinite, and limits nothing
    def __call__(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        gradients = list(gradients)
        limits = [self.limit.astype_like(g) for g in gradients]
        return [g.clip(-limit, limit) for g, limit in zip(gradients, limits, strict=True)]

    def __repr__(self) -> str:
        return f"ClipGradValue({self.limit.item()})"
