"""Layers that give features mean 0 and variance 1, then scale and shift them by parameters.

BatchNorm: over the samples of a batch, with running statistics for the evaluation
LayerNorm: over the features of a sample
"""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.checks import is_positive_integer
from tinygrad_lab.hyperparameters import Hyperparameter
from tinygrad_lab.nn.layers import Layer
from tinygrad_lab.nn.mode import Buffer


class _Normalization(Layer):
    """What both have: the parameters, and y = (x - mean) / √(variance + eps) · weight + bias."""

    eps = Hyperparameter(zero=False)

    def __init__(self, features: int, eps: float, dtype: DTypeLike) -> None:
        owner = type(self).__name__
        if not is_positive_integer(features):
            raise ValueError(f"{owner}: features is {features!r}, expected a positive integer")
        self.eps = eps
        self.weight = Tensor(np.ones(features), requires_grad=True, dtype=dtype)
        self.bias = Tensor(np.zeros(features), requires_grad=True, dtype=dtype)

    def _normalize(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return (x - mean) / (variance + self.eps.astype_like(x)).sqrt() * self.weight + self.bias

    def _check(self, x: Tensor) -> None:
        if x.ndim < 2 or x.shape[-1] != self.weight.size:
            raise ValueError(f"{self!r}: input has shape {x.shape}, expected (samples, ..., {self.weight.size})")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.weight.size})"


class BatchNorm(_Normalization):
    """Normalize each feature over the samples of the batch (Ioffe & Szegedy, ICML 2015).

    In training mode, mean and variance are those of the batch; the gradient passes through them. In evaluation mode they are
    the running ones, which follow the batches: new = (1 - momentum) · old + momentum · batch. The batch is normalized by the
    variance with divisor n. The running variance follows the one with divisor n - 1, which has no bias, as in PyTorch.

    Parameters
    ----------
    features : int
        The length of the last axis. All other axes are those of the samples.
    momentum : float
        The weight of a batch in the running statistics, above 0 and at most 1.
    eps : float
        Added to the variance, above 0.
    dtype : {float64, float32}

    Attributes
    ----------
    weight, bias : Tensor of shape (features,)
    running_mean, running_variance : Buffer of shape (features,)

    Raises
    ------
    ValueError
        In training mode, if there is one sample only: its variance says nothing.

    Examples
    --------
    >>> from tinygrad_lab import training_mode
    >>> norm = BatchNorm(1, momentum=1.0)
    >>> with training_mode():
    ...     norm([[1.0], [3.0]]).detach().numpy().round(3)
    array([[-1.],
           [ 1.]])
    >>> norm.running_mean.value, norm.running_variance.value
    (Tensor([2.]), Tensor([2.]))
    """

    momentum = Hyperparameter(zero=False, most=1.0)

    def __init__(self, features: int, momentum: float = 0.1, eps: float = 1e-5, dtype: DTypeLike = np.float64) -> None:
        super().__init__(features, eps, dtype)
        self.momentum = momentum
        self.running_mean = Buffer(np.zeros(features), dtype)
        self.running_variance = Buffer(np.ones(features), dtype)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        if not self.training:
            return self._normalize(x, self.running_mean.value, self.running_variance.value)
        samples = x.size // x.shape[-1]
        if samples < 2:
            raise ValueError(f"{self!r}: a batch of {samples} sample has no variance, expected at least 2; change batch_size")
        axes = tuple(range(x.ndim - 1))
        mean, variance = x.mean(axes), x.var(axes)
        self._follow(self.running_mean, mean.detach())
        self._follow(self.running_variance, variance.detach() * (samples / (samples - 1)))
        return self._normalize(x, mean, variance)

    def _follow(self, running: Buffer, batch: Tensor) -> None:
        momentum = self.momentum.astype_like(batch)
        running.value = (1.0 - momentum) * running.value + momentum * batch


class LayerNorm(_Normalization):
    """Normalize the features of each sample (Ba, Kiros & Hinton, arXiv:1607.06450, 2016).

    Parameters
    ----------
    features : int
        The length of the last axis, over which mean and variance are taken.
    eps : float
        Added to the variance, above 0.
    dtype : {float64, float32}

    Attributes
    ----------
    weight, bias : Tensor of shape (features,)

    Examples
    --------
    >>> LayerNorm(2)([[1.0, 3.0]]).detach().numpy().round(3)
    array([[-1.,  1.]])
    """

    def __init__(self, features: int, eps: float = 1e-5, dtype: DTypeLike = np.float64) -> None:
        super().__init__(features, eps, dtype)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        return self._normalize(x, x.mean(-1, keepdims=True), x.var(-1, keepdims=True))
