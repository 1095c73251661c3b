"""The eager engine: Python builds the graph at every update."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from tinygrad_lab.autodiff.tensor import wrap
from tinygrad_lab.nn.mode import RandomInput, entered
from tinygrad_lab.training.engines.engine import Batch, StepwiseEngine
from tinygrad_lab.training.noise import EpochNumbers, eager_mode
from tinygrad_lab.training.parameters import check_kept_parameters, owners_of_parameters
from tinygrad_lab.training.step import TrainingStep, Update


class EagerEngine(StepwiseEngine):
    """Runs the step as it is written; the parameters stay in the parts of the step.

    Parameters
    ----------
    step : TrainingStep
    """

    name: ClassVar[str] = "eager"

    def __init__(self, step: TrainingStep) -> None:
        self._step = step
        self._random_inputs: dict[RandomInput, str] = {}
        self._update: Update | None = None
        self._owners: dict[int, str] = {}
        self._is_checked = False

    def attach(self, step: TrainingStep) -> None:
        self._step = step

    def prepare(self, batches: Iterable[Batch]) -> None:
        pass

    def load(self) -> None:
        self._random_inputs = self._step.random_inputs()
        self._owners = owners_of_parameters(self._step.model)

    def set_rate(self, rate: float) -> None:
        self._step.optimizer.lr.assign(rate)
        self._is_checked = False

    def compute(self, batch: Batch, numbers: EpochNumbers) -> float:
        with entered(eager_mode(numbers, self._random_inputs)):
            self._update = Update(*self._step.training_step(*map(wrap, batch)))
        if not self._is_checked:  # once in an epoch, as it takes time
            check_kept_parameters(self._step, self._owners)
            self._is_checked = True
        return float(self._update.loss)

    def commit(self) -> None:
        assert self._update is not None
        self._step.commit(self._update.parameters, self._update.state, self._update.buffers)

    def evaluate(self, data: Batch) -> float:
        return float(self._step.data_loss(*map(wrap, data)))

    def store(self) -> None:
        pass
