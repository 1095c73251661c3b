"""Networks composed from the layers of tinygrad_lab: one of any depth, and the report's as a preset of it.

    x -> hidden1 -> activation -> ... -> hiddenN -> activation -> output

A layer is set as an attribute, and the attribute's name is the name of its parameters: ``hidden1.weight``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_lab import Activation, Initializer, Layer, Linear, Tensor, Zeros, get_activation, register_layer


class MultilayerPerceptron(Layer):
    """x -> hidden1 -> activation -> ... -> hiddenN -> activation -> output.

    Parameters
    ----------
    in_features : int
    hidden : sequence of int
        The number of units of each hidden layer, from the input to the output. An empty sequence makes a linear model.
    out_features : int
    activation : str, Activation or sequence of these
        One for all hidden layers, or one for each: names such as ``"relu"``, or objects.
    weight_init : Initializer, optional
        The default is that of `Linear`, which the report uses. `HeUniform()` keeps the signal through many layers of ReLU.
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
            setattr(self, f"hidden{number}", layer)
        self.output = Linear(sizes[-1], out_features, rng=rng, weight_init=weight_init, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's output, of shape (..., out_features), for x of shape (..., in_features)."""
        for number, activation in enumerate(self.activations, start=1):
            x = activation(getattr(self, f"hidden{number}")(x))
        return self.output(x)


class TwoHiddenLayerNet(MultilayerPerceptron):
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

    hidden1: Linear
    hidden2: Linear

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
        super().__init__(
            in_features, (hidden1, hidden2), out_features, activation=get_activation(activation), rng=rng, dtype=dtype
        )

    @property
    def activation(self) -> Activation:
        """The activation of both hidden layers."""
        return self.activations[0]

    @activation.setter
    def activation(self, activation: Activation) -> None:
        self.activations = [activation] * self.depth

    def __repr__(self) -> str:
        parts = (f"{name}={getattr(self, name)!r}" for name in ("hidden1", "hidden2", "output", "activation"))
        return f"TwoHiddenLayerNet({', '.join(parts)})"


def _one_each(activation: str | Activation | Sequence[str | Activation], depth: int) -> list[Activation]:
    """Return one activation for each of `depth` hidden layers."""
    if not isinstance(activation, (list, tuple)):
        activation = [activation] * depth  # type: ignore[list-item] # get_activation refuses other types below
    if len(activation) != depth:
        raise ValueError(
            f"MultilayerPerceptron: activation has {len(activation)} entries for {depth} hidden layers, "
            "expected one for all, or one for each"
        )
    return [get_activation(entry) for entry in activation]


# Files of models hold the activations. All sizes come from the arrays in the file.


def _sizes(arrays: Mapping[str, Any], depth: int) -> list[int]:
    """Return the sizes of the layers, from the inputs to the outputs."""
    weights = [arrays[f"hidden{number}"]["weight"] for number in range(1, depth + 1)] + [arrays["output"]["weight"]]
    sizes = [weights[0].shape[1]]
    for weight in weights:
        if weight.ndim != 2 or weight.shape[1] != sizes[-1]:
            raise ValueError(f"a weight has shape {weight.shape}, expected {sizes[-1]} columns as of the layer before")
        sizes.append(weight.shape[0])
    return sizes


def _check_activations(activations: Any) -> None:
    if not isinstance(activations, list) or not all(isinstance(activation, Activation) for activation in activations):
        raise TypeError("activations is no list of activations")


def _make_perceptron(arrays: Mapping[str, Any], *, activations: Any) -> MultilayerPerceptron:
    _check_activations(activations)
    in_features, *hidden, out_features = _sizes(arrays, len(activations))
    return MultilayerPerceptron(
        in_features,
        hidden,
        out_features,
        activation=activations,
        weight_init=Zeros(),
        rng=np.random.default_rng(0),
        dtype=arrays["output"]["weight"].dtype,
    )


def _make_two_hidden_layers(arrays: Mapping[str, Any], *, activations: Any) -> TwoHiddenLayerNet:
    _check_activations(activations)
    dtype = arrays["output"]["weight"].dtype
    net = TwoHiddenLayerNet(*_sizes(arrays, 2), rng=np.random.default_rng(0), dtype=dtype)
    net.activations = activations
    return net


register_layer(MultilayerPerceptron, _make_perceptron, lambda net: {"activations": net.activations})
register_layer(TwoHiddenLayerNet, _make_two_hidden_layers, lambda net: {"activations": net.activations})
