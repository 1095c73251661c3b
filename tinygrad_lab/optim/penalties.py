"""Penalties on the size of the parameters, in one of three places of a training step.

    in the loss    loss + value(w) --> gradient --> hooks --> update           the penalty is clipped with the loss
    decoupled      loss --> gradient --> hooks --> + gradient(w) --> update    it is added after clipping (the report's way)
    proximal       loss --> gradient --> hooks --> update --> shrink(w, lr)    exact zeros are reached, and kept

All parameters are penalised, both weights and biases.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import reduce
from operator import add

from tinygrad_lab.autodiff.ops import where
from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.hyperparameters import Hyperparameter
from tinygrad_lab.returned import check_tensor


class Penalty(ABC):
    """A non-negative function of the parameters that a training step adds to the loss.

    Parameters
    ----------
    strength : float
        The factor of the penalty, at least 0.
    decoupled, proximal : bool
        Where the penalty acts: by default in the loss. At most one of the two.

    Attributes
    ----------
    strength : Tensor of shape ()
    placement : {"loss", "decoupled", "proximal"}
    """

    strength = Hyperparameter()

    def __init__(self, strength: float, *, decoupled: bool = False, proximal: bool = False) -> None:
        if decoupled and proximal:
            raise ValueError(f"{type(self).__name__}: decoupled and proximal are both set, expected at most one of them")
        self.strength = strength
        self.placement = "decoupled" if decoupled else "proximal" if proximal else "loss"

    def value(self, parameters: Sequence[Tensor]) -> Tensor:
        """Return the penalty, a Tensor of shape ()."""
        total = reduce(add, [check_tensor(self, "_size", self._size(w), (), w.dtype) for w in parameters])
        return self.strength.astype_like(total) * total

    def gradient(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Return the (sub)gradient of `value` with respect to each parameter."""
        slopes = [check_tensor(self, "_slope", self._slope(w), w.shape, w.dtype) for w in parameters]
        return [self.strength.astype_like(w) * slope for w, slope in zip(parameters, slopes, strict=True)]

    def shrink(self, parameters: Sequence[Tensor], lr: Tensor) -> list[Tensor]:
        """Return the proximal map of `lr` times `value`: for each w, the v that minimises |v - w|²/2 + lr value(v).

        Source: Parikh & Boyd, Proximal Algorithms, 2014, sections 6.5.2 and 6.1.1.
        """
        step = lr * self.strength
        return [check_tensor(self, "_proximal", self._proximal(w, step.astype_like(w)), w.shape, w.dtype) for w in parameters]

    @abstractmethod
    def _size(self, w: Tensor) -> Tensor:
        """Return the penalty of one parameter at strength 1."""

    @abstractmethod
    def _slope(self, w: Tensor) -> Tensor:
        """Return the gradient of `_size`."""

    @abstractmethod
    def _proximal(self, w: Tensor, step: Tensor) -> Tensor:
        """Return the proximal map of `step` times `_size`."""

    def __repr__(self) -> str:
        numbers = ", ".join(str(x._array) for x in vars(self).values() if isinstance(x, Tensor))
        place = "" if self.placement == "loss" else f", {self.placement}=True"
        return f"{type(self).__name__}({numbers}{place})"


class L1Penalty(Penalty):
    """strength Σ|w|, with subgradient strength sign(w), sign(0) = 0.

    Examples
    --------
    >>> penalty = L1Penalty(0.5)
    >>> penalty.value([Tensor([1.0, -2.0, 0.0])])
    Tensor(1.5)
    >>> penalty.gradient([Tensor([1.0, -2.0, 0.0])])
    [Tensor([ 0.5, -0.5,  0. ])]
    >>> penalty.shrink([Tensor([1.0, -2.0, 0.01])], lr=Tensor(0.1))
    [Tensor([ 0.95, -1.95,  0.  ])]
    """

    def _size(self, w: Tensor) -> Tensor:
        return w.abs().sum()

    def _slope(self, w: Tensor) -> Tensor:
        return w.sign()

    def _proximal(self, w: Tensor, step: Tensor) -> Tensor:
        return _soft_threshold(w, step)


class L2Penalty(Penalty):
    """strength Σ w² / 2, with gradient strength w: PyTorch's weight decay."""

    def _size(self, w: Tensor) -> Tensor:
        return 0.5 * w.square().sum()

    def _slope(self, w: Tensor) -> Tensor:
        return w

    def _proximal(self, w: Tensor, step: Tensor) -> Tensor:
        return w / (1.0 + step)


class ElasticNetPenalty(Penalty):
    """strength Σ (ratio |w| + (1 - ratio) w² / 2): scikit-learn's elastic net (Zou & Hastie, 2005).

    Parameters
    ----------
    strength : float
        The factor of the penalty, at least 0.
    l1_ratio : float
        The share of the L1 part, from 0 to 1.
    decoupled, proximal : bool
        Where the penalty acts: by default in the loss. At most one of the two.
    """

    l1_ratio = Hyperparameter(least=0.0, most=1.0)

    def __init__(self, strength: float, l1_ratio: float = 0.5, *, decoupled: bool = False, proximal: bool = False) -> None:
        super().__init__(strength, decoupled=decoupled, proximal=proximal)
        self.l1_ratio = l1_ratio

    def _size(self, w: Tensor) -> Tensor:
        ratio = self.l1_ratio.astype_like(w)
        return ratio * w.abs().sum() + 0.5 * (1.0 - ratio) * w.square().sum()

    def _slope(self, w: Tensor) -> Tensor:
        ratio = self.l1_ratio.astype_like(w)
        return ratio * w.sign() + (1.0 - ratio) * w

    def _proximal(self, w: Tensor, step: Tensor) -> Tensor:
        ratio = self.l1_ratio.astype_like(w)
        return _soft_threshold(w, ratio * step) / (1.0 + (1.0 - ratio) * step)


def _soft_threshold(w: Tensor, threshold: Tensor) -> Tensor:
    """Move each element towards 0 by `threshold`, and stop there."""
    return where(w.abs() <= threshold, 0.0, w - threshold * w.sign())
