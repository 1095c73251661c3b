"""A walk through the objects of a Trainer, which describes all that its training step depends on.

The numbers of those Tensors that a program takes as its inputs or state are left out; nothing is run.
"""

from __future__ import annotations

import copyreg
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import chain
from types import NoneType
from typing import Any

import numpy as np

from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.nn.activations import Activation
from tinygrad_lab.nn.layers import Layer
from tinygrad_lab.nn.losses import Loss
from tinygrad_lab.optim.hooks import GradientHook
from tinygrad_lab.optim.optimizers import Optimizer
from tinygrad_lab.optim.penalties import Penalty
from tinygrad_lab.training.captured import settings_of
from tinygrad_lab.training.step import TrainingStep

# What a Trainer decides outside the step.
OUTSIDE = {"scheduler", "epochs", "shuffle", "seed", "engine", "history"}
PARTS = (Activation, GradientHook, Layer, Loss, Optimizer, Penalty)
PICKLING = ("__reduce__", "__reduce_ex__", "__getstate__")


@dataclass(frozen=True, eq=False)
class Itself:
    """Stands for an object that cannot be looked into: equal only to another that stands for the same one."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Itself) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def describe_step(trainer: TrainingStep) -> Hashable:
    """Describe the objects of a Trainer: while that stays equal, so does the program of its step.

    Objects are described by their classes and attributes; a Tensor that a program takes as its input or state by its shape,
    its dtype and whether it requires a gradient; shared ones by where they stood first. What cannot be looked into, such as a
    function or a random generator, is equal only to itself.
    """
    optimizer = trainer.optimizer
    tensors = chain(optimizer.parameters, *optimizer.state.values(), settings_of(trainer).values())
    walk = _Walk({id(tensor) for tensor in tensors})
    try:
        return tuple((name, walk.describe(x)) for name, x in vars(trainer).items() if name not in OUTSIDE)
    except RecursionError:
        return Itself(trainer)


class _Walk:
    """A walk through the objects of a Trainer.

    Parameters
    ----------
    variable : set of int
        The ids of the Tensors whose numbers a program is given anew.
    """

    def __init__(self, variable: set[int]) -> None:
        self._variable = variable
        self._seen: dict[int, int] = {}  # ids, and their places

    def describe(self, x: Any) -> Hashable:
        kind = type(x)
        if kind in (NoneType, bool, int, str, bytes):
            return kind, x
        if kind in (float, complex) or isinstance(x, np.dtype):
            return kind, repr(x)  # for 0.0 and -0.0 are equal, nan and nan are not
        if isinstance(x, np.generic) and kind is x.dtype.type and not x.dtype.hasobject:
            return kind, x.dtype, x.tobytes()
        if id(x) in self._seen:
            return "seen", self._seen[id(x)]
        self._seen[id(x)] = len(self._seen)
        if kind is Tensor:
            return self._describe_tensor(x)
        if kind is np.ndarray and not x.dtype.hasobject:
            return kind, x.shape, x.strides, x.dtype, x.tobytes()  # sums run along memory
        if kind in (list, tuple):
            return kind, *map(self.describe, x)
        attributes = x if kind is dict else _attributes(x)
        if attributes is None:
            return Itself(x)
        return kind, *[(self.describe(name), self.describe(value)) for name, value in attributes.items()]

    def _describe_tensor(self, x: Tensor) -> Hashable:
        if not x.is_leaf:
            return Itself(x)  # the gradient goes on to what it was computed from
        numbers = None if id(x) in self._variable else x._data.tobytes()  # one that is not may be a constant of the program
        return Tensor, x.shape, x.dtype, x.requires_grad, numbers


def _attributes(x: Any) -> dict[str, Any] | None:
    """Return the attributes of an object that consists of them and nothing else, or None.

    The test is how it would be pickled: as a new object of its class with these attributes. A function, a random generator,
    a `functools.partial` or a list with attributes is more than that. So is, outside of the `PARTS` of a Trainer, an object
    without attributes: it is there to be told from others.
    """
    kind = type(x)
    if isinstance(x, type) or any(getattr(kind, name) is not getattr(object, name) for name in PICKLING):
        return None
    try:
        make, arguments, state, *items = x.__reduce_ex__(2)
    except Exception:
        return None
    plain = make is copyreg.__newobj__ and arguments == (kind,) and not any(items)  # type: ignore[attr-defined]
    if not plain or not isinstance(state, (dict, NoneType)):
        return None
    return state or ({} if isinstance(x, PARTS) else None)
