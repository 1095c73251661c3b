"""Engines: what runs the training step, update after update, with the same results.

    eager     training_step builds its graph at every update       learning, debugging, control flow that depends on data
    replay    training_step is captured once for each shape of     everywhere; needs NumPy only
              batch; its program is replayed in memory of its own
    compiled  the same program as loops, compiled by Numba;        long trainings on small batches
              all updates of many epochs are one native call

The first two agree to the bit in double precision, the third to rounding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from math import isfinite
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinygrad_lab.autodiff.tensor import Tensor, wrap
from tinygrad_lab.nn.activations import Activation
from tinygrad_lab.nn.layers import Layer, named_tensors
from tinygrad_lab.nn.losses import Loss
from tinygrad_lab.optim.hooks import GradientHook
from tinygrad_lab.optim.optimizers import State
from tinygrad_lab.optim.penalties import Penalty
from tinygrad_lab.program import BoundProgram, Program, capture
from tinygrad_lab.program.capture import Step
from tinygrad_lab.training.data import aligned_empty

if TYPE_CHECKING:
    from tinygrad_lab.training.trainer import Trainer

DATA = ("x", "y", "sample_weight")  # the inputs that every batch has its own of
PARTS = (Activation, GradientHook, Layer, Loss, Penalty)  # whose Tensors the step reads, however they are put together


class Engine(ABC):
    """Runs updates. Between `load` and `store` the parameters and the optimizer's state are the engine's.

    Attributes
    ----------
    samples_per_run : int
        How many samples one `run` should visit where nothing has to happen between epochs; at least one epoch.
    """

    samples_per_run: ClassVar[int] = 1

    @abstractmethod
    def attach(self, trainer: Trainer) -> None:
        """Serve this Trainer from now on: the first one, or one of the same structure."""

    @abstractmethod
    def load(self) -> None:
        """Take the parameters, the state and the hyper-parameters from the Trainer's objects."""

    @abstractmethod
    def run(self, data: Sequence[np.ndarray], orders: np.ndarray, batch_size: int, rates: Sequence[float]) -> np.ndarray:
        """Make the updates of some epochs.

        Parameters
        ----------
        data : sequence of ndarray
            x, y and perhaps weights, of all samples.
        orders : ndarray of int64, shape (epochs, samples)
            The samples in the order of each epoch.
        batch_size : int
        rates : sequence of float
            The learning rate of each epoch.

        Returns
        -------
        ndarray of float64
            The loss of each batch, epoch after epoch, up to the first that is not finite: its update is not made.
        """

    @abstractmethod
    def evaluate(self, data: Sequence[np.ndarray]) -> float:
        """Return the data loss on x and y with the parameters as the engine has them."""

    @abstractmethod
    def store(self) -> None:
        """Give the parameters and the state back to the Trainer's objects."""


class StepwiseEngine(Engine):
    """An engine that makes one update after the other."""

    @abstractmethod
    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the updates to come."""

    @abstractmethod
    def compute(self, batch: Sequence[np.ndarray]) -> float:
        """Compute the update on a batch, and return its loss."""

    @abstractmethod
    def commit(self) -> None:
        """Make the update that was computed last."""

    def run(  # noqa: D102
        self, data: Sequence[np.ndarray], orders: np.ndarray, batch_size: int, rates: Sequence[float]
    ) -> np.ndarray:
        losses: list[float] = []
        for order, rate in zip(orders, rates, strict=True):
            self.set_rate(rate)
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                losses.append(self.compute([array[rows] for array in data]))
                if not isfinite(losses[-1]):
                    return np.array(losses)
                self.commit()
        return np.array(losses)


class EagerEngine(StepwiseEngine):
    """Runs the step as it stands.

    Parameters
    ----------
    trainer : Trainer
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._update: tuple[list[Tensor], State] = ([], {})

    def attach(self, trainer: Trainer) -> None:  # noqa: D102
        self._trainer = trainer

    def load(self) -> None:  # noqa: D102
        pass

    def set_rate(self, rate: float) -> None:  # noqa: D102
        self._trainer.optimizer.lr.assign(rate)

    def evaluate(self, data: Sequence[np.ndarray]) -> float:  # noqa: D102
        return float(self._trainer.data_loss(*map(wrap, data)))

    def compute(self, batch: Sequence[np.ndarray]) -> float:  # noqa: D102
        loss, *self._update = self._trainer.training_step(*map(wrap, batch))  # type: ignore[assignment]
        return float(loss)

    def commit(self) -> None:  # noqa: D102
        self._trainer.optimizer.commit(*self._update)

    def store(self) -> None:  # noqa: D102
        pass


class ReplayEngine(StepwiseEngine):
    """Captures the step once for each shape of batch, and replays it.

    Parameters
    ----------
    trainer : Trainer
    """

    def __init__(self, trainer: Trainer) -> None:
        self.attach(trainer)
        self.state: dict[str, np.ndarray] = {}
        self._programs: dict[tuple[tuple[int, ...], ...], BoundProgram] = {}
        self._evaluations: dict[tuple[tuple[int, ...], ...], BoundProgram] = {}
        self._latest: BoundProgram | None = None

    def attach(self, trainer: Trainer) -> None:  # noqa: D102
        self._trainer = trainer
        names = {id(tensor): name for name, tensor in trainer.model.named_state().items()}
        self._parameter_names = [names[id(tensor)] for tensor in trainer.optimizer.parameters]
        self.settings = settings_of(trainer)

    @property
    def program(self) -> Program:
        """The program that was replayed last."""
        assert self._latest is not None
        return self._latest.program

    def load(self) -> None:  # noqa: D102
        self.settings = settings_of(self._trainer)  # anew, since a callback may have replaced one
        self._load_settings()
        for name, tensor in self._named_state().items():
            array = self.state.setdefault(name, aligned_empty(tensor.shape, tensor.dtype))
            np.copyto(array, tensor._data)

    def set_rate(self, rate: float) -> None:  # noqa: D102
        self._trainer.optimizer.lr.assign(rate)
        self._load_settings()

    def _load_settings(self) -> None:
        for program in (*self._programs.values(), *self._evaluations.values()):
            program.set_inputs(**{name: tensor._data for name, tensor in self.settings.items() if name in program.inputs})

    def evaluate(self, data: Sequence[np.ndarray]) -> float:  # noqa: D102
        shapes = shapes_of(data)
        if shapes not in self._evaluations:
            tensors = dict(zip(DATA, map(wrap, data), strict=False))

            def step() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
                return {"loss": self._trainer.data_loss(*tensors.values())}, {}

            self._evaluations[shapes] = self._capture(step, tensors).bind(self.state)
        program = self._evaluations[shapes]
        program.set_inputs(**dict(zip(DATA, data, strict=False)))
        return float(program.run()["loss"])

    def compute(self, batch: Sequence[np.ndarray]) -> float:  # noqa: D102
        shapes = shapes_of(batch)
        if shapes not in self._programs:
            self._programs[shapes] = self.capture(batch).bind(self.state)
        self._latest = self._programs[shapes]
        self._latest.set_inputs(**dict(zip(DATA, batch, strict=False)))
        return float(self._latest.run()["loss"])

    def commit(self) -> None:  # noqa: D102
        assert self._latest is not None
        self._latest.commit()

    def store(self) -> None:  # noqa: D102
        optimizer = self._trainer.optimizer
        arrays = iter(self.state.values())
        parameters = [wrap(next(arrays).copy()) for _ in optimizer.parameters]
        state = {name: [wrap(next(arrays).copy()) for _ in entries] for name, entries in optimizer.state.items()}
        optimizer.commit(parameters, state)

    def _named_state(self) -> dict[str, Tensor]:
        """Name the parameters, then the entries of the optimizer's state."""
        optimizer = self._trainer.optimizer
        return self._named(optimizer.parameters, optimizer.state)

    def _named(self, parameters: Sequence[Tensor], state: State) -> dict[str, Tensor]:
        named = dict(zip(self._parameter_names, parameters, strict=True))
        for name, entries in state.items():
            named |= {_unused(f"{name}.{i}", self._parameter_names): tensor for i, tensor in enumerate(entries)}
        return named

    def capture(self, batch: Sequence[np.ndarray]) -> Program:
        """Capture the step for batches of this shape."""
        trainer = self._trainer
        data = dict(zip(DATA, map(wrap, batch), strict=False))

        def step() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
            loss, parameters, state = trainer.training_step(*data.values())
            return {"loss": loss}, self._named(parameters, state)

        return self._capture(step, data)

    def _capture(self, step: Step, data: Mapping[str, Tensor]) -> Program:
        """Capture a step; of the settings, the program has those that it reads.

        The others may be no settings at all, but results that a layer keeps, of other shapes in the next forward pass.
        """
        program = capture(step, {**data, **self.settings}, self._named_state())
        read = {x for line in program.lines for x in line.operands} | {*program.outputs.values(), *program.new_state.values()}
        program.inputs = {name: x for name, x in program.inputs.items() if name in data or x in read}
        return program


def shapes_of(arrays: Sequence[np.ndarray]) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of a batch, for which one program is captured."""
    return tuple(array.shape for array in arrays)


def settings_of(trainer: Trainer) -> dict[str, Tensor]:
    """Name every Tensor that the step may read and does not change: hyper-parameters, and constants of the model's layers."""
    optimizer = trainer.optimizer
    parts = (*optimizer.hooks, trainer.penalty, trainer.loss, trainer.model)
    fields = [{name: x for name, x in vars(optimizer).items() if name != "hooks"}]  # which are owners of their own
    fields += [vars(part) for part in parts if part is not None]
    changing = {id(tensor) for tensor in chain(optimizer.parameters, *optimizer.state.values())}
    settings: dict[str, Tensor] = {}
    for name, tensor in chain.from_iterable(named_tensors(owned, parts=PARTS) for owned in fields):
        if id(tensor) not in changing:
            changing.add(id(tensor))
            settings[_unused(name.lstrip("_"), {*DATA, *settings})] = tensor
    return settings


def _unused(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "'"
    return name
