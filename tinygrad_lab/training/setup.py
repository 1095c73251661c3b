"""The set-up of a training, and what has changed in it since: callbacks set hyper-parameters, layers keep counters.

    Trainer as it was built --Setup--> texts: what a resumed training must have in common
                                       snapshot --changes--> entries, arrays --apply--> Trainer that was built alike

A checkpoint describes the set-up, not the parts as they are. So a training whose learning rate was lowered by a callback
is resumed by a Trainer that is built as the first one was, and goes on at the lowered rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.storage.description import describe
from tinygrad_lab.training.changes import Entry, Restorer, list_changes
from tinygrad_lab.training.snapshots import Node, Snapshot, label, leaf
from tinygrad_lab.training.step import TrainingStep

# The data of a run, which a checkpoint describes, have gone through `inputs` and `targets`. The run has the callbacks.
NOT_STORED = {"epochs", "engine", "history", "inputs", "targets", "validation_fraction", "callbacks", "class_weight"}
AROUND = {"class attribute", "closure", "default", "global", "variable"}  # kinds of parts that are in no attribute


class Setup:
    """A Trainer as it is when its training begins.

    Parameters
    ----------
    trainer : TrainingStep

    Attributes
    ----------
    texts : dict of str to str
        What must be equal for a resumed training to reach the same bits.
    """

    def __init__(self, trainer: TrainingStep) -> None:
        self._trainer = trainer
        self._snapshot = Snapshot(self._roots())
        self._state_names = set(trainer.optimizer.state)
        optimizer = trainer.optimizer
        changing = {"parameters", "state"} | ({"lr"} if trainer.scheduler is not None else set())
        fixed = {name: x for name, x in vars(optimizer).items() if name not in changing}
        self.texts = {
            "model": describe(trainer.model),
            "loss": describe(trainer.loss),
            "optimizer": f"{type(optimizer).__name__} {describe(fixed)}",
            "scheduler": describe(trainer.scheduler),
            "penalty": describe(trainer.penalty),
            "batches": f"{trainer.batch_size} {trainer.shuffle} {trainer.seed}",
        } | self._surroundings()

    def _roots(self) -> dict[str, Any]:
        return {name: x for name, x in vars(self._trainer).items() if name not in NOT_STORED} | {"class": type(self._trainer)}

    def _surroundings(self) -> dict[str, str]:
        """Describe numbers, texts and arrays in global variables, closures and classes that the parts read."""
        texts: dict[str, str] = {}
        for node in self._snapshot.nodes.values():
            for key, x in node.parts.items():
                tags = {key[0], *(tag for tag, _ in _way(node))}
                is_array = isinstance(x, (np.ndarray, Tensor))
                if tags.isdisjoint(AROUND) or (leaf(x) is None and not is_array):
                    continue
                name = label(node, key)
                texts[name] = f"{texts.get(name, '')} {describe(x) if is_array else repr(x)}".strip()
        return texts

    # Changes ---------------------------------------------------------------------------------------------------------

    def changes(self) -> tuple[list[Entry], dict[str, np.ndarray]]:
        """Return what has changed since, except for the parameters, the buffers and the optimizer's state.

        Returns
        -------
        entries : list of Entry
            For JSON. A value that is an array is named by its position in `arrays`.
        arrays : dict of str to ndarray

        Raises
        ------
        ValueError
            If something has changed that cannot be stored.
        """
        optimizer = self._trainer.optimizer
        new = sorted(set(optimizer.state) - self._state_names)
        if new:
            kind = type(optimizer).__name__
            raise ValueError(
                f"{kind} has created its state {', '.join(new)} during the training, where a checkpoint could not be loaded; "
                "create it with add_slots in the constructor"
            )
        buffers = [buffer.tensor for _, buffer in self._trainer.model.named_buffers()]
        now = Snapshot(self._roots(), {id(tensor) for tensor in (*optimizer.parameters, *buffers)})
        return list_changes(self._snapshot, now, lambda x: x is optimizer.state)

    def apply(self, entries: Sequence[Entry], arrays: Mapping[str, np.ndarray]) -> None:
        """Change the parts of the Trainer, which are still as they were set up, as `changes` says.

        Raises
        ------
        ValueError, KeyError, TypeError
            If the parts are of another form.
        """
        Restorer(self._trainer, Snapshot(self._roots())).apply(entries, arrays)


def _way(node: Node | None) -> Iterator[tuple[str, Any]]:
    while node is not None and node.owner is not None:
        yield node.key
        node = node.owner
