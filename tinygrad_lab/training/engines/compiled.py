"""The compiled engine: the captured step as loops, compiled by Numba, and many updates in one native call."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import ClassVar

import numpy as np

from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.codegen import write_source
from tinygrad_lab.codegen.native import compile_updates, load_module
from tinygrad_lab.program import Program
from tinygrad_lab.program.memory import aligned_empty
from tinygrad_lab.training.captured import DATA, Shapes, shapes_of
from tinygrad_lab.training.engines.engine import Batch, CapturedEngine
from tinygrad_lab.training.step import TrainingStep


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

    def prepare(self, batches: Iterable[Batch]) -> None:
        self.load()
        for batch in batches:
            self._loops_of(batch)

    def run(self, data: Batch, orders: np.ndarray, batch_size: int, rates: Sequence[float]) -> np.ndarray:
        before = [array.copy() for array in self.captured.state.values()]
        try:
            losses = self._run(data, orders, batch_size, rates)
        except BaseException:  # Ctrl-C: go back to the last epoch in the history
            self.captured.restore(before)
            raise
        if not isfinite(losses[-1]):
            # The loops update in place, so the bad update has been made. Make the good ones again, without it.
            self.captured.restore(before)
            self._run(data, orders, batch_size, rates, limit=len(losses) - 1)
        batches = -(-orders.shape[1] // batch_size)
        self.captured.set_rate(rates[(len(losses) - 1) // batches])
        return losses

    def _loops_of(self, batch: Batch) -> Loops:
        """Return the loops for batches of this shape, written and compiled at the first call."""
        shapes = shapes_of(batch)
        if shapes not in self._loops:
            self._loops[shapes] = Loops(self.captured.program(batch), self.captured.state, batch)
        return self._loops[shapes]

    def _run(
        self,
        data: Batch,
        orders: np.ndarray,
        batch_size: int,
        rates: Sequence[float],
        limit: int = sys.maxsize,
    ) -> np.ndarray:
        """Make up to `limit` updates, and return their losses, up to the first that is not finite."""
        losses = [np.empty(0)]
        done = 0
        for samples, size, rates_of_updates in _equal_batches(orders, batch_size, rates):
            count = min(len(rates_of_updates), limit - done)
            if count <= 0:
                break
            loops = self._loops_of([array[:size] for array in data])
            losses.append(loops.run(data, samples[: count * size], rates_of_updates[:count], self.captured.settings))
            done += count
            if not isfinite(losses[-1][-1]):
                break
        return np.concatenate(losses)


def _equal_batches(orders: np.ndarray, batch_size: int, rates: Sequence[float]) -> Iterator[tuple[np.ndarray, int, np.ndarray]]:
    """Cut epochs into stretches of batches of one size: their samples, the size, and the learning rate of each update."""
    samples = orders.shape[1]
    whole = samples // batch_size * batch_size
    if whole == samples:
        yield orders.ravel(), batch_size, np.repeat(rates, samples // batch_size)
        return
    for order, rate in zip(orders, rates, strict=True):
        yield order[:whole], batch_size, np.full(whole // batch_size, rate)
        yield order[whole:], samples - whole, np.full(1, rate)


class Loops:
    """The compiled loops of a program, with their memory.

    Parameters
    ----------
    program : Program
    state : mapping of str to ndarray
        The memory of the state.
    batch : sequence of ndarray
        A batch: the loops are compiled for arrays of its dtypes.

    Raises
    ------
    NoLoopFormError
        If the program has no loop form, or the compiler refuses it; the message names the line.
    ImportError
        If Numba is not installed.
    """

    def __init__(self, program: Program, state: Mapping[str, np.ndarray], batch: Batch) -> None:
        source = write_source(program, DATA)
        module = load_module(source.text)
        names = {x: name for name, x in (*program.inputs.items(), *program.state.items())}
        self._updates = module.updates
        self._settings = [names[x] for x in source.settings]
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
        settings = [np.empty(0, x.array.dtype) for x in source.settings]
        compile_updates(module, source, *batch, np.empty(0, np.int64), np.empty(0), *settings, *self._arrays)
        self._updates_per_call = 1  # grows until a call takes some tenths of a second

    def run(self, data: Batch, samples: np.ndarray, rates: np.ndarray, settings: Mapping[str, Tensor]) -> np.ndarray:
        """Make an update for each of `rates`, up to the first whose loss is not finite.

        Parameters
        ----------
        data : sequence of ndarray
            x, y and perhaps weights, of all samples.
        samples : ndarray of int64
            The samples of the batches, one batch after the other.
        rates : ndarray of float64
            The learning rate of each update.
        settings : mapping of str to Tensor

        Returns
        -------
        ndarray
            The losses of these updates.
        """
        for name, array in self._constants:
            np.copyto(array, settings[name]._array)
        losses = np.empty(len(rates))
        size = len(samples) // len(rates)
        done = 0
        while done < len(rates):
            part = slice(done, done + self._updates_per_call)
            count = len(losses[part])
            start = time.perf_counter()
            numbers = [rates[part] if name == "lr" else np.full(count, settings[name]._array) for name in self._settings]
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
