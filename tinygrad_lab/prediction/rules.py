"""The rules of the layers and activations of this package: how a file describes each, and how it is made again."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np

from tinygrad_lab.checks import is_finite_number
from tinygrad_lab.nn.activations import ACTIVATIONS, Activation
from tinygrad_lab.nn.initializers import Zeros
from tinygrad_lab.nn.layers import Layer, Linear, Sequential
from tinygrad_lab.nn.normalization import BatchNorm, LayerNorm
from tinygrad_lab.nn.preprocessing import PreparedNetwork, Standardize
from tinygrad_lab.nn.regularization import Dropout, GaussianNoise
from tinygrad_lab.prediction.architecture import Arrays, register_layer


def _make_linear(arrays: Arrays, bias: Any) -> Linear:
    out_features, in_features = arrays["weight"].shape
    return Linear(
        in_features,
        out_features,
        bias=bool(bias),
        rng=np.random.default_rng(0),
        weight_init=Zeros(),
        dtype=arrays["weight"].dtype,
    )


def _make_sequential(arrays: Arrays, **layers: Any) -> Sequential:  # noqa: ARG001 (the inner layers have taken them)
    if list(layers) != [str(position) for position in range(len(layers))]:
        raise ValueError(f"layers are named {', '.join(layers)}, expected their positions")
    return Sequential(*layers.values())


def _make_prepared(arrays: Arrays, *, inputs: Any, model: Any, targets: Any) -> PreparedNetwork:  # noqa: ARG001
    if not isinstance(model, Layer) or any(part is not None and not isinstance(part, Layer) for part in (inputs, targets)):
        raise TypeError("inputs, model and targets are expected to be layers")
    return PreparedNetwork(inputs, model, targets)


def _make_activation(kind: type[Activation], arrays: Arrays, **settings: Any) -> Activation:  # noqa: ARG001
    for name in _names(kind):  # all of them: a default value could change in a later version
        value = settings[name]
        if not is_finite_number(value):
            raise ValueError(f"{name} is {value!r}, expected a number")
    return kind(**settings)


def _names(activation: Any) -> list[str]:
    return [field.name for field in fields(activation)]


for _kind in ACTIVATIONS.values():
    register_layer(_kind, partial(_make_activation, _kind), lambda part: {name: getattr(part, name) for name in _names(part)})
register_layer(Linear, _make_linear, lambda layer: {"bias": layer.bias is not None})
register_layer(Sequential, _make_sequential, lambda layer: {str(i): part for i, part in enumerate(layer)})
register_layer(Dropout, lambda arrays, p: Dropout(p), lambda layer: {"p": layer.p})  # noqa: ARG005
register_layer(GaussianNoise, lambda arrays, std: GaussianNoise(std), lambda layer: {"std": layer.std})  # noqa: ARG005
register_layer(
    BatchNorm,
    lambda arrays, momentum, eps: BatchNorm(arrays["weight"].size, momentum, eps, dtype=arrays["weight"].dtype),
    lambda layer: {"momentum": layer.momentum, "eps": layer.eps},
)
register_layer(
    LayerNorm,
    lambda arrays, eps: LayerNorm(arrays["weight"].size, eps, dtype=arrays["weight"].dtype),
    lambda layer: {"eps": layer.eps},
)
register_layer(Standardize, lambda arrays: Standardize(arrays["mean"].size))
register_layer(
    PreparedNetwork,
    _make_prepared,
    lambda layer: {"inputs": layer.inputs, "model": layer.model, "targets": layer.targets},
)
