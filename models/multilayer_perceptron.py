"""A network of any depth: hidden layers of any sizes, each with an activation of its own, and a linear output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_lab import Activation, Initializer, Layer, Linear, Tensor, get_activation


class MultilayerPerceptron(Layer):
    """x -> hidden1 -> activation -> ... -> hiddenN -> activation -> output.

    With two hidden layers it has the parameters of `TwoHiddenLayerNet`, under the same names and with the same values from
    the same generator.

    Parameters
    ----------
    in_features : int
    hidden : sequence of int
        The number of units of each hidden layer, from the input to the output; an empty one makes a linear model.
    out_features : int
    activation : str, Activation or sequence of these
        One for all hidden layers, or one for each: names such as ``"relu"``, or objects.
    weight_init : Initializer, optional
        By default that of `Linear`, the report's; `HeUniform()` keeps the signal of many layers of ReLU.
    rng : numpy.random.Generator
        The source of the initial weights.
    dtype : {float64, float32}

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> net = MultilayerPerceptron(2, (8, 8, 4), 3, activation=("relu", "relu", "tanh"), rng=rng)
    >>> net(np.zeros((5, 2))).shape
    (5, 3)
    >>> [name for name in net.state_dict() if name.endswith("weight")]
    ['hidden1.weight', 'hidden2.weight', 'hidden3.weight', 'output.weight']
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        out_features: int,
        *,
        activation: str | Activation | Sequence[str | Activation] = "relu",
        weight_init: Initializer | None = None,
        rng: np.random.Generator,
        dtype: DTypeLike = np.float64,
    ) -> None:
        if isinstance(hidden, str) or not isinstance(hidden, (Sequence, np.ndarray)):
            raise TypeError(f"MultilayerPerceptron: hidden is {hidden!r}, expected a sequence of sizes, such as (100,)")
        self.depth = len(hidden)
        self.activations = _one_each(activation, self.depth)
        sizes = [in_features, *hidden]
        for number in range(1, self.depth + 1):
            layer = Linear(sizes[number - 1], sizes[number], rng=rng, weight_init=weight_init, dtype=dtype)
            setattr(self, f"hidden{number}", layer)  # under this name its parameters appear
        self.output = Linear(sizes[-1], out_features, rng=rng, weight_init=weight_init, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's output, of shape (..., out_features), for x of shape (..., in_features)."""
        for number, activation in enumerate(self.activations, start=1):
            x = activation(getattr(self, f"hidden{number}")(x))
        return self.output(x)


def _one_each(activation: str | Activation | Sequence[str | Activation], depth: int) -> list[Activation]:
    """Return one activation for each of `depth` hidden layers."""
    if not isinstance(activation, (list, tuple)):
        activation = [activation] * depth  # type: ignore[list-item] # what is no name and no Activation is refused below
    if len(activation) != depth:
        raise ValueError(
            f"MultilayerPerceptron: activation has {len(activation)} entries for {depth} hidden layers, "
            "expected one for all, or one for each"
        )
    return [get_activation(entry) for entry in activation]
