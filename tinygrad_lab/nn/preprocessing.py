"""Layers that prepare data for a network, by what they have learnt from the training set.

x --inputs--> x in units of the network --model--> y in units of the network --targets.inverse--> y

*Why are they layers?* What is learnt from data, such as the mean of a feature, belongs to the model: it is learnt anew in each
fold, saved with the weights, and applied to new data. So it is in buffers. A Trainer applies a preprocessor once before the
first epoch, so no update takes longer.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from tinygrad_lab.autodiff.tensor import Tensor, wrap
from tinygrad_lab.checks import is_positive_integer
from tinygrad_lab.nn.layers import Layer
from tinygrad_lab.nn.mode import Buffer, entered
from tinygrad_lab.returned import check_tensor

PREPARED_IN = np.dtype(np.float64)
"""The dtype of data before `inputs`, and of predictions after `targets`, also where the model is in single precision.

In single precision, the seconds since 1970 would be rounded to two minutes before their mean is subtracted.
"""


class Preprocessor(Layer):
    """A layer without parameters, whose buffers are learnt from the training set before a training.

    A subclass sets its buffers in ``__init__``, computes their values in `learn`, and applies them in ``forward``. Give it to a
    Trainer as ``inputs`` or, if it has an `inverse`, as ``targets``.

    Attributes
    ----------
    takes_missing : bool, of the class
        Whether its input may hold nan where a value is missing.

    Examples
    --------
    >>> class Center(Preprocessor):
    ...     def __init__(self, features):
    ...         self.mean = Buffer(np.zeros(features))
    ...     def learn(self, data, weight=None):
    ...         self.mean.tensor.assign(np.average(data, axis=0, weights=weight))
    ...     def forward(self, x):
    ...         return x - self.mean.value
    >>> center = Center(1)
    >>> center.learn(np.array([[1.0], [3.0]]))
    >>> center.transform(np.array([[4.0]]))
    array([[2.]])
    """

    takes_missing: ClassVar[bool] = False

    @abstractmethod
    def learn(self, data: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Set the buffers from the rows that train.

        Parameters
        ----------
        data : ndarray, shape (samples, ..., features)
        weight : ndarray, shape (samples,), optional
        """

    def inverse(self, y: Tensor) -> Tensor:
        """Return what ``forward`` was applied to, given its output: predictions in the units of the data."""
        raise NotImplementedError(f"{type(self).__name__}: has no inverse; define the method `inverse`")

    def transform(self, data: np.ndarray) -> np.ndarray:
        """Return the output for an array, in evaluation mode."""
        with entered(None):
            return self(wrap(data)).numpy()


class Standardize(Preprocessor):
    """Scale each feature to mean 0 and standard deviation 1 in the training set: y = (x - mean) / scale.

    The standard deviation has the divisor n. A feature that is constant up to rounding has scale 1.

    Parameters
    ----------
    features : int
        The length of the last axis. All other axes are those of the samples.

    Attributes
    ----------
    mean, scale : Buffer of shape (features,)

    Examples
    --------
    >>> scaler = Standardize(2)
    >>> scaler.learn(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> scaler([[3.0, 6.0]])
    Tensor([[1., 1.]])
    >>> scaler.inverse(scaler([[3.0, 6.0]]))
    Tensor([[3., 6.]])
    """

    def __init__(self, features: int) -> None:
        if not is_positive_integer(features):
            raise ValueError(f"Standardize: features is {features!r}, expected a positive integer")
        self.mean = Buffer(np.zeros(features))
        self.scale = Buffer(np.ones(features))

    def learn(self, data: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Set mean and scale. A weight counts as so many equal samples.

        Raises
        ------
        ValueError
            If the data have another number of features, are not finite, or are so large that the variance overflows.
        """
        data = np.asarray(data)
        self._check(data)
        rows = data.reshape(-1, data.shape[-1]).astype(np.float64)
        weights = None if weight is None else np.repeat(weight, len(rows) // len(data))
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.average(rows, axis=0, weights=weights)
            variance = np.average((rows - mean) ** 2, axis=0, weights=weights)
        if not np.isfinite(variance).all():
            worst = int(np.argmin(np.isfinite(variance)))
            if not np.isfinite(rows[:, worst]).all():
                raise ValueError(f"{self!r}: feature {worst} holds nan or infinity, expected finite numbers; fill the gaps")
            raise ValueError(f"{self!r}: the variance of feature {worst} overflows; divide it by a constant before")
        # The bound on rounding in a variance computed in two passes (Chan, Golub & LeVeque, 1983).
        rounding = np.finfo(data.dtype if data.dtype.kind == "f" else np.float64).eps
        is_constant = variance <= len(rows) * rounding * variance + (len(rows) * mean * rounding) ** 2
        self.mean.tensor.assign(mean)
        self.scale.tensor.assign(np.where(is_constant, 1.0, np.sqrt(variance)))

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        return (x - self.mean.value.astype_like(x)) / self.scale.value.astype_like(x)

    def inverse(self, y: Tensor) -> Tensor:
        return y * self.scale.value.astype_like(y) + self.mean.value.astype_like(y)

    def _check(self, x: Tensor | np.ndarray) -> None:
        if x.ndim < 2 or x.shape[-1] != self.mean.tensor.size:
            raise ValueError(f"{self!r}: input has shape {x.shape}, expected (samples, ..., {self.mean.tensor.size})")

    def __repr__(self) -> str:
        return f"Standardize({self.mean.tensor.size})"


class PreparedNetwork(Layer):
    """A network with what prepares its data: x -> inputs -> model -> inverse of targets.

    Parameters
    ----------
    inputs : Preprocessor or None
    model : Layer
    targets : Preprocessor or None
        Its `inverse` converts what the model predicts to the units of the data.

    Notes
    -----
    `inputs` and `targets` compute in double precision, and the model in that of its parameters.

    Examples
    --------
    >>> from tinygrad_lab.nn.layers import Linear
    >>> network = PreparedNetwork(Standardize(1), Linear(1, 1, rng=np.random.default_rng(0)), None)
    >>> list(network.state_dict())
    ['inputs.mean', 'inputs.scale', 'model.weight', 'model.bias']
    """

    def __init__(self, inputs: Preprocessor | None, model: Layer, targets: Preprocessor | None) -> None:
        self.inputs = inputs
        self.model = model
        self.targets = targets

    def forward(self, x: Tensor) -> Tensor:
        if self.inputs is not None:
            x = _in_dtype(self.inputs(_in_dtype(x, PREPARED_IN)), dtype_of(self.model))
        y = self.model(x)
        if self.targets is None:
            return y
        return check_tensor(self.targets, "inverse", self.targets.inverse(_in_dtype(y, PREPARED_IN)))


def dtype_of(network: Layer) -> np.dtype | None:
    """Return the dtype of what a network is given: that of its parameters, unless it prepares its inputs itself."""
    if isinstance(network, PreparedNetwork) and network.inputs is not None:
        return PREPARED_IN
    return next((x.dtype for x in network.named_state().values() if x.is_parameter), None)


def _in_dtype(x: Tensor, dtype: np.dtype | None) -> Tensor:
    return x if dtype is None or x.dtype.kind != "f" or x.dtype == dtype else x.astype(dtype)
