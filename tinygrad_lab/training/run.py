"""One run of a Trainer: its data, history, callbacks and engine, from checked data to the last epoch.

Run.train: engine --> some epochs: orders, learning rates --> losses --> History --> callbacks --> next epochs, or stop
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from math import isfinite
from typing import Any, ClassVar

import numpy as np

from tinygrad_lab.checks import is_positive_integer
from tinygrad_lab.returned import describe
from tinygrad_lab.seeds import ORDER, stream
from tinygrad_lab.training.engines.choice import first_engine, make_engine
from tinygrad_lab.training.engines.eager import EagerEngine
from tinygrad_lab.training.engines.engine import Batch, Engine, Epoch
from tinygrad_lab.training.history import History
from tinygrad_lab.training.setup import Setup
from tinygrad_lab.training.snapshots.users_code import is_of_this_package
from tinygrad_lab.training.step import TrainingStep
from tinygrad_lab.training.structure import describe_step, scheduler_acts


class NonFiniteLossError(ArithmeticError):
    """A loss became nan or infinite, or a parameter, a buffer or the optimizer's state did.

    Attributes
    ----------
    epoch : int
        The epoch, counted from 1.
    batch : int or None
        The batch of that epoch, counted from 1; None for the validation after it, or for what is found after the last epoch.
    name : str
        What is not finite: "the loss", or the name of an array.

    Examples
    --------
    >>> import tinygrad_lab as tl
    >>> net = tl.Linear(1, 1, rng=np.random.default_rng(0))
    >>> trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=1e9), epochs=200)
    >>> trainer.fit([1.0, 2.0], [2.0, 4.0])
    Traceback (most recent call last):
    tinygrad_lab.training.run.NonFiniteLossError: the loss is not finite in batch 1 of epoch ...
    """

    def __init__(self, epoch: int, batch: int | None, name: str = "the loss") -> None:
        super().__init__(epoch, batch, name)  # the arguments, so that the exception survives pickling
        self.epoch = epoch
        self.batch = batch
        self.name = name

    def __str__(self) -> str:
        where = "after the updates" if self.batch is None else f"in batch {self.batch}"
        return (
            f"{self.name} is not finite {where} of epoch {self.epoch} (counted from 1); try a smaller learning rate or clipping"
        )


class Callback:
    """An object that a run calls at certain moments; this one does nothing, and subclasses override what they need.

    What a callback changes in the Trainer or its parts takes effect from the next epoch on. A training that is resumed must
    have the callbacks that it had, with equal `settings`, except for those that only watch.

    Attributes
    ----------
    only_watches : bool, of the class
        Whether the training would be the same without it. If so, it has no state to resume.

    Examples
    --------
    >>> class StopBelow(Callback):
    ...     def __init__(self, loss):
    ...         self.loss = loss
    ...     def on_epoch_end(self, run):
    ...         return "good enough" if run.history.last("train_loss") < self.loss else ""
    """

    only_watches: ClassVar[bool] = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.settings().items())})"

    def on_fit_start(self, run: Run) -> None:
        """Prepare for a run of ``run.epochs`` epochs. If it is resumed, ``run.history`` already has some of them."""

    def on_epoch_end(self, run: Run) -> str:  # noqa: ARG002
        """Look at a finished epoch; return a reason to stop, or an empty string."""
        return ""

    def on_epoch_seen(self, run: Run) -> None:
        """Act once every callback has looked at the epoch."""

    def on_fit_end(self, run: Run) -> None:
        """Clean up, also after an error."""

    def settings(self) -> dict[str, Any]:
        """Return the parameters by name, as they were before the training. In a resumed training they must be equal."""
        return {}

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return what a resumed training needs, as arrays by name."""
        return {}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `state_dict` returned."""

    def on_state_loaded(self, run: Run) -> None:
        """Raise a ValueError if the state that was just restored does not fit the run, whose checkpoint is then refused."""


class Run:
    """One run of a Trainer: what `fit` does, from checked data on.

    Parameters
    ----------
    trainer : TrainingStep
        The Trainer whose parts are trained.
    data : sequence of ndarray
        x, y and perhaps weights, checked.
    epochs : int
        The number of epochs of the whole training.
    held_out : sequence of ndarray, optional
        Data to evaluate after every epoch.
    callbacks : sequence of Callback
    until : int, optional
        The epoch after which to stop, so that the training can go on later. By default the last one.

    Attributes
    ----------
    history : History
        What was recorded so far: empty at first, unless a checkpoint was loaded.
    error : NonFiniteLossError or None
        Why the run ended early, if it is a lane. `train` raises this error instead.
    checkpoint_obstacle : str
        Why no checkpoint can be made; empty if one can.

    Examples
    --------
    >>> import tinygrad_lab as tl
    >>> class Watch(tl.Callback):
    ...     def on_epoch_end(self, run):
    ...         print(run.history.epochs, "of", run.epochs)
    ...         return ""
    >>> net = tl.Linear(1, 1, rng=np.random.default_rng(0))
    >>> trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1), epochs=2)
    >>> history = trainer.fit([1.0, 2.0], [2.0, 4.0], callbacks=[Watch()])
    1 of 2
    2 of 2
    """

    def __init__(
        self,
        trainer: TrainingStep,
        data: Batch,
        epochs: int,
        held_out: Batch | None = None,
        callbacks: Sequence[Callback] = (),
        until: int | None = None,
    ) -> None:
        self.trainer = trainer
        self.data = data
        self.epochs = epochs
        self.held_out = held_out
        self.callbacks = callbacks
        self.until = epochs if until is None else min(until, epochs)
        self.history = History()
        self.error: NonFiniteLossError | None = None
        self.checkpoint_obstacle = ""
        self._setup: Setup | None = None
        self._buffers = trainer.model.named_buffers()
        self._first_state = self._state()
        self._description: Hashable = None

    @property
    def setup(self) -> Setup:
        """The Trainer as it was when the run began.

        It takes as long to make as a short training. So it is made at the first use, unless something may change the parts:
        a callback, a scheduler, or the user's code on the eager engine.
        """
        if self._setup is None:
            self._setup = Setup(self.trainer)
        return self._setup

    # Sizes -----------------------------------------------------------------------------------------------------------

    @property
    def samples(self) -> int:
        """The number of samples in an epoch."""
        return len(self.data[0])

    @property
    def batch_size(self) -> int:
        """The number of samples in a batch but the last."""
        size = self.trainer.batch_size
        if size is not None and not is_positive_integer(size):  # a callback may have set it
            raise ValueError(f"Trainer: batch_size is {size!r}, expected a positive integer or None")
        return self.samples if size is None else min(size, self.samples)

    @property
    def last_batch(self) -> int:
        """The number of samples in the last batch of an epoch."""
        return self.samples - (self.batches - 1) * self.batch_size

    @property
    def batches(self) -> int:
        """The number of batches in an epoch."""
        return -(-self.samples // self.batch_size)

    @property
    def examples(self) -> dict[int, list[np.ndarray]]:
        """A batch of each size, by its number of samples."""
        return {size: [array[:size] for array in self.data] for size in (self.batch_size, self.last_batch)}

    # Epochs ----------------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The next epoch to train, counted from 0."""
        return self.history.epochs

    @property
    def is_active(self) -> bool:
        """Whether there is an epoch to train."""
        return self.error is None and self.epoch < self.until and not self.history.stop_reason

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch."""
        scheduler = self.trainer.scheduler
        return self.trainer.optimizer.lr.item() if scheduler is None else scheduler.checked_rate(epoch)

    def order(self, epoch: int) -> np.ndarray:
        """Return the positions of the samples in the order of an epoch."""
        if not self.trainer.shuffle:
            return np.arange(self.samples)
        return np.random.default_rng(stream(self.trainer.seed, ORDER, epoch)).permutation(self.samples)

    def plan(self, epoch: int) -> Epoch:
        """Return what an engine needs to know about an epoch."""
        return Epoch(epoch, self.order(epoch), self.rate(epoch), self.trainer.seed)

    # Training --------------------------------------------------------------------------------------------------------

    def train(self, engine: Engine | None = None) -> None:
        """Train up to the last epoch, or until a callback gives a reason to stop.

        Parameters
        ----------
        engine : Engine, optional
            One that serves the Trainer; by default it is chosen and made here.

        Raises
        ------
        NonFiniteLossError
        """
        if self.callbacks:
            _ = self.setup
        try:
            for callback in self.callbacks:
                callback.on_fit_start(self)
            with np.errstate(all="ignore"):  # a loss that is not finite is an error in its own right
                self._train(self.make_engine() if engine is None else engine)
        finally:
            for callback in self.callbacks:
                callback.on_fit_end(self)

    def end(self, error: NonFiniteLossError) -> None:
        """Keep an error as the reason why this run has ended, unless there was one before."""
        self.error = self.error or error
        self.forbid_checkpoints(str(self.error))

    def forbid_checkpoints(self, reason: str) -> None:
        """Say why the parameters are not those of the end of the last epoch in the history."""
        self.checkpoint_obstacle = reason

    def record(self, losses: np.ndarray, rate: float, validation_loss: float | None = None) -> None:
        """Add an epoch to the history; its training loss is the mean over its samples of the losses of its batches."""
        values = {"train_loss": (losses[:-1].sum() * self.batch_size + losses[-1] * self.last_batch) / self.samples}
        if validation_loss is not None:
            values["validation_loss"] = validation_loss
        self.history._add_epoch(**values, lr=rate)

    def check_arrays(self) -> None:
        """Raise NonFiniteLossError if the updates have overflowed where the losses may not show it.

        The last update may make a parameter infinite. If the square of a gradient overflows in Adam, the parameter stays as it
        is from then on. A state or a buffer may begin as infinite, such as that of a minimum.
        """
        model, optimizer = self.trainer.model, self.trainer.optimizer
        for i, parameter in enumerate(optimizer.parameters):
            if not np.isfinite(parameter._array).all():
                names = {id(x): name for name, x in model.named_parameters()}
                raise NonFiniteLossError(self.epoch, None, names.get(id(parameter), f"parameter {i} of the optimizer"))
        for name, array in self._state().items():
            if not np.isfinite(array).all() and np.isfinite(self._first_state.get(name, 0.0)).all():
                raise NonFiniteLossError(self.epoch, None, name)

    def _state(self) -> dict[str, np.ndarray]:
        """Name the arrays of the optimizer's state and of the buffers."""
        state = self.trainer.optimizer.state.items()
        named = {f"the optimizer's {name}.{i}": x._array for name, entries in state for i, x in enumerate(entries)}
        return named | {name: buffer.tensor._array for name, buffer in self._buffers}

    def _train(self, engine: Engine) -> None:
        scheduler_may_act = scheduler_acts(self.trainer)
        if scheduler_may_act or isinstance(engine, EagerEngine):
            _ = self.setup
        one_by_one = self.callbacks or self.held_out is not None or scheduler_may_act
        at_once = 1 if one_by_one else max(1, engine.samples_per_run // self.samples)
        is_loaded = False
        try:
            while self.is_active:
                count = min(at_once, self.until - self.epoch)
                engine, epochs = self._ask_for_plans(engine, range(self.epoch, self.epoch + count), scheduler_may_act)
                if not is_loaded:
                    engine.load()
                    is_loaded = True
                self._train_epochs(engine, epochs)
                if self.callbacks or scheduler_may_act:
                    engine.store()
                    is_loaded = False
                engine = self._follow(self._call_back, engine, not all(callback.only_watches for callback in self.callbacks))
        finally:
            if is_loaded:
                engine.store()
        self.check_arrays()

    def _ask_for_plans(self, engine: Engine, epochs: range, scheduler_may_act: bool) -> tuple[Engine, list[Epoch]]:
        plans: list[Epoch] = []
        engine = self._follow(lambda: plans.extend(map(self.plan, epochs)), engine, scheduler_may_act)
        return engine, plans

    def _train_epochs(self, engine: Engine, epochs: Sequence[Epoch]) -> None:
        """Train for some epochs and record them. An interruption goes back to where they began."""
        rate = self.trainer.optimizer.lr.item()
        engine.mark()
        try:
            self._run_epochs(engine, epochs)
        except NonFiniteLossError:
            self.forbid_checkpoints(f"the training ended within epoch {self.epoch + 1}")
            raise
        except BaseException:  # such as Ctrl-C
            engine.go_back()
            self.trainer.optimizer.lr.assign(rate)
            self.history.cut(epochs[0].number)
            raise

    def _run_epochs(self, engine: Engine, epochs: Sequence[Epoch]) -> None:
        losses = engine.run(self.data, epochs, self.batch_size)
        finite = len(losses) if isfinite(losses[-1]) else len(losses) - 1
        finished_epochs = losses[: finite // self.batches * self.batches].reshape(-1, self.batches)
        for finished, epoch in zip(finished_epochs, epochs, strict=False):
            validation_loss = None if self.held_out is None else engine.evaluate(self.held_out)
            if validation_loss is not None and not isfinite(validation_loss):
                raise NonFiniteLossError(self.epoch + 1, None)
            self.record(finished, epoch.rate, validation_loss)
        if finite < len(losses):
            raise NonFiniteLossError(self.epoch + 1, finite % self.batches + 1)

    def _call_back(self) -> None:
        """Let the callbacks act.

        Raises
        ------
        TypeError
            If one returns anything else than a text or None.
        ValueError
            If one has set the learning rate, although a scheduler sets it before the next epoch.
        """
        optimizer, scheduler = self.trainer.optimizer, self.trainer.scheduler
        rate = optimizer.lr.item()
        for callback in self.callbacks:  # all of them, also after the first reason to stop: an epoch is seen by all or none
            reason = callback.on_epoch_end(self)
            if reason is not None and not isinstance(reason, str):
                raise TypeError(
                    f"{type(callback).__name__}: on_epoch_end returned {describe(reason)}, expected a reason to stop, as text, "
                    "or an empty text"
                )
            self.history.stop(self.history.stop_reason or reason or "")
        for callback in self.callbacks:
            callback.on_epoch_seen(self)
        if scheduler is not None and scheduler is self.trainer.scheduler and optimizer.lr.item() != rate:
            raise ValueError(
                f"a callback has set lr to {optimizer.lr.item()}, but {type(scheduler).__name__} sets it before each epoch; "
                "replace the scheduler instead, or train without one"
            )

    def _follow(self, act: Callable[[], None], engine: Engine, may_change: bool) -> Engine:
        """Let something act between epochs, and return the engine to go on with: another one if the step has changed."""
        may_change = may_change and not isinstance(engine, EagerEngine)
        if not may_change:
            act()
            return engine
        before = self._description or describe_step(self.trainer)
        act()
        # Nothing else changes the step until the next call, so that it need not be described again then.
        self._description = describe_step(self.trainer)
        if not self.is_active or self._description == before:
            return engine
        # A program holds the Python numbers of its capture, so the step is captured again. Who changed it once may do so
        # after every epoch. Compiling each time would be slow, so replay.
        return self.make_engine("replay" if self.trainer.engine == "auto" else self.trainer.engine)

    # The engine ------------------------------------------------------------------------------------------------------

    def choose_engine(self) -> str:
        """Return the name of the engine to begin with."""
        return first_engine(self.trainer.engine, self.epochs * self.batches, self.batch_size)

    @property
    def is_watched(self) -> bool:
        """Whether a callback may look at results that the step keeps."""
        return any(not is_of_this_package(type(callback).__module__) for callback in self.callbacks)

    def make_engine(self, first: str | None = None) -> Engine:
        """Make the engine named `first`, by default the chosen one, or a simpler one if that cannot run the step."""
        batches = list(self.examples.values())
        return make_engine(self.trainer, first or self.choose_engine(), batches, self.held_out, self.is_watched)
