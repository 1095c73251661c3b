"""Layers: functions of Tensors that own the parameters to train.

    x --> Linear --> Activation --> Linear --> ... --> prediction

A parameter is an attribute that is a Tensor and requires a gradient. A layer has its own parameters and those of the layers
among its attributes, in the order in which ``__init__`` sets them. Setting the attribute is enough. ``requires_grad = False``
freezes a parameter: it is not trained, but remains a part of the layer's state. So does an attribute that is a `Buffer`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from math import sqrt
from reprlib import recursive_repr
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tinygrad_lab.autodiff.tensor import Tensor, as_tensor
from tinygrad_lab.checks import is_positive_integer
from tinygrad_lab.nn.activations import Activation
from tinygrad_lab.nn.initializers import Initializer, XavierUniform, Zeros
from tinygrad_lab.nn.mode import Buffer, current_mode, mode_of_layer
from tinygrad_lab.nn.naming import Found, by_name, walk
from tinygrad_lab.returned import check_tensor


class Layer(ABC):
    """A function of a Tensor with parameters.

    A subclass sets its parameters and inner layers in ``__init__`` and computes in ``forward``. Lists, tuples and dicts of
    layers count as layers.

    Examples
    --------
    >>> class Scale(Layer):
    ...     def __init__(self):
    ...         self.factor = Tensor(2.0, requires_grad=True)
    ...     def forward(self, x):
    ...         return self.factor * x
    >>> Scale()([1.0, 3.0])
    Tensor([2., 6.], requires_grad=True)
    >>> [name for name, _ in Scale().named_parameters()]
    ['factor']
    """

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Compute the layer's output."""

    def __call__(self, x: ArrayLike | Tensor) -> Tensor:
        """Compute the layer's output for a Tensor or array."""
        if (mode := current_mode()) is not None:
            mode.layers[id(self)] = self
        return check_tensor(self, "forward", self.forward(as_tensor(x)))

    @property
    def training(self) -> bool:
        """Whether the layer runs in training mode; see `training_mode`."""
        return mode_of_layer(self) is not None

    @recursive_repr()
    def __repr__(self) -> str:
        parts = [f"{name}={x!r}" for name, x in vars(self).items() if _is_part(x)]
        return f"{type(self).__name__}({', '.join(parts)})"

    def named_parameters(self) -> list[tuple[str, Tensor]]:
        """List the names and parameters in definition order, without frozen ones.

        A shared parameter appears once, under its first name.
        """
        return [(name, tensor) for name, tensor in self.named_state().items() if tensor.requires_grad]

    def parameters(self) -> list[Tensor]:
        """List the parameters in definition order, without frozen ones."""
        return [tensor for _, tensor in self.named_parameters()]

    def named_state(self) -> dict[str, Tensor]:
        """Return the parameters, including frozen ones, and the Tensors of the buffers by name.

        `state_dict` has their values.

        Raises
        ------
        ValueError
            If two of them have the same name, or if a layer contains itself.
        """
        first: dict[int, Found] = {}
        for found in walk(self, (Tensor, Buffer), (Layer,)):
            tensor = found.value.tensor if isinstance(found.value, Buffer) else found.value
            if tensor is not found.value or tensor.is_parameter:  # rather than a constant, or a result that the layer keeps
                first.setdefault(id(tensor), found if tensor is found.value else found._replace(value=tensor))
        return by_name(self, first.values())

    def named_buffers(self) -> list[tuple[str, Buffer]]:
        """List the names and buffers in definition order. A shared buffer appears once, under its first name."""
        first: dict[Buffer, str] = {}
        for found in walk(self, (Buffer,), (Layer,)):
            first.setdefault(found.value, found.name)
        return [(name, buffer) for buffer, name in first.items()]

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return copies of the values of the parameters, including frozen ones, and of the buffers by name."""
        return {name: tensor.numpy() for name, tensor in self.named_state().items()}

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
        """Set all parameters, including frozen ones, and all buffers from `state`. If one does not fit, none is set.

        Parameters
        ----------
        state : mapping of str to array_like
            A value for every parameter and buffer, of the same shape, in a dtype that converts to its dtype without loss.

        Raises
        ------
        ValueError
            If names are missing or unknown, or a shape or dtype does not fit.
        """
        values = self.check_state_dict(state)
        for name, tensor in self.named_state().items():
            tensor.assign(values[name])

    def check_state_dict(self, state: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
        """Return what `load_state_dict` would set, as arrays, or raise the error that it would raise."""
        parameters = self.named_state()
        problems = [f"{name} is missing" for name in parameters if name not in state]
        problems += [f"{name} is unknown" for name in state if name not in parameters]
        values: dict[str, np.ndarray] = {}
        for name in (name for name in parameters if name in state):
            try:
                values[name] = np.asarray(state[name])
            except ValueError:
                problems.append(f"{name} is ragged")
        for name, value in values.items():
            tensor = parameters[name]
            if value.shape != tensor.shape:
                problems.append(f"{name} has shape {value.shape}, expected {tensor.shape}")
            elif not np.can_cast(value.dtype, tensor.dtype):
                problems.append(f"{name} has dtype {value.dtype}, expected {tensor.dtype}")
        if problems:
            raise ValueError(f"load_state_dict: {'; '.join(problems)}")
        return values

    def summary(self) -> str:
        """Return a table of the parameters: name, shape, number of elements.

        Examples
        --------
        >>> print(Linear(1, 75, rng=np.random.default_rng(0)).summary())
        parameter  shape    elements
        weight     (75, 1)        75
        bias       (75,)          75
        total                    150
        """
        rows = [(name, str(tensor.shape), str(tensor.size)) for name, tensor in self.named_parameters()]
        rows = [("parameter", "shape", "elements"), *rows, ("total", "", str(sum(x.size for x in self.parameters())))]
        first, second, third = (max(len(row[i]) for row in rows) for i in range(3))
        return "\n".join(f"{a:<{first}}  {b:<{second}}  {c:>{third}}" for a, b, c in rows)


def _is_part(x: Any) -> bool:
    return any(map(_is_part, x)) if isinstance(x, (list, tuple)) else isinstance(x, (Layer, Activation))


class Linear(Layer):
    """The affine map y = x Wᵀ + b.

    Parameters
    ----------
    in_features, out_features : int
        The numbers of features of x and y.
    bias : bool
        Whether to add b.
    rng : numpy.random.Generator
        The source of the initial weights.
    weight_init : Initializer, optional
        By default `XavierUniform` with a gain of √½, as in the report. The variance is 1 / (in_features + out_features).
    bias_init : Initializer, optional
        Zeros by default.
    dtype : {float64, float32}

    Attributes
    ----------
    weight : Tensor of shape (out_features, in_features)
    bias : Tensor of shape (out_features,) or None

    Examples
    --------
    >>> layer = Linear(3, 2, rng=np.random.default_rng(0))
    >>> layer(np.ones((5, 3))).shape
    (5, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rng: np.random.Generator,
        weight_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        dtype: DTypeLike = np.float64,
    ) -> None:
        for name, size in (("in_features", in_features), ("out_features", out_features)):
            if not is_positive_integer(size):
                raise ValueError(f"Linear: {name} is {size!r}, expected a positive integer")
        if not isinstance(rng, np.random.Generator):
            raise TypeError(f"Linear: rng is {rng!r}, expected a numpy Generator such as numpy.random.default_rng(0)")
        weight_init = XavierUniform(gain=sqrt(0.5)) if weight_init is None else weight_init
        bias_init = Zeros() if bias_init is None else bias_init
        for name, init in (("weight_init", weight_init), ("bias_init", bias_init)):
            if not isinstance(init, Initializer):
                raise TypeError(f"Linear: {name} is {init!r}, expected an Initializer such as HeUniform()")
        self.weight = Tensor(weight_init.checked_values((out_features, in_features), rng), requires_grad=True, dtype=dtype)
        self.bias = Tensor(bias_init.checked_values((out_features,), rng), requires_grad=True, dtype=dtype) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        expected = self.weight.shape[1]
        if not x.ndim or x.shape[-1] != expected:
            given = f"{x.shape[-1]} features" if x.ndim else "no axis of features"
            raise ValueError(f"{self!r}: input has {given}, expected {expected}")
        product = x @ self.weight.T
        return product if self.bias is None else product + self.bias

    def __repr__(self) -> str:
        out_features, in_features = self.weight.shape
        return f"Linear({in_features}, {out_features}{'' if self.bias is not None else ', bias=False'})"


class Sequential(Layer):
    """Layers and activations, applied one after the other. Their names are their positions.

    Parameters
    ----------
    *layers : Layer or Activation

    Examples
    --------
    >>> from tinygrad_lab.nn.activations import Tanh
    >>> rng = np.random.default_rng(0)
    >>> net = Sequential(Linear(1, 8, rng=rng), Tanh(), Linear(8, 1, rng=rng))
    >>> [name for name, _ in net.named_parameters()]
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """

    def __init__(self, *layers: Layer | Activation) -> None:
        for position, layer in enumerate(layers):
            if not isinstance(layer, (Layer, Activation)):
                raise TypeError(f"Sequential: argument {position} is {layer!r}, expected a Layer or an Activation")
            setattr(self, str(position), layer)  # the name under which its parameters appear
        self._length = len(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            x = layer(x)
        return x

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: int) -> Layer | Activation:
        if not isinstance(position, int) or not -self._length <= position < self._length:
            raise IndexError(f"Sequential: no layer at {position!r}, expected an integer from 0 to {self._length - 1}")
        return getattr(self, str(position % self._length))

    def __iter__(self) -> Iterator[Layer | Activation]:
        return (self[position] for position in range(self._length))

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self))})"
