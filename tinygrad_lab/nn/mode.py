"""The mode in which layers run, and what a layer may read and change beside its parameters.

    training mode      a Buffer gets a new value, a RandomInput gives numbers
    evaluation mode    buffers are only read, there are no random numbers; this is the mode outside of any block

    whoever runs a step --entered(mode)--> forward --> Buffer.value = ...  --> mode.new_values --> committed last
                                                   <-- RandomInput(shape) <-- mode.draw

*Why does a layer not write to an array, or call a random generator?* A step has to be a pure function of Tensors, so that it
can be captured, repeated in lanes and resumed. New values of buffers are results of the step, and random numbers are inputs.

A mode belongs to a thread. So two threads can train two models, or one of them predicts. A layer that ``forward`` calls in
another thread, for example by a ThreadPoolExecutor, does not see the mode of its model. It is refused if it asks for the mode.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tinygrad_lab.autodiff.graph import repetitions
from tinygrad_lab.autodiff.tensor import Tensor, as_tensor, wrap
from tinygrad_lab.contents import contains

Shape = tuple[int, ...]

DISTRIBUTIONS: dict[str, Callable[..., np.ndarray]] = {
    "uniform": np.random.Generator.random,
    "normal": np.random.Generator.standard_normal,
}


class Buffer:
    """State of a layer that is not a parameter, such as a running mean.

    A layer has a Buffer as an attribute. Its value is stored, saved and loaded with the parameters, but no gradient moves it.
    In training mode, ``forward`` may set `value`. The new value becomes part of the result of the training step, and is
    committed together with the parameters.

    Parameters
    ----------
    value : array_like
        The initial elements: real numbers.
    dtype : {float64, float32} or integer dtype, optional

    Examples
    --------
    >>> from tinygrad_lab.nn.layers import Layer
    >>> class CountSamples(Layer):
    ...     def __init__(self):
    ...         self.seen = Buffer(0.0)
    ...     def forward(self, x):
    ...         if self.training:
    ...             self.seen.value = self.seen.value + float(len(x))
    ...         return x
    >>> layer = CountSamples()
    >>> with training_mode():
    ...     _ = layer([[1.0], [2.0]])
    >>> layer.state_dict()
    {'seen': array(2.)}
    """

    def __init__(self, value: ArrayLike | Tensor, dtype: DTypeLike | None = None) -> None:
        self.tensor = Tensor(value, dtype=dtype)

    @property
    def value(self) -> Tensor:
        """The present value, a constant. After ``forward`` has set it, the new value."""
        mode = _current.mode
        return self.tensor if mode is None else mode.new_values.get(self, self.tensor)

    @value.setter
    def value(self, new: ArrayLike | Tensor) -> None:
        if _current.mode is None:
            raise RuntimeError(
                "Buffer: a value is set in evaluation mode, in which a layer changes nothing; "
                "set it only if `self.training`, or use `buffer.tensor.assign(...)` between steps"
            )
        if new is None:
            raise TypeError(f"Buffer: the new value is None, expected a Tensor of shape {self.tensor.shape}")
        result = as_tensor(new).detach()
        if result.dtype.kind == "c":  # in a complex step of check_grad, the value is the real part
            result = wrap(result._array.real)
        if (result.shape, result.dtype) != (self.tensor.shape, self.tensor.dtype):
            raise ValueError(
                f"Buffer: the new value is {result.dtype} of shape {result.shape}, "
                f"expected {self.tensor.dtype} of shape {self.tensor.shape}"
            )
        _current.mode.new_values[self] = result

    def __repr__(self) -> str:
        return f"Buffer(shape={self.tensor.shape}, dtype={self.tensor.dtype})"


class RandomInput:
    """Random numbers that a layer reads in training mode, such as the mask of a dropout.

    A layer has a RandomInput as an attribute, and calls it in ``forward`` with the shape that it needs. In a Trainer, the
    numbers follow from the Trainer's seed, the epoch, the batch and the place of the RandomInput in the model. So they are the
    same to the bit on every engine, in every lane and after a resume.

    Parameters
    ----------
    distribution : {"uniform", "normal"}
        Uniform in [0, 1), or normal with mean 0 and variance 1.

    Examples
    --------
    >>> noise = RandomInput("uniform")
    >>> with training_mode(np.random.default_rng(0)):
    ...     noise((2,))
    Tensor([0.63696169, 0.26978671])
    """

    def __init__(self, distribution: str) -> None:
        if distribution not in DISTRIBUTIONS:
            raise ValueError(f"RandomInput: distribution is {distribution!r}, expected {' or '.join(DISTRIBUTIONS)}")
        self.distribution = distribution

    def __call__(self, shape: Shape, dtype: DTypeLike = np.float64) -> Tensor:
        """Return numbers of this shape and dtype, float64 or float32, as a constant Tensor."""
        real = np.empty(0, dtype).real.dtype  # a complex step of check_grad keeps the random numbers
        if real not in (np.float64, np.float32):
            raise TypeError(f"RandomInput: dtype is {np.dtype(dtype)}, expected float64 or float32")
        if _current.mode is None:
            raise RuntimeError("RandomInput: there are no random numbers in evaluation mode; read them only if `self.training`")
        return _current.mode.draw(self, tuple(shape), real)

    def __repr__(self) -> str:
        return f"RandomInput({self.distribution!r})"


Draw = Callable[[RandomInput, int, Shape, np.dtype], Tensor]
"""Returns the numbers of a RandomInput, of which it is the n-th call in a step, in a shape and dtype."""


class TrainingMode:
    """One pass in training mode: the random numbers that it reads, and the new values of buffers.

    Parameters
    ----------
    draw : callable
        A function of the RandomInput, the number of its calls before in this pass, the shape and the dtype.

    Attributes
    ----------
    new_values : dict of Buffer to Tensor
        What ``forward`` has set so far.
    objective : Tensor or None
        What a training step has differentiated, with its graph.
    layers : dict of int to Layer
        The layers that have run in this mode, by their ids.
    """

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._calls: dict[RandomInput, int] = {}
        self._drawn: dict[tuple[RandomInput, int], Tensor] = {}
        self.new_values: dict[Buffer, Tensor] = {}
        self.objective: Tensor | None = None
        self.layers: dict[int, Any] = {}

    def draw(self, source: RandomInput, shape: Shape, dtype: np.dtype) -> Tensor:
        """Return the next numbers of a RandomInput."""
        call = self._calls.get(source, 0)
        self._calls[source] = call + 1
        if (source, call) not in self._drawn:
            self._drawn[source, call] = self._draw(source, call, shape, dtype)
        return self._drawn[source, call]

    def repetition(self) -> Callable[[], AbstractContextManager[None]]:
        """Return a function that makes a context in which the pass goes on from here again, with the same random numbers."""
        calls, values = self._calls.copy(), self.new_values.copy()

        @contextmanager
        def repeated() -> Iterator[None]:
            after = self._calls, self.new_values
            self._calls, self.new_values = calls.copy(), values.copy()
            try:
                with entered(self):
                    yield
            finally:
                self._calls, self.new_values = after

        return repeated


class _Current(threading.local):
    def __init__(self) -> None:
        self.mode: TrainingMode | None = None
        self.is_chosen = False  # by a block, rather than evaluation mode because there is none


_current = _Current()
_open: dict[int, TrainingMode] = {}
"""The training modes of all threads, by their ids."""


def current_mode() -> TrainingMode | None:
    """Return the training mode of this thread, or None in evaluation mode."""
    return _current.mode


def in_training_mode() -> bool:
    """Whether parts run in training mode. A layer reads it as ``self.training``.

    Examples
    --------
    >>> with training_mode():
    ...     in_training_mode()
    True
    """
    return _current.mode is not None


def mode_of_layer(layer: Any) -> TrainingMode | None:
    """Return the training mode of this thread, or None in evaluation mode.

    Raises
    ------
    RuntimeError
        If this thread has no mode, but a model with this layer is in training mode in another thread.
    """
    others = () if _current.is_chosen else tuple(_open.values())
    if any(contains(tuple(mode.layers.values()), layer, leaves=(Tensor,)) for mode in others):
        raise RuntimeError(
            f"{type(layer).__name__}: runs in a thread without a mode, but its model is in training mode in another thread; "
            "call it in the thread that trains, or use the predict of a Trainer here"
        )
    return _current.mode


@contextmanager
def entered(mode: TrainingMode | None) -> Iterator[None]:
    """Run a block in a training mode, or in evaluation mode if `mode` is None."""
    before = _current.mode, _current.is_chosen
    _current.mode, _current.is_chosen = mode, True
    opened = {} if mode is None or id(mode) in _open else {id(mode): mode}
    _open.update(opened)
    try:
        yield
    finally:
        _current.mode, _current.is_chosen = before
        for key in opened:
            del _open[key]


def _repetition() -> Callable[[], AbstractContextManager[None]]:
    return partial(entered, None) if _current.mode is None else _current.mode.repetition()


repetitions.append(_repetition)  # for `checkpoint`


@contextmanager
def training_mode(rng: np.random.Generator | None = None) -> Iterator[None]:
    """Run layers as in training, in a loop written by hand. A Trainer does this by itself.

    At the end of the block, buffers get their new values, unless an exception leaves the block.

    Parameters
    ----------
    rng : numpy.random.Generator, optional
        The source of random numbers; needed if a layer reads any.

    Raises
    ------
    RuntimeError
        If a layer reads random numbers and `rng` is missing.

    Examples
    --------
    >>> from tinygrad_lab.nn.regularization import Dropout
    >>> dropout = Dropout(0.5)
    >>> with training_mode(np.random.default_rng(0)):
    ...     dropout([1.0, 1.0, 1.0, 1.0])
    Tensor([2., 0., 0., 0.])
    >>> dropout([1.0, 1.0, 1.0, 1.0])
    Tensor([1., 1., 1., 1.])
    """
    if rng is not None and not isinstance(rng, np.random.Generator):
        raise TypeError(f"training_mode: rng is {rng!r}, expected a numpy Generator such as numpy.random.default_rng(0)")

    def draw(source: RandomInput, call: int, shape: Shape, dtype: np.dtype) -> Tensor:  # noqa: ARG001 (rng goes on)
        if rng is None:
            raise RuntimeError("training_mode: a layer reads random numbers; give it a generator, training_mode(rng)")
        return wrap(DISTRIBUTIONS[source.distribution](rng, shape, dtype))

    outer = _current.mode
    mode = TrainingMode(draw)
    if outer is not None:  # go on from the values that the outer block has set
        mode.new_values.update(outer.new_values)
    with entered(mode):
        yield
    if outer is not None:
        outer.new_values.update(mode.new_values)
        return
    for buffer, value in mode.new_values.items():
        buffer.tensor.assign(value)
