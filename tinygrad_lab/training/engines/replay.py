"""The replay engine: the captured program, as NumPy calls into preallocated memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from tinygrad_lab.program import BoundProgram
from tinygrad_lab.training.engines.engine import Batch, CapturedEngine, StepwiseEngine
from tinygrad_lab.training.noise import EpochNumbers
from tinygrad_lab.training.step import TrainingStep


class ReplayEngine(CapturedEngine, StepwiseEngine):
    """Captures the step once for each shape of batch, and replays it.

    Parameters
    ----------
    step : TrainingStep
    """

    name: ClassVar[str] = "replay"

    def __init__(self, step: TrainingStep) -> None:
        super().__init__(step)
        self._latest: BoundProgram | None = None

    def prepare(self, batches: Iterable[Batch], held_out: Batch | None = None) -> None:
        self.load()
        for batch in batches:
            self.captured.update(batch)
        if held_out is not None:
            self.captured.evaluation(held_out)

    def set_rate(self, rate: float) -> None:
        self.captured.set_rate(rate)

    def compute(self, batch: Batch, numbers: EpochNumbers) -> float:
        self._latest = self.captured.update(batch, numbers)
        return float(self._latest.run()["loss"])

    def commit(self) -> None:
        assert self._latest is not None
        self._latest.commit()
