"""Preprocessors learn for one model, and only if its training begins.

trainers --learning--> their preprocessors learn --an error--> they are as before
                                                 --no error--> they belong to the models
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from tinygrad_lab.nn.layers import Layer
from tinygrad_lab.nn.preprocessing import Preprocessor
from tinygrad_lab.training.snapshots import Snapshot
from tinygrad_lab.training.step import TrainingStep

_learnt_for: dict[int, tuple[weakref.ref[Preprocessor], weakref.ref[Layer]]] = {}
"""The model for which a preprocessor has learnt last, by the id of the preprocessor."""


@contextmanager
def learning(steps: Sequence[TrainingStep]) -> Iterator[None]:
    """Let preprocessors learn in a block. If it raises, they are as before.

    Raises
    ------
    ValueError
        If a preprocessor has learnt for another model, which is still in use. That model would predict with what is learnt now.
    """
    used = [(part, step.model) for step in steps for part in (step.inputs, step.targets) if part is not None]
    if not used:
        yield
        return
    for part, model in used:
        if part.named_buffers() and _belongs_to_another(part, model):
            raise ValueError(
                f"Trainer: {part!r} has learnt from the data of another model, which would predict with what it learns now; "
                "give each Trainer one of its own"
            )
    before = Snapshot({"preprocessors": [part for part, _ in used]})
    try:
        yield
    except BaseException:
        before.put_back()
        raise
    for part, model in used:
        _learnt_for[id(part)] = weakref.ref(part, partial(_forget, id(part))), weakref.ref(model)


def _belongs_to_another(part: Preprocessor, model: Layer) -> bool:
    other = _learnt_for[id(part)][1]() if id(part) in _learnt_for else None
    return other is not None and other is not model


def _forget(key: int, _: weakref.ref[Preprocessor]) -> None:
    _learnt_for.pop(key, None)
