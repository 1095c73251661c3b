"""Engines: what runs the training step, update after update, with the same results.

    eager     training_step builds its graph at every update       learning, debugging, control flow that depends on data
    replay    training_step is captured once for each shape of     everything else
              batch; its program is replayed in memory of its own

Both agree to the bit in double precision.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_lab.layers import Layer
from tinygrad_lab.optimizers import State
from tinygrad_lab.program import BoundProgram, Program, capture
from tinygrad_lab.tensor import Tensor, wrap

if TYPE_CHECKING:
    from tinygrad_lab.training.trainer import Trainer


DATA = ("x", "y", "sample_weight")


class Engine(ABC):
    """Runs updates. Between `load` and `store` the parameters and the optimizer's state are the engine's."""

    @abstractmethod
    def load(self) -> None:
        """Take the parameters, the state and the hyper-parameters from the Trainer's objects."""

    @abstractmethod
    def compute(self, batch: Sequence[np.ndarray]) -> float:
        """Compute an update on a batch (x, y and perhaps weights), and return its loss."""

    @abstractmethod
    def commit(self) -> None:
        """Make the update that was computed last."""

    @abstractmethod
    def store(self) -> None:
        """Give the parameters and the state back to the Trainer's objects."""


class EagerEngine(Engine):
    """Runs the step as it stands.

    Parameters
    ----------
    trainer : Trainer
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._update: tuple[list[Tensor], State] = ([], {})

    def load(self) -> None:  # noqa: D102
        pass

    def compute(self, batch: Sequence[np.ndarray]) -> float:  # noqa: D102
        loss, *self._update = self._trainer.training_step(*map(wrap, batch))  # type: ignore[assignment]
        return float(loss)

    def commit(self) -> None:  # noqa: D102
        self._trainer.optimizer.commit(*self._update)

    def store(self) -> None:  # noqa: D102
        pass


class ReplayEngine(Engine):
    """Captures the step once for each shape of batch, and replays it.

    Parameters
    ----------
    trainer : Trainer
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        names = {id(tensor): name for name, tensor in trainer.model.named_parameters()}
        self._parameter_names = [names[id(tensor)] for tensor in trainer.optimizer.parameters]
        self._state: dict[str, np.ndarray] = {}
        self._settings: dict[str, Tensor] = {}
        self._programs: dict[tuple[tuple[int, ...], ...], BoundProgram] = {}
        self._latest: BoundProgram | None = None

    @property
    def program(self) -> Program:
        """The program that was replayed last."""
        assert self._latest is not None
        return self._latest.program

    def load(self) -> None:  # noqa: D102
        self._settings = _settings(self._trainer)
        for name, tensor in self._named_state().items():
            array = self._state.setdefault(name, np.empty_like(tensor._data, order="C"))
            np.copyto(array, tensor._data)
        for program in self._programs.values():
            program.set_inputs(**{name: tensor._data for name, tensor in self._settings.items()})

    def compute(self, batch: Sequence[np.ndarray]) -> float:  # noqa: D102
        shapes = tuple(array.shape for array in batch)
        if shapes not in self._programs:
            self._programs[shapes] = self._capture(batch)
        self._latest = self._programs[shapes]
        self._latest.set_inputs(**dict(zip(DATA, batch, strict=False)))
        return float(self._latest.run()["loss"])

    def commit(self) -> None:  # noqa: D102
        assert self._latest is not None
        self._latest.commit()

    def store(self) -> None:  # noqa: D102
        optimizer = self._trainer.optimizer
        arrays = iter(self._state.values())
        parameters = [wrap(next(arrays).copy()) for _ in optimizer.parameters]
        state = {name: [wrap(next(arrays).copy()) for _ in entries] for name, entries in optimizer.state.items()}
        optimizer.commit(parameters, state)

    def _named_state(self) -> dict[str, Tensor]:
        """Name the parameters, then the entries of the optimizer's state."""
        optimizer = self._trainer.optimizer
        return dict(zip(self._parameter_names, optimizer.parameters, strict=True)) | _named_entries(optimizer.state)

    def _capture(self, batch: Sequence[np.ndarray]) -> BoundProgram:
        trainer = self._trainer
        data = dict(zip(DATA, map(wrap, batch), strict=False))

        def step() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
            loss, parameters, state = trainer.training_step(*data.values())
            return {"loss": loss}, dict(zip(self._parameter_names, parameters, strict=True)) | _named_entries(state)

        program = capture(step, data | self._settings, self._named_state())
        return program.bind(self._state)


def _named_entries(state: State) -> dict[str, Tensor]:
    return {f"{name}.{i}": tensor for name, entries in state.items() for i, tensor in enumerate(entries)}


def _settings(trainer: Trainer) -> dict[str, Tensor]:
    """Name every Tensor that the step reads and does not change: hyper-parameters, and constants of the model's layers."""
    optimizer = trainer.optimizer
    changing = {id(tensor) for tensor in chain(optimizer.parameters, *optimizer.state.values())}
    settings: dict[str, Tensor] = {}
    for owner in (optimizer, *optimizer.hooks, trainer.penalty, trainer.loss, trainer.model):
        for name, tensor in _named_tensors(vars(owner), "") if owner is not None else ():
            if id(tensor) not in changing:
                changing.add(id(tensor))
                settings[_unused(name, settings)] = tensor
    return settings


def _unused(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken:
        name += "'"
    return name


def _named_tensors(fields: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Tensor]]:
    """Walk the Tensors among the fields of an object, in lists, dicts and layers too."""
    for key, value in fields.items():
        name = f"{prefix}{key}"
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, (list, tuple)):
            yield from _named_tensors(dict(enumerate(value)), f"{name}.")
        elif isinstance(value, dict):
            yield from _named_tensors(value, f"{name}.")
        elif isinstance(value, Layer):
            yield from _named_tensors(vars(value), f"{name}.")
