"""Engines: what runs the training step, update after update, with the same results.

    eager     training_step builds its graph at every update       learning, debugging, control flow that depends on data
    replay    training_step is captured once for each shape of     everywhere; needs NumPy only
              batch; its program is replayed in memory of its own
    compiled  the same program as loops, compiled by Numba;        long trainings on small batches
              a whole epoch is one native call

The first two agree to the bit in double precision, the third to rounding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_lab.codegen import DATA, write_source
from tinygrad_lab.layers import Layer
from tinygrad_lab.native import aligned_empty, load_module
from tinygrad_lab.optimizers import State
from tinygrad_lab.program import BoundProgram, Program, capture
from tinygrad_lab.tensor import Tensor, wrap

if TYPE_CHECKING:
    from tinygrad_lab.training.trainer import Trainer


class Engine(ABC):
    """Runs updates. Between `load` and `store` the parameters and the optimizer's state are the engine's."""

    @abstractmethod
    def load(self) -> None:
        """Take the parameters, the state and the hyper-parameters from the Trainer's objects."""

    @abstractmethod
    def run(self, data: Sequence[np.ndarray], batch_size: int) -> list[float]:
        """Make the updates of an epoch.

        Parameters
        ----------
        data : sequence of ndarray
            x, y and perhaps weights, of all samples in their order.
        batch_size : int

        Returns
        -------
        list of float
            The loss of each batch, up to the first that is not finite: its update is not made.
        """

    @abstractmethod
    def load_settings(self) -> None:
        """Take the hyper-parameters only, such as the learning rate of a new epoch."""

    @abstractmethod
    def evaluate(self, data: Sequence[np.ndarray]) -> float:
        """Return the data loss on x and y with the parameters as the engine has them."""

    @abstractmethod
    def store(self) -> None:
        """Give the parameters and the state back to the Trainer's objects."""


class StepwiseEngine(Engine):
    """An engine that makes one update after the other."""

    @abstractmethod
    def compute(self, batch: Sequence[np.ndarray]) -> float:
        """Compute the update on a batch, and return its loss."""

    @abstractmethod
    def commit(self) -> None:
        """Make the update that was computed last."""

    def run(self, data: Sequence[np.ndarray], batch_size: int) -> list[float]:  # noqa: D102
        losses = []
        for start in range(0, len(data[0]), batch_size):
            losses.append(self.compute([array[start : start + batch_size] for array in data]))
            if not isfinite(losses[-1]):
                break
            self.commit()
        return losses


class EagerEngine(StepwiseEngine):
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

    def load_settings(self) -> None:  # noqa: D102
        pass

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
        self._trainer = trainer
        names = {id(tensor): name for name, tensor in trainer.model.named_parameters()}
        self._parameter_names = [names[id(tensor)] for tensor in trainer.optimizer.parameters]
        self.state: dict[str, np.ndarray] = {}
        self.settings: dict[str, Tensor] = {}
        self._programs: dict[tuple[tuple[int, ...], ...], BoundProgram] = {}
        self._evaluations: dict[tuple[tuple[int, ...], ...], BoundProgram] = {}
        self._latest: BoundProgram | None = None

    @property
    def program(self) -> Program:
        """The program that was replayed last."""
        assert self._latest is not None
        return self._latest.program

    def load(self) -> None:  # noqa: D102
        self.settings = _settings(self._trainer)
        self.load_settings()
        for name, tensor in self._named_state().items():
            array = self.state.setdefault(name, aligned_empty(tensor.shape, tensor.dtype))
            np.copyto(array, tensor._data)

    def load_settings(self) -> None:  # noqa: D102
        for program in (*self._programs.values(), *self._evaluations.values()):
            program.set_inputs(**{name: tensor._data for name, tensor in self.settings.items()})

    def evaluate(self, data: Sequence[np.ndarray]) -> float:  # noqa: D102
        shapes = _shapes(data)
        if shapes not in self._evaluations:
            tensors = dict(zip(DATA, map(wrap, data), strict=False))

            def step() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
                return {"loss": self._trainer.data_loss(*tensors.values())}, {}

            self._evaluations[shapes] = capture(step, tensors | self.settings, self._named_state()).bind(self.state)
        program = self._evaluations[shapes]
        program.set_inputs(**dict(zip(DATA, data, strict=False)))
        return float(program.run()["loss"])

    def compute(self, batch: Sequence[np.ndarray]) -> float:  # noqa: D102
        shapes = _shapes(batch)
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
        return dict(zip(self._parameter_names, optimizer.parameters, strict=True)) | _named_entries(optimizer.state)

    def capture(self, batch: Sequence[np.ndarray]) -> Program:
        """Capture the step for batches of this shape."""
        trainer = self._trainer
        data = dict(zip(DATA, map(wrap, batch), strict=False))

        def step() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
            loss, parameters, state = trainer.training_step(*data.values())
            return {"loss": loss}, dict(zip(self._parameter_names, parameters, strict=True)) | _named_entries(state)

        return capture(step, data | self.settings, self._named_state())


class CompiledEngine(Engine):
    """Writes the captured step as loops, compiles it, and makes all updates of an epoch in one call.

    Parameters
    ----------
    trainer : Trainer
    """

    def __init__(self, trainer: Trainer) -> None:
        self._replay = ReplayEngine(trainer)
        self._settings: dict[str, np.ndarray] = {}
        self._epochs: dict[tuple[tuple[int, ...], ...], tuple[Callable[..., int], list[np.ndarray]]] = {}

    def load(self) -> None:  # noqa: D102
        self._replay.load()
        self.load_settings()

    def load_settings(self) -> None:  # noqa: D102
        self._replay.load_settings()
        for name, tensor in self._replay.settings.items():
            np.copyto(self._settings.setdefault(name, np.empty_like(tensor._data)), tensor._data)

    def evaluate(self, data: Sequence[np.ndarray]) -> float:  # noqa: D102
        return self._replay.evaluate(data)

    def store(self) -> None:  # noqa: D102
        self._replay.store()

    def run(self, data: Sequence[np.ndarray], batch_size: int) -> list[float]:  # noqa: D102
        before = [array.copy() for array in self._replay.state.values()]
        whole = len(data[0]) // batch_size * batch_size
        losses = np.empty(-(-len(data[0]) // batch_size))
        for start, stop, size in ((0, whole, batch_size), (whole, len(data[0]), len(data[0]) - whole)):
            if start < stop:
                self._run_equal(
                    [array[start:stop] for array in data], size, losses[start // batch_size :][: (stop - start) // size]
                )
        if np.isfinite(losses).all():
            return losses.tolist()
        # The loops update in place and have gone too far. Replay stops before the update that went wrong.
        for array, old in zip(self._replay.state.values(), before, strict=True):
            np.copyto(array, old)
        return self._replay.run(data, batch_size)

    def prepare(self, batch: Sequence[np.ndarray]) -> None:
        """Compile the loops for batches of this shape, unless that is done.

        Raises
        ------
        CaptureError, NoLoopFormError, ImportError
            Where the step cannot be captured or written as loops, or Numba is not installed.
        """
        shapes = _shapes(batch)
        if shapes not in self._epochs:
            program = self._replay.capture(batch)
            source, batched, arguments = write_source(program)
            memory = {value: self._replay.state[name] for name, value in program.state.items()}
            memory |= {value: self._settings[name] for name, value in program.inputs.items() if name in self._settings}
            arrays = [
                memory.get(x, x.array if x.kind == "constant" else aligned_empty(x.array.shape, x.array.dtype))
                for name, x in arguments.items()
                if name not in batched
            ]
            self._epochs[shapes] = load_module(source).epoch, arrays

    def _run_equal(self, data: Sequence[np.ndarray], size: int, losses: np.ndarray) -> None:
        batch = [array[:size] for array in data]
        self.prepare(batch)
        epoch, arrays = self._epochs[_shapes(batch)]
        losses[epoch(*data, size, losses, *arrays) :] = np.nan


def _shapes(arrays: Sequence[np.ndarray]) -> tuple[tuple[int, ...], ...]:
    return tuple(array.shape for array in arrays)


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
                settings[_unused(name.lstrip("_"), {*DATA, *settings})] = tensor
    return settings


def _unused(name: str, taken: Collection[str]) -> str:
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
