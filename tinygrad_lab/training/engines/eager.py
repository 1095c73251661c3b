"""The eager engine: Python builds the graph at every update."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from tinygrad_lab.autodiff.tensor import Tensor, wrap
from tinygrad_lab.nn.mode import Buffer, RandomInput
from tinygrad_lab.optim.optimizer import State
from tinygrad_lab.training.engines.engine import Batch, StepwiseEngine
from tinygrad_lab.training.noise import EpochNumbers, eager_mode
from tinygrad_lab.training.parameters import check_kept_parameters, check_objectives, owners_of_parameters
from tinygrad_lab.training.snapshots import Snapshot, roots_of
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
        self._objectives: list[Tensor | None] | None = []  # of the first two steps, until they are checked
        self._marked: tuple[list[Tensor], State, dict[Buffer, Tensor]] = ([], {}, {})
        self._all_marked = Snapshot({})
        self._has_users_code: bool | None = None

    def attach(self, step: TrainingStep) -> None:
        self._step = step
        self._has_users_code = None
        self._objectives = []

    def prepare(self, batches: Iterable[Batch], held_out: Batch | None = None) -> None:
        pass

    def load(self) -> None:
        self._random_inputs = self._step.random_inputs()
        self._owners = owners_of_parameters(self._step.model)

    def mark(self) -> None:
        optimizer = self._step.optimizer
        buffers = {buffer: wrap(buffer.tensor._array) for _, buffer in self._step.model.named_buffers()}
        self._marked = [wrap(parameter._array) for parameter in optimizer.parameters], optimizer.state, buffers
        # Parts that a user has written may have state of their own. Those of this package have none.
        if self._has_users_code is not False:
            self._all_marked = Snapshot(roots_of(self._step))
            self._has_users_code = self._all_marked.has_users_code

    def go_back(self) -> None:
        if self._has_users_code:
            self._all_marked.put_back()
        self._step.commit(*self._marked)

    def set_rate(self, rate: float) -> None:
        self._step.optimizer.lr.assign(rate)
        self._is_checked = False

    def compute(self, batch: Batch, numbers: EpochNumbers) -> float:
        mode = eager_mode(numbers, self._random_inputs)
        self._update = self._step.run_in(mode, [wrap(array) for array in batch])
        if self._objectives is not None:
            self._objectives.append(mode.objective)
            check_objectives(self._step, self._objectives, self._all_marked)
            if len(self._objectives) == 2:
                self._objectives = None
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
