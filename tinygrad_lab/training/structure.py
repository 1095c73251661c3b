"""The structure of a Trainer: everything that its training step depends on, except for the numbers in its Tensors.

    Trainer --Snapshot--> parts --> classes, settings, shapes, code --compare--> one program, or two

Trainers of one structure run the same program on other numbers: weights, learning rate, strength of the penalty, clip norm.
So one of them is captured, and its program trains all of them. The objects are only read, no step runs. Two Trainers with
the same program may have unequal structures, which costs time. Equal structures of different programs would be a wrong
result, so an object that cannot be read in full equals only itself.
"""

from __future__ import annotations

from collections.abc import Hashable
from itertools import chain

from tinygrad_lab.training.captured import settings_of
from tinygrad_lab.training.history import History
from tinygrad_lab.training.snapshots import Snapshot, roots_of
from tinygrad_lab.training.step import TrainingStep


def describe_step(trainer: TrainingStep) -> Hashable:
    """Describe the objects of a Trainer: while the description stays equal, so does the program of its step.

    An object is described by its class and its attributes, and a function by its code, its closure and the global variables
    that it reads. The methods of a class of the user count too. A Tensor is described by its shape, its dtype and whether it
    requires a gradient, and by its numbers unless they are an input or the state of the program. What cannot be read in full
    equals only itself.
    """
    optimizer = trainer.optimizer
    buffers = [buffer.tensor for _, buffer in trainer.model.named_buffers()]
    tensors = chain(optimizer.parameters, *optimizer.state.values(), settings_of(trainer).values(), buffers)
    return Snapshot(roots_of(trainer)).describe({id(tensor) for tensor in tensors})


def scheduler_acts(trainer: TrainingStep) -> bool:
    """Whether the scheduler may read the history, or change the step when it is asked for a learning rate.

    Then the learning rate of an epoch can only be computed after the epoch before, and the step may differ afterwards.
    """
    if trainer.scheduler is None:
        return False
    scheduler = Snapshot({"scheduler": trainer.scheduler})
    if any(isinstance(node.x, History) for node in scheduler.nodes.values()):
        return True
    return len(scheduler.nodes) > 1 and scheduler.shares_state_with(Snapshot(roots_of(trainer)))
