"""What an engine is: it takes the parameters, makes updates, and gives the parameters back.

load --> run, run, ... --> store            evaluate: the data loss with the parameters as they are

Engine <-- StepwiseEngine    makes one update after the other    <-- EagerEngine, ReplayEngine
       <-- CapturedEngine    runs the captured step              <-- ReplayEngine, CompiledEngine
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import ClassVar, NamedTuple

import numpy as np

from tinygrad_lab.training.captured import CapturedStep
from tinygrad_lab.training.noise import EpochNumbers
from tinygrad_lab.training.step import TrainingStep

Batch = Sequence[np.ndarray]
"""The arrays of a batch, or of a whole set: x, y and perhaps weights."""


class Epoch(NamedTuple):
    """What an engine is told about an epoch.

    Attributes
    ----------
    number : int
        Counted from 0.
    order : ndarray of int64, shape (samples,)
        The samples in the order in which they are visited.
    rate : float
        The learning rate.
    seed : int
        That of the Trainer, from which the random numbers of the steps follow.
    """

    number: int
    order: np.ndarray
    rate: float
    seed: int

    def numbers(self) -> EpochNumbers:
        """Return the random numbers of the epoch, from the first batch on."""
        return EpochNumbers(self.seed, self.number)


class Engine(ABC):
    """Runs updates. Between `load` and `store`, only the engine has the current parameters, state and buffers.

    Attributes
    ----------
    name : str, of the class
        What `Trainer(engine=...)` calls it.
    samples_per_run : int, of the class
        How many samples one `run` should visit if nothing has to happen between epochs; at least one epoch.
    """

    name: ClassVar[str]
    samples_per_run: ClassVar[int] = 1

    @property
    def lost(self) -> list[str]:
        """Where the step keeps results to be looked at, which this engine does not keep."""
        return []

    @abstractmethod
    def __init__(self, step: TrainingStep) -> None: ...

    @abstractmethod
    def attach(self, step: TrainingStep) -> None:
        """Serve this step from now on. It has the structure of the one before."""

    @abstractmethod
    def prepare(self, batches: Iterable[Batch], held_out: Batch | None = None) -> None:
        """Do all that can fail before the first update, for batches and a validation set of these shapes.

        Raises
        ------
        CaptureError
            If the step or the evaluation cannot be repeated from a recording.
        NoLoopFormError
            If the engine compiles, and the step has no loop form or the compiler refuses it.
        """

    @abstractmethod
    def load(self) -> None:
        """Take the parameters, the state and the hyper-parameters from the parts of the step."""

    @abstractmethod
    def mark(self) -> None:
        """Remember the parameters, the state and the buffers, before an epoch that may be interrupted."""

    @abstractmethod
    def go_back(self) -> None:
        """Set the parameters, the state and the buffers to what they were at the last `mark`."""

    @abstractmethod
    def run(self, data: Batch, epochs: Sequence[Epoch], batch_size: int) -> np.ndarray:
        """Make the updates of some epochs.

        Parameters
        ----------
        data : sequence of ndarray
            x, y and perhaps weights, of all samples.
        epochs : sequence of Epoch
        batch_size : int

        Returns
        -------
        ndarray of float64
            The loss of each batch, epoch after epoch, up to the first that is not finite: its update is not made.
        """

    @abstractmethod
    def evaluate(self, data: Batch) -> float:
        """Return the data loss on x and y with the parameters as the engine has them."""

    @abstractmethod
    def store(self) -> None:
        """Give the parameters and the state back to the parts of the step."""


class StepwiseEngine(Engine):
    """An engine that makes one update after the other."""

    @abstractmethod
    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the updates to come."""

    @abstractmethod
    def compute(self, batch: Batch, numbers: EpochNumbers) -> float:
        """Compute the update on a batch with the next random numbers, and return its loss."""

    @abstractmethod
    def commit(self) -> None:
        """Make the update that was computed last."""

    def run(self, data: Batch, epochs: Sequence[Epoch], batch_size: int) -> np.ndarray:
        losses: list[float] = []
        for epoch in epochs:
            self.set_rate(epoch.rate)
            numbers = epoch.numbers()
            for start in range(0, len(epoch.order), batch_size):
                chosen = epoch.order[start : start + batch_size]
                losses.append(self.compute([array[chosen] for array in data], numbers))
                if not isfinite(losses[-1]):
                    return np.array(losses)
                self.commit()
        return np.array(losses)


class CapturedEngine(Engine):
    """An engine that runs the captured step, whose memory holds the parameters between `load` and `store`.

    Attributes
    ----------
    captured : CapturedStep
    """

    def __init__(self, step: TrainingStep) -> None:
        self.captured = CapturedStep(step)
        self._marked: list[np.ndarray] = []

    @property
    def lost(self) -> list[str]:
        return self.captured.kept

    def attach(self, step: TrainingStep) -> None:
        self.captured.attach(step)

    def load(self) -> None:
        self.captured.load()

    def mark(self) -> None:
        self._marked = [array.copy() for array in self.captured.state.values()]

    def go_back(self) -> None:
        self.captured.restore(self._marked)

    def evaluate(self, data: Batch) -> float:
        return self.captured.evaluate(data)

    def store(self) -> None:
        self.captured.store()
