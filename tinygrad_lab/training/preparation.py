"""Preprocessors learn only if the training begins.

trainers --learning--> their preprocessors learn --an error--> they are as before
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tinygrad_lab.training.snapshots import Snapshot
from tinygrad_lab.training.step import TrainingStep


@contextmanager
def learning(steps: Sequence[TrainingStep]) -> Iterator[None]:
    """Let the preprocessors of some Trainers learn in a block. If it raises, they are as before."""
    preprocessors = [part for step in steps for part in (step.inputs, step.targets) if part is not None]
    if not preprocessors:
        yield
        return
    before = Snapshot({"preprocessors": preprocessors})
    try:
        yield
    except BaseException:
        before.put_back()
        raise
