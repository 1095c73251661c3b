"""The eager engine: Python builds the graph at every update."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from tinygrad_lab.autodiff.tensor import Tensor, wrap
from tinygrad_lab.optim.optimizer import State
from tinygrad_lab.training.engines.engine import Batch, StepwiseEngine
from tinygrad_lab.training.step import TrainingStep


class EagerEngine(StepwiseEngine):
    """Runs the step as it is written; the parameters stay in the parts of the step.

    Parameters
    ----------
    step : TrainingStep
    """

    name: ClassVar[str] = "eager"

    def __init__(self, step: TrainingStep) -> None:
        self._step = step
        self._update: tuple[list[Tensor], State] = ([], {})

    def attach(self, step: TrainingStep) -> None:
        self._step = step

    def prepare(self, batches: Iterable[Batch]) -> None:
        pass

    def load(self) -> None:
        pass

    def set_rate(self, rate: float) -> None:
        self._step.optimizer.lr.assign(rate)

    def compute(self, batch: Batch) -> float:
        loss, parameters, state = self._step.training_step(*map(wrap, batch))
        self._update = parameters, state
        return float(loss)

    def commit(self) -> None:
        self._step.optimizer.commit(*self._update)

    def evaluate(self, data: Batch) -> float:
        return float(self._step.data_loss(*map(wrap, data)))

    def store(self) -> None:
        pass
