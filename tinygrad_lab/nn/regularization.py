"""Layers that add noise in training mode, and do nothing in evaluation mode."""

from __future__ import annotations

from tinygrad_lab.autodiff.ops import where
from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.hyperparameters import Hyperparameter
from tinygrad_lab.nn.layers import Layer
from tinygrad_lab.nn.mode import RandomInput


class Dropout(Layer):
    """Set each element to 0 with probability `p` in training mode, and divide the others by 1 - p.

    The division keeps the expected value, so that nothing has to be done in evaluation mode (Srivastava et al., Journal of
    Machine Learning Research 15, 2014).

    Parameters
    ----------
    p : float
        From 0 to below 1.

    Attributes
    ----------
    p : Tensor of shape ()
        An input of the training step, so Trainers that differ only in it are trained together.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_lab import training_mode
    >>> with training_mode(np.random.default_rng(0)):
    ...     Dropout(0.5)([1.0, 2.0, 3.0, 4.0])
    Tensor([2., 0., 0., 0.])
    """

    p = Hyperparameter(below=1.0)

    def __init__(self, p: float = 0.5) -> None:
        self.p = p
        self.uniform = RandomInput("uniform")

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        p = self.p.astype_like(x)
        return where(self.uniform(x.shape, x.dtype) < p, 0.0, x / (1.0 - p))

    def __repr__(self) -> str:
        return f"Dropout({self.p._array})"


class GaussianNoise(Layer):
    """Add normal noise of standard deviation `std` to each element in training mode (Bishop, Neural Computation 7, 1995).

    Parameters
    ----------
    std : float
        At least 0, in the unit of the elements.

    Attributes
    ----------
    std : Tensor of shape ()
        An input of the training step, so Trainers that differ only in it are trained together.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_lab import training_mode
    >>> with training_mode(np.random.default_rng(0)):
    ...     GaussianNoise(0.1)([1.0, 2.0])
    Tensor([1.01257302, 1.98678951])
    """

    std = Hyperparameter()

    def __init__(self, std: float) -> None:
        self.std = std
        self.normal = RandomInput("normal")

    def forward(self, x: Tensor) -> Tensor:
        return x + self.std.astype_like(x) * self.normal(x.shape, x.dtype) if self.training else x

    def __repr__(self) -> str:
        return f"GaussianNoise({self.std._array})"
