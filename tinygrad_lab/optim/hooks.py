"""Gradient hooks: pure functions of all gradients, which the optimizer calls in list order before its update.

gradients --> ClipGradValue --> ClipGradNorm --> ... --> optimizer
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import reduce
from operator import add

from tinygrad_lab.autodiff.ops import maximum
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

    def __call__(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        if not gradients:
            return []
        squares = reduce(add, [g.astype_like(self.max_norm).square().sum() for g in gradients])
        limit = self.max_norm
        factor = limit / maximum(squares, limit * limit).sqrt()
        return [g * factor.astype_like(g) for g in gradients]

    def __repr__(self) -> str:
        return f"ClipGradNorm({self.max_norm.item()})"


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

    def __call__(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        limits = [self.limit.astype_like(g) for g in gradients]
        return [g.clip(-limit, limit) for g, limit in zip(gradients, limits, strict=True)]

    def __repr__(self) -> str:
        return f"ClipGradValue({self.limit.item()})"
