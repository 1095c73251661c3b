"""Initial values of parameters: each initializer turns a shape and a random Generator into an array.

fan_out, fan_in = shape of a weight --> standard deviation or bounds --> rng --> weight
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import sqrt

import numpy as np

from tinygrad_lab.checks import is_finite_number


class Initializer(ABC):
    """A rule for the initial values of a parameter.

    Examples
    --------
    >>> class Diagonal(Initializer):
    ...     def __call__(self, shape, rng):
    ...         return np.eye(*shape)
    >>> from tinygrad_lab.nn.layers import Linear
    >>> Linear(2, 2, weight_init=Diagonal(), rng=np.random.default_rng(0)).weight
    Tensor([[1., 0.],
            [0., 1.]], requires_grad=True)
    """

    @abstractmethod
    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Return a float64 array of `shape`, which is (fan_out, fan_in) for a weight, drawn from `rng`."""

    def checked_values(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Return the initial values, checked.

        Raises
        ------
        TypeError, ValueError
            If they are no array of finite numbers of this shape.
        """
        owner = type(self).__name__
        values = np.asarray(self(shape, rng))
        if values.dtype.kind not in "fiu":
            raise TypeError(f"{owner}: returned an array of {values.dtype}, expected numbers; is a return missing?")
        if values.shape != shape:
            raise ValueError(f"{owner}: returned an array of shape {values.shape}, expected {shape}")
        if not np.isfinite(values).all():
            raise ValueError(f"{owner}: returned {values[~np.isfinite(values)][0]}, expected finite numbers")
        return values


@dataclass(frozen=True)
class Constant(Initializer):
    """The same value everywhere.

    Examples
    --------
    >>> Constant(0.5)((2,), np.random.default_rng(0))
    array([0.5, 0.5])
    """

    value: float

    def __post_init__(self) -> None:
        if not is_finite_number(self.value):
            raise ValueError(f"Constant: value is {self.value!r}, expected a finite number")

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:  # noqa: ARG002
        return np.full(shape, float(self.value))


@dataclass(frozen=True)
class Zeros(Initializer):
    """Zero everywhere: the usual start of a bias.

    Examples
    --------
    >>> Zeros()((1, 3), np.random.default_rng(0))
    array([[0., 0., 0.]])
    """

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:  # noqa: ARG002
        return np.zeros(shape)


@dataclass(frozen=True)
class _ScaledInitializer(Initializer):
    """Random values in proportion to a gain above 0."""

    gain: float = 1.0

    def __post_init__(self) -> None:
        if not is_finite_number(self.gain) or self.gain <= 0:
            raise ValueError(f"{type(self).__name__}: gain is {self.gain!r}, expected a number above 0")


@dataclass(frozen=True)
class XavierUniform(_ScaledInitializer):
    """Uniform between ±gain √(6 / (fan_in + fan_out)), with variance gain² 2 / (fan_in + fan_out).

    The variance of signals and gradients stays the same in layers with nearly linear activations (Glorot & Bengio, AISTATS
    2010, eq. 16). The report of 2019 draws from U(-1/2, 1/2) √(12 / (fan_in + fan_out)), which is a gain of √½.

    Examples
    --------
    >>> weight = XavierUniform()((50, 75), np.random.default_rng(0))
    >>> bool(abs(weight).max() < np.sqrt(6 / 125))
    True
    """

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        bound = self.gain * sqrt(6.0 / sum(_fans(shape)))
        return rng.uniform(-bound, bound, shape)


@dataclass(frozen=True)
class XavierNormal(_ScaledInitializer):
    """Normal with standard deviation gain √(2 / (fan_in + fan_out)) (Glorot & Bengio, AISTATS 2010, eq. 12).

    Examples
    --------
    >>> weight = XavierNormal()((200, 100), np.random.default_rng(0))
    >>> weight.shape, round(float(weight.std()), 3)
    ((200, 100), 0.081)
    """

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return rng.normal(0.0, self.gain * sqrt(2.0 / sum(_fans(shape))), shape)


@dataclass(frozen=True)
class HeUniform(_ScaledInitializer):
    """Uniform between ±gain √(3 / fan_in), with variance gain² / fan_in.

    A gain of √2 suits ReLU (He et al., ICCV 2015, eq. 10).

    Examples
    --------
    >>> weight = HeUniform()((200, 100), np.random.default_rng(0))
    >>> weight.shape, round(float(weight.std()), 3)
    ((200, 100), 0.141)
    """

    gain: float = sqrt(2.0)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        bound = self.gain * sqrt(3.0 / _fans(shape)[0])
        return rng.uniform(-bound, bound, shape)


@dataclass(frozen=True)
class HeNormal(_ScaledInitializer):
    """Normal with standard deviation gain / √fan_in. A gain of √2 suits ReLU (He et al., ICCV 2015, eq. 10).

    Examples
    --------
    >>> weight = HeNormal()((200, 100), np.random.default_rng(0))
    >>> weight.shape, round(float(weight.std()), 3)
    ((200, 100), 0.141)
    """

    gain: float = sqrt(2.0)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return rng.normal(0.0, self.gain / sqrt(_fans(shape)[0]), shape)


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (fan_in, fan_out) of a weight of shape (fan_out, fan_in)."""
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"initializer: shape {shape} is no (fan_out, fan_in); use Zeros or Constant for other parameters")
    return shape[1], shape[0]
