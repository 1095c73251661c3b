"""The compiled engine: the captured step as loops, compiled by Numba, and many updates in one native call."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import isfinite
from typing import ClassVar

import numpy as np

from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.codegen import write_source
from tinygrad_lab.codegen.native import compile_updates, load_module
from tinygrad_lab.program import Program
from tinygrad_lab.program.memory import aligned_empty
from tinygrad_lab.training.captured import DATA, Shapes, shapes_of
from tinygrad_lab.training.engines.engine import Batch, CapturedEngine, Epoch
from tinygrad_lab.training.noise import Drawn, EpochNumbers
from tinygrad_lab.training.step import TrainingStep

MOST_NUMBERS = 1_000_000
"""How many random numbers are drawn at once, unless one epoch needs more."""


class CompiledEngine(CapturedEngine):
    """Writes the captured step as loops, compiles it, and makes all updates of many epochs in one native call.

    Parameters
    ----------
    step : TrainingStep
    """

    name: ClassVar[str] = "compiled"
    samples_per_run: ClassVar[int] = 100_000

    def __init__(self, step: TrainingStep) -> None:
        super().__init__(step)
        self._loops: dict[Shapes, Loops] = {}

    def prepare(self, batches: Iterable[Batch], held_out: Batch | None = None) -> None:
        self.load()
        for batch in batches:
            self._loops_of(batch)
        if held_out is not None:
            self.captured.evaluation(held_out)

    def run(self, data: Batch, epochs: Sequence[Epoch], batch_size: int) -> np.ndarray:
        self.mark()
        losses = self._run(data, epochs, batch_size)
        if not isfinite(losses[-1]):
            # The loops update in place, so the bad update has been made. Make the good ones again, without it.
            self.go_back()
            self._run(data, epochs, batch_size, limit=len(losses) - 1)
        batches = -(-len(epochs[0].order) // batch_size)
        self.captured.set_rate(epochs[(len(losses) - 1) // batches].rate)
        return losses

    def _loops_of(self, batch: Batch) -> Loops:
        """Return the loops for batches of this shape, written and compiled at the first call."""
        shapes = shapes_of(batch)
        if shapes not in self._loops:
            self._loops[shapes] = Loops(self.captured.program(batch), self.captured.state, batch, self.captured.drawn(batch))
        return self._loops[shapes]

    def _run(self, data: Batch, epochs: Sequence[Epoch], batch_size: int, limit: int = sys.maxsize) -> np.ndarray:
        """Make up to `limit` updates, and return their losses, up to the first that is not finite."""
        losses = [np.empty(0)]
        done = 0
        for stretch in chain.from_iterable(_stretches(some, batch_size) for some in self._portions(data, epochs, batch_size)):
            count = min(len(stretch.rates), limit - done)
            if count <= 0:
                break
            batch = [array[: stretch.size] for array in data]
            drawn = {name: stretch.next(x) for name, x in self.captured.drawn(batch).items()}
            loops = self._loops_of(batch)
            samples, rates = stretch.samples[: count * stretch.size], stretch.rates[:count]
            losses.append(loops.run(data, samples, {"lr": rates, **drawn}, self.captured.settings))
            done += count
            if not isfinite(losses[-1][-1]):
                break
        return np.concatenate(losses)

    def _portions(self, data: Batch, epochs: Sequence[Epoch], batch_size: int) -> Iterator[Sequence[Epoch]]:
        """Cut epochs into portions whose random numbers do not take too much memory."""
        drawn = self.captured.drawn([array[:batch_size] for array in data])
        numbers = sum(x.tensor.size for x in drawn.values()) * -(-len(epochs[0].order) // batch_size)
        count = max(1, MOST_NUMBERS // max(1, numbers))
        return (epochs[start : start + count] for start in range(0, len(epochs), count))


@dataclass(frozen=True)
class Stretch:
    """Successive batches of one size.

    Attributes
    ----------
    samples : ndarray of int64
        The samples of the batches, one batch after the other.
    size : int
    rates : ndarray of float64
        The learning rate of each update.
    numbers : list of EpochNumbers
        The random numbers of the epochs that the batches belong to.
    """

    samples: np.ndarray
    size: int
    rates: np.ndarray
    numbers: list[EpochNumbers]

    def next(self, drawn: Drawn) -> np.ndarray:
        """Return the numbers of all batches, one batch after the other."""
        batches_per_epoch = len(self.rates) // len(self.numbers)
        return np.concatenate([drawn.next(numbers, batches_per_epoch) for numbers in self.numbers])


def _stretches(epochs: Sequence[Epoch], batch_size: int) -> Iterator[Stretch]:
    """Cut epochs into stretches."""
    samples = len(epochs[0].order)
    whole = samples // batch_size * batch_size
    if whole == samples:
        rates = np.repeat([epoch.rate for epoch in epochs], samples // batch_size)
        order = np.concatenate([epoch.order for epoch in epochs])
        yield Stretch(order, batch_size, rates, [epoch.numbers() for epoch in epochs])
        return
    for epoch in epochs:
        numbers = [epoch.numbers()]
        yield Stretch(epoch.order[:whole], batch_size, np.full(whole // batch_size, epoch.rate), numbers)
        yield Stretch(epoch.order[whole:], samples - whole, np.full(1, epoch.rate), numbers)


class Loops:
    """The compiled loops of a program, with their memory.

    Parameters
    ----------
    program : Program
    state : mapping of str to ndarray
        The memory of the state.
    batch : sequence of ndarray
        A batch: the loops are compiled for arrays of its dtypes.
    drawn : collection of str
        The inputs that are random numbers.

    Raises
    ------
    NoLoopFormError
        If the program has no loop form, or the compiler refuses it; the message names the line.
    ImportError
        If Numba is not installed.
    """

    def __init__(self, program: Program, state: Mapping[str, np.ndarray], batch: Batch, drawn: Collection[str]) -> None:
        source = write_source(program, DATA, drawn)
        module = load_module(source.text)
        names = {x: name for name, x in (*program.inputs.items(), *program.state.items())}
        self._updates = module.updates
        self._per_update = [names[x] for x in source.per_update]
        self._arrays = [
            state[names[x]] if x.kind == "state"
            else x.array if x.kind == "constant"
            else aligned_empty(x.array.shape, x.array.dtype)
            for x in source.arrays
        ]  # fmt: skip
        self._constants = [
            (names[x], array)
            for x, array in zip(source.arrays, self._arrays, strict=True)
            if x.kind == "input" and x not in source.samples
        ]
        # Compile for empty arrays: only dtype, number of axes and layout matter.
        per_update = [np.empty((0,) * (x.array.ndim + 1), x.array.dtype) for x in source.per_update]
        compile_updates(module, source, *batch, np.empty(0, np.int64), np.empty(0), *per_update, *self._arrays)
        self._updates_per_call = 1  # grows until a call takes some tenths of a second

    def run(
        self, data: Batch, samples: np.ndarray, varying: Mapping[str, np.ndarray], settings: Mapping[str, Tensor]
    ) -> np.ndarray:
        """Make updates, up to the first whose loss is not finite.

        Parameters
        ----------
        data : sequence of ndarray
            x, y and perhaps weights, of all samples.
        samples : ndarray of int64
            The samples of the batches, one batch after the other.
        varying : mapping of str to ndarray
            The inputs that differ from update to update, the learning rate ``lr`` among them. Each array has one entry per
            update along its first axis.
        settings : mapping of str to Tensor
            All other inputs but the samples.

        Returns
        -------
        ndarray
            The losses of these updates.
        """
        for name, array in self._constants:
            np.copyto(array, settings[name]._array)
        losses = np.empty(len(varying["lr"]))
        size = len(samples) // len(losses)
        done = 0
        while done < len(losses):
            part = slice(done, done + self._updates_per_call)
            count = len(losses[part])
            start = time.perf_counter()
            numbers = [
                varying[name][part] if name in varying else np.full(count, settings[name]._array) for name in self._per_update
            ]
            made = self._updates(*data, samples[done * size : (done + count) * size], losses[part], *numbers, *self._arrays)
            if made < count or not isfinite(losses[done + made - 1]):
                return losses[: done + made]
            done += count
            # Ctrl-C waits for the end of a native call, so keep each call short. Its length has no other effect.
            seconds = time.perf_counter() - start
            if count == self._updates_per_call:  # a shorter call says nothing about a full one
                if seconds < 0.1:
                    self._updates_per_call *= 2
                elif seconds > 0.4:
                    self._updates_per_call = max(1, self._updates_per_call // 2)
        return losses
