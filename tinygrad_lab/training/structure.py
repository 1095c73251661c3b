"""The structure of a Trainer: everything that its training step depends on, except for the numbers in its Tensors.

Trainers of one structure run the same program on other numbers: weights, learning rate, strength of the penalty, clip norm.
So one of them is captured, and all are trained by that. The structure is found by walking the objects; nothing is run.
"""

from __future__ import annotations

import copyreg
from collections.abc import Hashable
from dataclasses import dataclass
from types import NoneType
from typing import Any

import numpy as np

from tinygrad_lab.tensor import Tensor
from tinygrad_lab.training.trainer import Trainer

# What a Trainer decides outside the step.
OUTSIDE = {"scheduler", "epochs", "shuffle", "seed", "engine", "history", "_callbacks", "_data"}


@dataclass(frozen=True, eq=False)
class _Itself:
    """Stands for an object that cannot be looked into: equal only to another that stands for the same one."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def structure(trainer: Trainer) -> Hashable:
    """Return a description that is equal for two Trainers where their training steps are one program.

    Objects are described by their classes and attributes; a Tensor by its shape, its dtype and whether it requires a
    gradient; shared ones by where they stood first. What cannot be looked into, such as a function or a random generator,
    is equal only to itself.

    Examples
    --------
    >>> import tinygrad_lab as tl
    >>> def trainer(width, lr):
    ...     net = tl.Linear(1, width, rng=np.random.default_rng())
    ...     return tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=lr))
    >>> structure(trainer(3, lr=0.1)) == structure(trainer(3, lr=0.2))
    True
    >>> structure(trainer(3, lr=0.1)) == structure(trainer(4, lr=0.1))
    False
    """
    seen: dict[int, int] = {}
    return type(trainer), *[(name, _describe(x, seen)) for name, x in vars(trainer).items() if name not in OUTSIDE]


def _describe(x: Any, seen: dict[int, int]) -> Hashable:
    if isinstance(x, (NoneType, bool, int, float, str, bytes, np.generic, np.dtype)):
        return type(x), repr(x)
    if id(x) in seen:
        return "seen", seen[id(x)]
    seen[id(x)] = len(seen)
    if isinstance(x, Tensor):
        return Tensor, x.shape, x.dtype, x.requires_grad
    if isinstance(x, np.ndarray) and x.dtype != object:
        return np.ndarray, x.shape, x.dtype, x.tobytes()
    if isinstance(x, (list, tuple)):
        return type(x), *[_describe(item, seen) for item in x]
    if isinstance(x, dict):
        return type(x), *[(_describe(key, seen), _describe(item, seen)) for key, item in x.items()]
    state = _state(x)
    return _Itself(x) if state is None else (type(x), *[(name, _describe(item, seen)) for name, item in state.items()])


def _state(x: Any) -> dict[str, Any] | None:
    """Return the attributes of an object that consists of them and nothing else, or None.

    The test is how it would be pickled: as a new object of its class with these attributes. A function, a random generator or
    a `functools.partial` is more than that.
    """
    if isinstance(x, type):
        return None
    try:
        make, arguments, state, *items = x.__reduce_ex__(2)
    except Exception:
        return None
    plain = make is copyreg.__newobj__ and arguments == (type(x),) and not any(items)  # type: ignore[attr-defined]
    if not plain or not isinstance(state, (dict, NoneType)):
        return None
    return state or {}
