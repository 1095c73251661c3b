"""The structure of a Trainer: everything that its training step depends on, except for the numbers in its Tensors.

Trainers of one structure run the same program on other numbers: weights, learning rate, strength of the penalty, clip norm.
So one of them is captured, and all are trained by that. The structure is found by walking the objects; nothing is run. Two
that are equal only in fact may have unequal structures, which costs time; the other way round would be a wrong result.
"""

from __future__ import annotations

from collections.abc import Hashable

from tinygrad_lab.training.trainer import Trainer
from tinygrad_lab.training.walk import Itself, describe_step


def structure(trainer: Trainer) -> Hashable:
    """Return a description that is equal for two Trainers where their training steps are one program.

    It is what `describe_step` returns, but a Trainer of a subclass, whose step may read anything, is equal only to itself.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_lab as tl
    >>> def trainer(width, lr):
    ...     net = tl.Linear(1, width, rng=np.random.default_rng())
    ...     return tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=lr))
    >>> structure(trainer(3, lr=0.1)) == structure(trainer(3, lr=0.2))
    True
    >>> structure(trainer(3, lr=0.1)) == structure(trainer(4, lr=0.1))
    False
    """
    return describe_step(trainer) if type(trainer) is Trainer else Itself(trainer)
