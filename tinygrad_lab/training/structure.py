"""The structure of a Trainer: everything that its training step depends on, except for the numbers in its Tensors.

    Trainer --children, attributes--> parts --> classes, settings, shapes --compare--> one program, or two

Trainers of one structure run the same program on other numbers: weights, learning rate, strength of the penalty, clip norm.
So one of them is captured, and its program trains all of them. The objects are only read, no step runs. Two Trainers with
the same program may have unequal structures, which costs time. Equal structures of different programs would be a wrong
result, so an object that cannot be read in full equals only itself.
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
from tinygrad_lab.contents import attributes, children
from tinygrad_lab.optim.optimizer import Optimizer
from tinygrad_lab.training.captured import settings_of
from tinygrad_lab.training.step import PARTS_WITH_SETTINGS, TrainingStep

# Attributes of a Trainer that its step does not read.
NOT_READ_BY_THE_STEP = {"scheduler", "epochs", "shuffle", "seed", "engine", "history"}
PARTS = (*PARTS_WITH_SETTINGS, Optimizer)
PICKLING = ("__reduce__", "__reduce_ex__", "__getstate__")


@dataclass(frozen=True, eq=False)
class Opaque:
    """The description of an object that cannot be read in full: it equals only a description of the same object."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def describe_step(trainer: TrainingStep) -> Hashable:
    """Describe the objects of a Trainer: while the description stays equal, so does the program of its step.

    An object is described by its class and its attributes. A Tensor is described by its shape, its dtype and whether it
    requires a gradient, and by its numbers unless they are an input or the state of the program. An object that occurs
    again is described by the number of its first occurrence. What cannot be read in full, such as a function or a random
    generator, equals only itself.
    """
    optimizer = trainer.optimizer
    buffers = [buffer.tensor for _, buffer in trainer.model.named_buffers()]
    tensors = chain(optimizer.parameters, *optimizer.state.values(), settings_of(trainer).values(), buffers)
    describer = _Describer({id(tensor) for tensor in tensors})
    try:
        return tuple((name, describer.describe(x)) for name, x in vars(trainer).items() if name not in NOT_READ_BY_THE_STEP)
    except RecursionError:
        return Opaque(trainer)


class _Describer:
    """Describes objects, and remembers which it has met.

    Parameters
    ----------
    variable : set of int
        The ids of the Tensors whose numbers are an input or the state of the program.
    """

    def __init__(self, variable: set[int]) -> None:
        self._variable = variable
        self._numbers: dict[int, int] = {}  # of the objects met so far, by their ids

    def describe(self, x: Any) -> Hashable:
        kind = type(x)
        if kind in (NoneType, bool, int, str, bytes):
            return kind, x
        if kind in (float, complex) or isinstance(x, np.dtype):
            return kind, repr(x)  # 0.0 equals -0.0 and nan does not equal nan, but their texts are right
        if isinstance(x, np.generic) and kind is x.dtype.type and not x.dtype.hasobject:
            return kind, x.dtype, x.tobytes()
        if id(x) in self._numbers:
            return "met", self._numbers[id(x)]
        self._numbers[id(x)] = len(self._numbers)
        if kind is Tensor:
            return self._describe_tensor(x)
        if kind is np.ndarray and not x.dtype.hasobject:
            return kind, x.shape, x.strides, x.dtype, x.tobytes()  # strides, as NumPy sums in the order of memory
        if kind in (list, tuple, dict):
            return kind, *[(self.describe(key), self.describe(part)) for key, part in children(x)]
        if _consists_of_attributes(x):
            return kind, *[(self.describe(name), self.describe(value)) for name, value in attributes(x)]
        return Opaque(x)

    def _describe_tensor(self, x: Tensor) -> Hashable:
        if not x.is_leaf:  # its gradient depends on the Tensors that it was computed from
            return Opaque(x)
        # Numbers that are no input or state may be constants of the program.
        numbers = None if id(x) in self._variable else x._array.tobytes()
        return Tensor, x.shape, x.dtype, x.requires_grad, numbers


def _consists_of_attributes(x: Any) -> bool:
    """Whether an object consists of its attributes and nothing else.

    The test is how it would be pickled: as a new object of its class with these attributes. A function, a random generator,
    a `functools.partial` or a list with attributes is more than that. An object without attributes that is none of the
    `PARTS` of a Trainer is a sentinel, which says something only by its identity.
    """
    kind = type(x)
    if isinstance(x, type) or any(getattr(kind, name) is not getattr(object, name) for name in PICKLING):
        return False
    try:
        make, arguments, state, *items = x.__reduce_ex__(2)
    except Exception:
        return False
    is_plain = make is copyreg.__newobj__ and arguments == (kind,) and not any(items)  # type: ignore[attr-defined]
    return is_plain and isinstance(state, (dict, NoneType)) and (bool(state) or isinstance(x, PARTS))
