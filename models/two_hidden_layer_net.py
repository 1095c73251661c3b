"""The network of the report: two hidden layers of one activation, and a linear output."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_lab import Activation, Layer, Linear, Tensor, get_activation


class TwoHiddenLayerNet(Layer):
    """x -> hidden1 -> activation -> hidden2 -> activation -> output.

    Weights start Xavier-uniform with variance 1 / (fan_in + fan_out), biases at 0, as in the report.

    Parameters
    ----------
    in_features, hidden1, hidden2, out_features : int
        The numbers of inputs, of units in each hidden layer, and of outputs.
    activation : str or Activation
        Of both hidden layers: a name such as ``"leaky_relu"`` (slope 0.05), or an object.
    rng : numpy.random.Generator
        The source of the initial weights.
    dtype : {float64, float32}

    Examples
    --------
    >>> net = TwoHiddenLayerNet(1, 75, 50, 1, activation="leaky_relu", rng=np.random.default_rng(0))
    >>> net(np.zeros((3, 1))).shape
    (3, 1)
    >>> print(net.summary())
    parameter       shape     elements
    hidden1.weight  (75, 1)         75
    hidden1.bias    (75,)           75
    hidden2.weight  (50, 75)      3750
    hidden2.bias    (50,)           50
    output.weight   (1, 50)         50
    output.bias     (1,)             1
    total                         4001
    """

    def __init__(
        self,
        in_features: int,
        hidden1: int,
        hidden2: int,
        out_features: int,
        *,
        activation: str | Activation = "leaky_relu",
        rng: np.random.Generator,
        dtype: DTypeLike = np.float64,
    ) -> None:
        self.hidden1 = Linear(in_features, hidden1, rng=rng, dtype=dtype)
        self.hidden2 = Linear(hidden1, hidden2, rng=rng, dtype=dtype)
        self.output = Linear(hidden2, out_features, rng=rng, dtype=dtype)
        self.activation = get_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's output, of shape (..., out_features), for x of shape (..., in_features)."""
        return self.output(self.activation(self.hidden2(self.activation(self.hidden1(x)))))
