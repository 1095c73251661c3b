"""The compiled engine: the captured step as loops, compiled by Numba, and many updates in one native call."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.codegen import write_source
from tinygrad_lab.codegen.native import load_module
from tinygrad_lab.program import Program
from tinygrad_lab.training.data import aligned_empty
from tinygrad_lab.training.engines import DATA, Engine, ReplayEngine, shapes_of

if TYPE_CHECKING:
    from tinygrad_lab.training.trainer import Trainer


class CompiledEngine(Engine):
    """Writes the captured step as loops, compiles it, and makes all updates of many epochs in one native call.

    Parameters
    ----------
    trainer : Trainer
    """

    samples_per_run: ClassVar[int] = 100_000

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._replay = ReplayEngine(trainer)
        self._loops: dict[tuple[tuple[int, ...], ...], Loops] = {}

    def attach(self, trainer: Trainer) -> None:  # noqa: D102
        self._trainer = trainer
        self._replay.attach(trainer)

    def load(self) -> None:  # noqa: D102
        self._replay.load()

    def evaluate(self, data: Sequence[np.ndarray]) -> float:  # noqa: D102
        return self._replay.evaluate(data)

    def store(self) -> None:  # noqa: D102
        self._replay.store()

    def prepare(self, batch: Sequence[np.ndarray]) -> Loops:
        """Return the loops for batches of this shape, written and imported at the first call.

        Raises
        ------
        CaptureError, NoLoopFormError, ImportError
            Where the step cannot be captured or written as loops, or Numba is not installed.
        """
        shapes = shapes_of(batch)
        if shapes not in self._loops:
            self._loops[shapes] = Loops(self._replay.capture(batch), self._replay.state)
        return self._loops[shapes]

    def run(  # noqa: D102
        self, data: Sequence[np.ndarray], orders: np.ndarray, batch_size: int, rates: Sequence[float]
    ) -> np.ndarray:
        before = [array.copy() for array in self._replay.state.values()]
        try:
            losses = self._run(data, orders, batch_size, rates)
        except BaseException:  # a Ctrl-C: back to where the history ends
            self._restore(before)
            raise
        if not isfinite(losses[-1]):
            # The loops update in place: the update that went wrong is made. So all others are made anew, without it.
            self._restore(before)
            self._run(data, orders, batch_size, rates, limit=len(losses) - 1)
        batches = -(-orders.shape[1] // batch_size)
        self._trainer.optimizer.lr.assign(rates[(len(losses) - 1) // batches])
        return losses

    def _restore(self, state: Sequence[np.ndarray]) -> None:
        for array, old in zip(self._replay.state.values(), state, strict=True):
            np.copyto(array, old)

    def _run(
        self,
        data: Sequence[np.ndarray],
        orders: np.ndarray,
        batch_size: int,
        rates: Sequence[float],
        limit: int = sys.maxsize,
    ) -> np.ndarray:
        """Make up to `limit` updates, and return their losses, up to the first that is not finite."""
        losses = [np.empty(0)]
        done = 0
        for rows, size, rates_of_updates in _equal_batches(orders, batch_size, rates):
            count = min(len(rates_of_updates), limit - done)
            if count <= 0:
                break
            loops = self.prepare([array[:size] for array in data])
            losses.append(loops.run(data, rows[: count * size], rates_of_updates[:count], self._replay.settings))
            done += count
            if not isfinite(losses[-1][-1]):
                break
        return np.concatenate(losses)


def _equal_batches(orders: np.ndarray, batch_size: int, rates: Sequence[float]) -> Iterator[tuple[np.ndarray, int, np.ndarray]]:
    """Cut epochs into stretches of batches of one size: samples, size and the learning rate of each update."""
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
        Where the state is.
    """

    def __init__(self, program: Program, state: Mapping[str, np.ndarray]) -> None:
        source = write_source(program, DATA)
        names = {x: name for name, x in (*program.inputs.items(), *program.state.items())}
        self._updates = load_module(source.text).updates
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
        self._calls = 1  # updates in a native call, as many as take some tenths of a second

    def run(
        self, data: Sequence[np.ndarray], rows: np.ndarray, rates: np.ndarray, settings: Mapping[str, Tensor]
    ) -> np.ndarray:
        """Make an update for each of `rates`, with equal shares of `rows`, up to the first whose loss is not finite.

        Returns
        -------
        ndarray
            The losses of these updates.
        """
        for name, array in self._constants:
            np.copyto(array, settings[name]._data)
        losses = np.empty(len(rates))
        size = len(rows) // len(rates)
        done = 0
        while done < len(rates):
            part = slice(done, done + self._calls)
            count = len(losses[part])
            start = time.perf_counter()
            numbers = [rates[part] if name == "lr" else np.full(count, settings[name]._data) for name in self._settings]
            made = self._updates(*data, rows[done * size : (done + count) * size], losses[part], *numbers, *self._arrays)
            if made < count or not isfinite(losses[done + made - 1]):
                return losses[: done + made]
            done += count
            # A Ctrl-C waits for the end of a native call. Its length decides nothing else.
            seconds = time.perf_counter() - start
            if count == self._calls:  # else it tells nothing of a longer one
                self._calls = max(1, self._calls * 2 if seconds < 0.1 else self._calls // 2 if seconds > 0.4 else self._calls)
        return losses
