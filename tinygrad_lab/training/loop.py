"""The loop of a training, over epochs, on an engine.

Training(trainer, data) --make_engine--> Engine
run: for some epochs at a time: orders, learning rates --> engine --> losses --> History --> callbacks
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_lab.autodiff.graph import CaptureError
from tinygrad_lab.training.engines import EagerEngine, Engine, ReplayEngine
from tinygrad_lab.training.walk import describe_step

if TYPE_CHECKING:
    from tinygrad_lab.training.callbacks import Callback
    from tinygrad_lab.training.trainer import Trainer

# What makes compilation worth its time: updates that take a tenth of a millisecond less, so many of them that half a second for
# Numba and for loops from its cache is repaid, of batches so small that loops beat a matrix product.
COMPILE_FROM_UPDATES = 5_000
COMPILE_UP_TO_BATCH = 32


class NonFiniteLossError(ArithmeticError):
    """A loss became nan or infinite.

    Attributes
    ----------
    epoch : int
        The epoch, counted from 1.
    batch : int or None
        The batch of that epoch, counted from 1; None for the validation after it, or for parameters that have overflowed.
    """

    def __init__(self, epoch: int, batch: int | None) -> None:
        super().__init__(epoch, batch)  # the arguments, so that the exception survives pickling
        self.epoch = epoch
        self.batch = batch

    def __str__(self) -> str:
        where = "after the updates" if self.batch is None else f"in batch {self.batch}"
        return f"the loss is not finite {where} of epoch {self.epoch} (counted from 1); try a smaller learning rate or clipping"


class Training:
    """One training of a Trainer: what `fit` does, from checked data on.

    Parameters
    ----------
    trainer : Trainer
        With a history to continue.
    data : sequence of ndarray
        x, y and perhaps weights, checked.
    epochs : int
        Of the whole training.
    held_out : sequence of ndarray, optional
        Data to evaluate after every epoch.
    callbacks : sequence of Callback

    Attributes
    ----------
    until : int
        The epoch after which to stop: the last one, unless the training is to go on later.
    error : NonFiniteLossError or None
        Why it has stopped early, where it is a lane beside others that go on.
    """

    def __init__(
        self,
        trainer: Trainer,
        data: Sequence[np.ndarray],
        epochs: int,
        held_out: Sequence[np.ndarray] | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.trainer = trainer
        self.data = data
        self.epochs = epochs
        self.held_out = held_out
        self.callbacks = callbacks
        self.until = epochs
        self.error: NonFiniteLossError | None = None

    @property
    def samples(self) -> int:
        """The number of samples in an epoch."""
        return len(self.data[0])

    @property
    def batch_size(self) -> int:
        """The number of samples in a batch but the last."""
        return min(self.trainer.batch_size or self.samples, self.samples)

    @property
    def last_batch(self) -> int:
        """The number of samples in the last batch of an epoch."""
        return self.samples - (self.batches - 1) * self.batch_size

    @property
    def examples(self) -> dict[int, list[np.ndarray]]:
        """A batch of each size, by its number of samples."""
        return {size: [array[:size] for array in self.data] for size in (self.batch_size, self.last_batch)}

    @property
    def batches(self) -> int:
        """The number of batches in an epoch."""
        return -(-self.samples // self.batch_size)

    @property
    def epoch(self) -> int:
        """The next epoch to train, counted from 0."""
        return self.trainer.history.epochs

    @property
    def is_active(self) -> bool:
        """Whether there is an epoch to train."""
        return self.error is None and self.epoch < self.until and not self.trainer.history.stop_reason

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch."""
        scheduler = self.trainer.scheduler
        return self.trainer.optimizer.lr.item() if scheduler is None else scheduler(epoch)

    def order(self, epoch: int) -> np.ndarray:
        """Return the samples' numbers in the order of an epoch."""
        if not self.trainer.shuffle:
            return np.arange(self.samples)
        return np.random.default_rng(np.random.SeedSequence([self.trainer.seed, epoch])).permutation(self.samples)

    # Running ---------------------------------------------------------------------------------------------------------

    def run(self, engine: Engine) -> None:
        """Train on an engine that serves the Trainer.

        Raises
        ------
        NonFiniteLossError
        """
        one_by_one = self.callbacks or self.held_out is not None
        at_once = 1 if one_by_one else max(1, engine.samples_per_run // self.samples)
        engine.load()
        try:
            while self.is_active:
                self._run_epochs(engine, min(at_once, self.until - self.epoch))
                if self.callbacks:
                    engine.store()
                    engine = self._call_back(engine)
                    engine.load()
        finally:
            engine.store()
        self.check_parameters()

    def _run_epochs(self, engine: Engine, count: int) -> None:
        """Train for `count` epochs, 1 where something is to be evaluated after each, and record them."""
        epochs = range(self.epoch, self.epoch + count)
        orders = np.stack([self.order(epoch) for epoch in epochs])
        rates = [self.rate(epoch) for epoch in epochs]
        losses = engine.run(self.data, orders, self.batch_size, rates)
        finite = len(losses) if isfinite(losses[-1]) else len(losses) - 1
        finished_epochs = losses[: finite // self.batches * self.batches].reshape(-1, self.batches)
        for finished, rate in zip(finished_epochs, rates, strict=False):
            validation_loss = None if self.held_out is None else engine.evaluate(self.held_out)
            if validation_loss is not None and not isfinite(validation_loss):
                raise NonFiniteLossError(self.epoch + 1, None)
            self.record(finished, rate, validation_loss)
        if finite < len(losses):
            raise NonFiniteLossError(self.epoch + 1, finite % self.batches + 1)

    def record(self, losses: np.ndarray, rate: float, validation_loss: float | None = None) -> None:
        """Add an epoch to the history; its training loss is the mean over its samples of the losses of its batches."""
        values = {"train_loss": (losses[:-1].sum() * self.batch_size + losses[-1] * self.last_batch) / self.samples}
        if validation_loss is not None:
            values["validation_loss"] = validation_loss
        self.trainer.history.append(**values, lr=rate)

    def check_parameters(self) -> None:
        """Raise NonFiniteLossError where the last update has overflowed: there is no next loss to tell."""
        if not all(np.isfinite(parameter._data).all() for parameter in self.trainer.optimizer.parameters):
            raise NonFiniteLossError(self.epoch, None)

    def _call_back(self, engine: Engine) -> Engine:
        """Let the callbacks act, and return the engine to go on with: another one where they have changed the step."""
        trainer, history = self.trainer, self.trainer.history
        may_change = not isinstance(engine, EagerEngine) and not all(callback.only_watches for callback in self.callbacks)
        before = describe_step(trainer) if may_change else None
        for callback in self.callbacks:
            history.stop_reason = history.stop_reason or callback.on_epoch_end(trainer, history) or ""
        for callback in self.callbacks:
            callback.on_epoch_seen(trainer, history)
        if not may_change or not self.is_active or describe_step(trainer) == before:
            return engine
        # A program holds the Python numbers of its capture. What changed once may change after every epoch: do not compile.
        return self.make_engine("replay" if trainer.engine == "auto" else trainer.engine)

    # The engine ------------------------------------------------------------------------------------------------------

    def choose_engine(self) -> str:
        """Return the engine to begin with: the one asked for, or the fastest that is worth its preparation."""
        if self.trainer.engine != "auto":
            return self.trainer.engine
        updates = self.epochs * self.batches
        if updates < COMPILE_FROM_UPDATES or self.batch_size > COMPILE_UP_TO_BATCH:
            return "replay"
        # Imported where it is needed, as the compiled engine is: most programs compile nothing.
        from tinygrad_lab.codegen.native import is_available

        return "compiled" if is_available() else "replay"

    def make_engine(self, chosen: str | None = None) -> Engine:
        """Make the chosen engine, `choose_engine()` by default, or, where that cannot run the step, a simpler one."""
        chosen, asked = chosen or self.choose_engine(), self.trainer.engine != "auto"
        if chosen == "compiled":
            from tinygrad_lab.codegen import NoLoopFormError
            from tinygrad_lab.training.compiled import CompiledEngine

            compiled = CompiledEngine(self.trainer)
            try:
                compiled.load()
                for batch in self.examples.values():
                    compiled.prepare(batch)
                return compiled
            except NoLoopFormError as error:
                if asked:
                    warnings.warn(f"training by replay, since the step cannot be compiled: {error}", stacklevel=3)
            except CaptureError:
                if asked:
                    raise
        if chosen != "eager":
            replay = ReplayEngine(self.trainer)
            try:
                replay.load()
                for batch in self.examples.values():
                    replay.compute(batch)
                return replay
            except CaptureError as error:
                if asked:
                    raise
                warnings.warn(f"training on the eager engine, since the step cannot be replayed: {error}", stacklevel=3)
        return EagerEngine(self.trainer)
