"""Activation functions, as objects and by name.

    "leaky_relu" --get_activation--> LeakyReLU(slope=0.05) --call on x--> activated x

An activation is a function of one Tensor and has no parameters to train. `where` computes both of its branches. If the
branch that is not selected could overflow, its argument is replaced first, because 0 * inf in the backward pass is nan.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import sqrt

from numpy.typing import ArrayLike

from tinygrad_lab.autodiff.ops import where
from tinygrad_lab.autodiff.tensor import Tensor, as_tensor
from tinygrad_lab.returned import check_tensor


class Activation(ABC):
    """An elementwise function between two layers, which returns a Tensor of the same shape.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Square(Activation):
    ...     def forward(self, x):
    ...         return x * x
    >>> Square()([-1.0, 0.0, 2.0])
    Tensor([1., 0., 4.])
    """

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to each element of `x`."""

    def __call__(self, x: ArrayLike | Tensor) -> Tensor:
        """Apply the function to each element of a Tensor or array.

        Raises
        ------
        TypeError, ValueError
            If `forward` returns anything but a Tensor of the same shape and floating-point dtype.
        """
        x = as_tensor(x)
        return check_tensor(self, "forward", self.forward(x), x._array.shape, x._array.dtype)


@dataclass(frozen=True)
class Identity(Activation):
    """Return x itself.

    Examples
    --------
    >>> Identity()([-1.0, 0.0, 2.0])
    Tensor([-1.,  0.,  2.])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True)
class Sigmoid(Activation):
    """1 / (1 + exp(-x)), without overflow.

    Examples
    --------
    >>> Sigmoid()([-1.0, 0.0, 2.0])
    Tensor([0.26894142, 0.5       , 0.88079708])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.sigmoid()


@dataclass(frozen=True)
class Tanh(Activation):
    """The hyperbolic tangent.

    Examples
    --------
    >>> Tanh()([-1.0, 0.0, 2.0])
    Tensor([-0.76159416,  0.        ,  0.96402758])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.tanh()


@dataclass(frozen=True)
class ReLU(Activation):
    """max(x, 0), with derivative 0 at 0.

    Examples
    --------
    >>> ReLU()([-1.0, 0.0, 2.0])
    Tensor([0., 0., 2.])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.relu()


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """x if x > 0, else slope x. The derivative at 0 is `slope`, by default 0.05 as in the report.

    Examples
    --------
    >>> LeakyReLU()(Tensor([-2.0, 0.0, 2.0]))
    Tensor([-0.1,  0. ,  2. ])
    """

    slope: float = 0.05

    def forward(self, x: Tensor) -> Tensor:
        return where(x > 0.0, x, self.slope * x)


@dataclass(frozen=True)
class ELU(Activation):
    """x if x > 0, else alpha (exp(x) - 1) (Clevert, Unterthiner & Hochreiter, ICLR 2016).

    Examples
    --------
    >>> ELU()([-1.0, 0.0, 2.0])
    Tensor([-0.63212056,  0.        ,  2.        ])
    """

    alpha: float = 1.0

    def forward(self, x: Tensor) -> Tensor:
        positive = x > 0.0
        return where(positive, x, self.alpha * where(positive, 0.0, x).expm1())


@dataclass(frozen=True)
class SELU(Activation):
    """1.0507 ELU(x) with alpha 1.6733, which keeps mean 0 and variance 1 (Klambauer et al., NeurIPS 2017, eq. 2 and 14).

    Examples
    --------
    >>> SELU()([-1.0, 0.0, 2.0])
    Tensor([-1.11133074,  0.        ,  2.10140197])
    """

    def forward(self, x: Tensor) -> Tensor:
        return 1.0507009873554804934193349852946 * ELU(1.6732632423543772848170429916717)(x)


@dataclass(frozen=True)
class GELU(Activation):
    """x Φ(x), with the normal distribution function Φ computed by erf (Hendrycks & Gimpel, 2016).

    Examples
    --------
    >>> GELU()([-1.0, 0.0, 2.0])
    Tensor([-0.15865525,  0.        ,  1.95449974])
    """

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x * (1.0 + (x * sqrt(0.5)).erf())


@dataclass(frozen=True)
class SiLU(Activation):
    """x sigmoid(x), also known as swish.

    Examples
    --------
    >>> SiLU()([-1.0, 0.0, 2.0])
    Tensor([-0.26894142,  0.        ,  1.76159416])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x * x.sigmoid()


@dataclass(frozen=True)
class Softplus(Activation):
    """log(1 + exp(x)), without overflow.

    Examples
    --------
    >>> Softplus()([-1.0, 0.0, 2.0])
    Tensor([0.31326169, 0.69314718, 2.12692801])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.softplus()


ACTIVATIONS: dict[str, type[Activation]] = {
    "identity": Identity,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "elu": ELU,
    "selu": SELU,
    "gelu": GELU,
    "silu": SiLU,
    "softplus": Softplus,
}


def get_activation(activation: str | Activation) -> Activation:
    """Return the activation with a name in `ACTIVATIONS` and default parameters. An Activation is returned as it is.

    Raises
    ------
    ValueError
        If no activation has this name.

    Examples
    --------
    >>> get_activation("leaky_relu")
    LeakyReLU(slope=0.05)
    """
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, type) and issubclass(activation, Activation):
        raise TypeError(f"activation is the class {activation.__name__}, expected an object of it: {activation.__name__}()")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ValueError(f"activation {activation!r} is unknown; the known ones are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[activation]()
