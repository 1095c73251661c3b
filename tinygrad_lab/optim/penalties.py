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
from tinygrad_lab.returned import check_initialized, check_tensor
from tinygrad_lab.transforms.derivatives import value_and_grad

PLACEMENTS = ("loss", "decoupled", "proximal")


class Penalty(ABC):
    """A non-negative function of the parameters that a training step adds to the loss.

    A subclass has a method `size`. The other methods are optional.

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

    Examples
    --------
    >>> class LogPenalty(Penalty):
    ...     def size(self, w):
    ...         return (1.0 + w.abs()).log().sum()
    >>> penalty = LogPenalty(0.5)
    >>> penalty.value([Tensor([0.0, 1.0])])
    Tensor(0.34657359)
    >>> penalty.gradient([Tensor([0.0, 1.0])])
    [Tensor([0.  , 0.25])]
    """

    strength = Hyperparameter()

    def __init__(self, strength: float, *, decoupled: bool = False, proximal: bool = False) -> None:
        if decoupled and proximal:
            raise ValueError(f"{type(self).__name__}: decoupled and proximal are both set, expected at most one of them")
        if proximal and type(self).proximal is Penalty.proximal:
            raise TypeError(
                f"{type(self).__name__}: proximal=True given, expected a method proximal(w, step), which it has not; "
                "give decoupled=True instead"
            )
        self.strength = strength
        self.placement = "decoupled" if decoupled else "proximal" if proximal else "loss"

    def check_built(self) -> None:
        """Raise a TypeError if the constructor of a subclass has not called that of this class."""
        check_initialized(self, "strength", "placement")

    def value(self, parameters: Sequence[Tensor]) -> Tensor:
        """Return the penalty, a Tensor of shape ()."""
        total = reduce(add, [check_tensor(self, "size", self.size(w), (), w.dtype) for w in parameters])
        return self.strength.astype_like(total) * total

    def gradient(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Return the (sub)gradient of `value` with respect to each parameter."""
        slopes = [check_tensor(self, "slope", self.slope(w), w.shape, w.dtype) for w in parameters]
        return [self.strength.astype_like(w) * slope for w, slope in zip(parameters, slopes, strict=True)]

    def shrink(self, parameters: Sequence[Tensor], lr: Tensor) -> list[Tensor]:
        """Return the proximal map of `lr` times `value`: for each w, the v that minimises |v - w|²/2 + lr value(v).

        Source: Parikh & Boyd, Proximal Algorithms, 2014, sections 6.5.2 and 6.1.1.
        """
        step = lr * self.strength
        return [check_tensor(self, "proximal", self.proximal(w, step.astype_like(w)), w.shape, w.dtype) for w in parameters]

    @abstractmethod
    def size(self, w: Tensor) -> Tensor:
        """Return the penalty of one parameter at strength 1, a Tensor of shape ()."""

    def slope(self, w: Tensor) -> Tensor:
        """Return the gradient of `size`. A subclass may override it with a formula that takes fewer operations."""
        _, (slope,) = value_and_grad(lambda v: check_tensor(self, "size", self.size(v), ()))(w)
        return slope

    def proximal(self, w: Tensor, step: Tensor) -> Tensor:
        """Return the proximal map of `step` times `size`. A subclass has it if `proximal=True` is to work."""
        raise NotImplementedError

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

    def size(self, w: Tensor) -> Tensor:
        return w.abs().sum()

    def slope(self, w: Tensor) -> Tensor:
        return w.sign()

    def proximal(self, w: Tensor, step: Tensor) -> Tensor:
        return _soft_threshold(w, step)


class L2Penalty(Penalty):
    """strength Σ w² / 2, with gradient strength w: PyTorch's weight decay.

    Examples
    --------
    >>> penalty = L2Penalty(0.5)
    >>> penalty.value([Tensor([1.0, -2.0])])
    Tensor(1.25)
    >>> penalty.gradient([Tensor([1.0, -2.0])])
    [Tensor([ 0.5, -1. ])]
    """

    def size(self, w: Tensor) -> Tensor:
        return 0.5 * w.square().sum()

    def slope(self, w: Tensor) -> Tensor:
        return w

    def proximal(self, w: Tensor, step: Tensor) -> Tensor:
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

    Examples
    --------
    >>> ElasticNetPenalty(0.5, l1_ratio=0.5).value([Tensor([1.0, -2.0])])
    Tensor(1.375)
    """

    l1_ratio = Hyperparameter(least=0.0, most=1.0)

    def __init__(self, strength: float, l1_ratio: float = 0.5, *, decoupled: bool = False, proximal: bool = False) -> None:
        super().__init__(strength, decoupled=decoupled, proximal=proximal)
        self.l1_ratio = l1_ratio

    def size(self, w: Tensor) -> Tensor:
        ratio = self.l1_ratio.astype_like(w)
        return ratio * w.abs().sum() + 0.5 * (1.0 - ratio) * w.square().sum()

    def slope(self, w: Tensor) -> Tensor:
        ratio = self.l1_ratio.astype_like(w)
        return ratio * w.sign() + (1.0 - ratio) * w

    def proximal(self, w: Tensor, step: Tensor) -> Tensor:
        ratio = self.l1_ratio.astype_like(w)
        return _soft_threshold(w, ratio * step) / (1.0 + (1.0 - ratio) * step)


def _soft_threshold(w: Tensor, threshold: Tensor) -> Tensor:
    """Move each element towards 0 by `threshold`, and stop there."""
    return where(w.abs() <= threshold, 0.0, w - threshold * w.sign())
