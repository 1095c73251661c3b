"""The Trainer: the loop over epochs and batches, and the step at its heart.

x, y --> model --> loss --> grad --> hooks, in order --> optimizer --> new parameters, new state
                    ^                  ^                    ^
           penalty in the loss   decoupled penalty    lr <-- scheduler(epoch)
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_lab.autodiff import grad, no_grad
from tinygrad_lab.checks import is_positive_integer
from tinygrad_lab.codegen import NoLoopFormError
from tinygrad_lab.data import check_labels, check_rows, check_same_length, check_weights
from tinygrad_lab.graph import CaptureError
from tinygrad_lab.layers import Layer
from tinygrad_lab.losses import Loss
from tinygrad_lab.native import is_available
from tinygrad_lab.optimizers import Optimizer, State
from tinygrad_lab.penalties import Penalty
from tinygrad_lab.schedulers import Scheduler
from tinygrad_lab.tensor import Tensor, wrap
from tinygrad_lab.training.callbacks import Callback
from tinygrad_lab.training.checkpoints import load_checkpoint
from tinygrad_lab.training.engines import CompiledEngine, EagerEngine, Engine, ReplayEngine
from tinygrad_lab.training.history import History

ENGINES = ("auto", "eager", "replay", "compiled")

# What makes compilation worth its seconds: so many updates, of batches so small that loops beat a matrix product.
COMPILE_FROM_UPDATES = 50_000
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


class Trainer:
    """Trains a model by gradient descent on batches.

    Parameters
    ----------
    model : Layer
    loss : Loss
    optimizer : Optimizer
        Over parameters of `model`.
    scheduler : Scheduler, optional
        The learning rate of each epoch; by default that of the optimizer.
    penalty : Penalty, optional
    epochs : int
        The number of passes over the data.
    batch_size : int or None
        The number of samples an update; the last batch of an epoch may have fewer. None is the whole set.
    shuffle : bool
        Whether every epoch visits the samples in an order of its own.
    seed : int
        Decides those orders: that of an epoch depends on the seed and the epoch only.
    engine : {"auto", "eager", "replay", "compiled"}
        What runs the updates; see `tinygrad_lab.training.engines`. "auto" compiles where Numba is installed and the training
        is long, replays otherwise, and is eager where the step cannot be captured.

    Examples
    --------
    >>> import tinygrad_lab as tl
    >>> x = np.linspace(-1.0, 1.0, 20)
    >>> net = tl.Linear(1, 1, rng=np.random.default_rng(0))
    >>> trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1), epochs=50, batch_size=1)
    >>> history = trainer.fit(x, 3.0 * x + 1.0)
    >>> net.state_dict()["weight"].round(3), net.state_dict()["bias"].round(3)
    (array([[3.]]), array([1.]))
    """

    def __init__(
        self,
        model: Layer,
        loss: Loss,
        *,
        optimizer: Optimizer,
        scheduler: Scheduler | None = None,
        penalty: Penalty | None = None,
        epochs: int = 100,
        batch_size: int | None = 32,
        shuffle: bool = True,
        seed: int = 0,
        engine: str = "auto",
    ) -> None:
        for name, value, kind in (
            ("model", model, Layer),
            ("loss", loss, Loss),
            ("optimizer", optimizer, Optimizer),
            ("scheduler", scheduler, Scheduler),
            ("penalty", penalty, Penalty),
        ):
            optional = name in ("scheduler", "penalty")
            if not isinstance(value, kind) and not (optional and value is None):
                raise TypeError(f"Trainer: {name} is {value!r}, expected a {kind.__name__}{' or None' if optional else ''}")
        known = {id(parameter) for parameter in model.parameters()}
        if any(id(parameter) not in known for parameter in optimizer.parameters):
            raise ValueError("Trainer: the optimizer has parameters that the model does not have; give it model.parameters()")
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.penalty = penalty
        self.epochs = _positive("epochs", epochs)
        self.batch_size = batch_size if batch_size is None else _positive("batch_size", batch_size)
        self.shuffle = shuffle
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ValueError(f"Trainer: seed is {seed!r}, expected an integer of at least 0")
        self.seed = int(seed)
        if engine not in ENGINES:
            raise ValueError(f"Trainer: engine is {engine!r}, expected {', '.join(ENGINES)}")
        self.engine = engine
        self.history = History()
        self._callbacks: Sequence[Callback] = ()
        self._data: Sequence[np.ndarray] = ()

    # The step --------------------------------------------------------------------------------------------------------

    def training_step(self, x: Tensor, y: Tensor, sample_weight: Tensor | None = None) -> tuple[Tensor, list[Tensor], State]:
        """Compute one update without making it: a pure function of its arguments, the parameters and the optimizer's state.

        Returns
        -------
        loss : Tensor of shape ()
            The data loss before the update, plus the penalty of the new parameters: the report's accounting.
        parameters : list of Tensor
            The new values of the optimizer's parameters.
        state : dict
            The new state of the optimizer.
        """
        optimizer, penalty = self.optimizer, self.penalty
        placement = penalty.placement if penalty is not None else ""
        parameters = optimizer.parameters

        data_loss = self.loss(self.model(x), y, sample_weight)
        objective = data_loss + penalty.value(parameters) if penalty and placement == "loss" else data_loss
        gradients = optimizer.run_hooks(grad(objective, parameters))
        with no_grad():
            if penalty and placement == "decoupled":
                gradients = [g + slope for g, slope in zip(gradients, penalty.gradient(parameters), strict=True)]
            updated, state = optimizer.update(parameters, gradients, optimizer.state, optimizer.lr)
            if penalty and placement == "proximal":
                updated = penalty.shrink(updated, optimizer.lr)
            reported = data_loss + penalty.value(updated) if penalty else data_loss
        return reported, updated, state

    # The loop --------------------------------------------------------------------------------------------------------

    def fit(
        self,
        x: ArrayLike,
        y: ArrayLike,
        validation: tuple[ArrayLike, ArrayLike] | None = None,
        *,
        epochs: int | None = None,
        sample_weight: ArrayLike | None = None,
        callbacks: Sequence[Callback] = (),
        resume: str | os.PathLike[str] | None = None,
    ) -> History:
        """Train on `x` and `y`.

        Parameters
        ----------
        x : array_like, shape (samples, features) or (samples,)
        y : array_like, shape (samples, outputs) or (samples,)
            Converted to the dtype of the parameters, as `x` is; integer labels stay integers where the loss takes them.
        validation : pair of array_like, optional
            Data to evaluate after every epoch.
        epochs : int, optional
            Overrides the Trainer's.
        sample_weight : array_like, shape (samples,), optional
        callbacks : sequence of Callback
        resume : path, optional
            A file that `Checkpoint` wrote. Training goes on after its last epoch, with the same result to the bit as if it
            had never been interrupted.

        Returns
        -------
        History
            The training loss of an epoch is the mean over its samples of what `training_step` reports.

        Raises
        ------
        TypeError, ValueError
            Where the data do not fit, or are not finite.
        NonFiniteLossError
            At the first loss that is not finite. The model keeps the parameters with which it was computed, so those from
            before that update; where an update itself has overflowed, the next loss tells.
        WeightsError
            Where `resume` is no checkpoint, or one of another training.
        """
        epochs = self.epochs if epochs is None else _positive("epochs", epochs)
        data = self._check(x, y, sample_weight)
        held_out = None if validation is None else self._check_validation(validation)
        self._callbacks = _check_callbacks(callbacks)
        self._data = data
        self.history = History()
        if resume is not None:
            load_checkpoint(self, resume)
        try:
            for callback in self._callbacks:
                callback.on_fit_start(self, self.history, epochs)
            with np.errstate(all="ignore"):  # a non-finite loss is an error of its own
                engine = self._make_engine(data, epochs)
                engine.load()
                try:
                    while self.history.epochs < epochs and not self.history.stop_reason:
                        self._run_epoch(engine, data, held_out)
                finally:
                    engine.store()
        finally:
            for callback in self._callbacks:
                callback.on_fit_end(self, self.history)
        if not all(np.isfinite(parameter.data).all() for parameter in self.optimizer.parameters):
            raise NonFiniteLossError(self.history.epochs, None)
        return self.history

    def _run_epoch(self, engine: Engine, data: Sequence[np.ndarray], held_out: Sequence[np.ndarray] | None) -> None:
        epoch = self.history.epochs
        if self.scheduler is not None:
            self.optimizer.lr.assign(self.scheduler(epoch))
            engine.load_settings()
        samples = len(data[0])
        size = min(self.batch_size or samples, samples)
        losses = engine.run(self._ordered(data, epoch), size)
        if not isfinite(losses[-1]):
            raise NonFiniteLossError(epoch + 1, len(losses))
        sizes = [min(size, samples - start) for start in range(0, samples, size)]
        values = {"train_loss": float(np.average(losses, weights=sizes))}
        if held_out is not None:
            values["validation_loss"] = engine.evaluate(held_out)
            if not isfinite(values["validation_loss"]):
                raise NonFiniteLossError(epoch + 1, None)
        self.history.append(**values, lr=self.optimizer.lr.item())
        if self._callbacks:
            engine.store()
            self._call_back()
            engine.load()

    def _call_back(self) -> None:
        for callback in self._callbacks:
            self.history.stop_reason = self.history.stop_reason or callback.on_epoch_end(self, self.history) or ""
        for callback in self._callbacks:
            callback.on_epoch_seen(self, self.history)

    def _make_engine(self, data: Sequence[np.ndarray], epochs: int) -> Engine:
        """Make the engine of a training; "auto" takes the fastest that can run the step and is worth its preparation."""
        if self.engine == "eager":
            return EagerEngine(self)
        size = min(self.batch_size or len(data[0]), len(data[0]))
        batch = [array[:size] for array in data]
        updates = epochs * -(-len(data[0]) // size)
        worthwhile = updates >= COMPILE_FROM_UPDATES and size <= COMPILE_UP_TO_BATCH and is_available()
        if self.engine == "compiled" or (self.engine == "auto" and worthwhile):
            compiled = CompiledEngine(self)
            try:
                compiled.load()
                compiled.prepare(batch)
                return compiled
            except NoLoopFormError as error:
                if self.engine == "compiled":
                    warnings.warn(f"training by replay, since the step cannot be compiled: {error}", stacklevel=3)
            except CaptureError:
                if self.engine == "compiled":
                    raise
        replay = ReplayEngine(self)
        try:
            replay.load()
            replay.compute(batch)
            return replay
        except CaptureError as error:
            if self.engine != "auto":
                raise
            warnings.warn(f"training on the eager engine, since the step cannot be replayed: {error}", stacklevel=3)
            return EagerEngine(self)

    def _ordered(self, data: Sequence[np.ndarray], epoch: int) -> list[np.ndarray]:
        """Return the samples in the order of an epoch."""
        if not self.shuffle:
            return list(data)
        order = np.random.default_rng(np.random.SeedSequence([self.seed, epoch])).permutation(len(data[0]))
        return [array[order] for array in data]

    # Evaluation ------------------------------------------------------------------------------------------------------

    def evaluate(self, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the loss on `x` and `y`, without any penalty."""
        return float(self.data_loss(*map(wrap, self._check(x, y, sample_weight))))

    def data_loss(self, x: Tensor, y: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Compute the loss without any penalty, and without a graph."""
        with no_grad(), np.errstate(all="ignore"):
            return self.loss(self.model(x), y, sample_weight)

    def predict(self, x: ArrayLike) -> np.ndarray:
        """Return the model's output for `x`, of shape (samples, outputs)."""
        with no_grad():
            return self.model(wrap(check_rows("x", x, self._dtype))).numpy()

    @property
    def callbacks(self) -> Sequence[Callback]:
        """The callbacks of the training that runs, or ran last."""
        return self._callbacks

    @property
    def data(self) -> Sequence[np.ndarray]:
        """The checked arrays of that training: x, y and perhaps weights."""
        return self._data

    @property
    def _dtype(self) -> np.dtype:
        return self.optimizer.parameters[0].dtype

    def _check_validation(self, validation: tuple[ArrayLike, ArrayLike]) -> list[np.ndarray]:
        if not isinstance(validation, (tuple, list)) or len(validation) != 2:
            raise ValueError("validation is no pair, expected (x, y)")
        return self._check(*validation, None, "validation ")

    def _check(self, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, prefix: str = "") -> list[np.ndarray]:
        inputs = check_rows(f"{prefix}x", x, self._dtype)
        labels = check_labels(f"{prefix}y", y) if self.loss.class_labels else None
        targets = check_rows(f"{prefix}y", y, self._dtype) if labels is None else labels
        check_same_length(**{f"{prefix}x": inputs, f"{prefix}y": targets})
        with no_grad():
            self.loss.check(self.model(wrap(inputs)), wrap(targets))
        data = [inputs, targets]
        if sample_weight is not None:
            data.append(check_weights("sample_weight", sample_weight, len(inputs), self._dtype))
        return data


def _check_callbacks(callbacks: Any) -> list[Callback]:
    if not isinstance(callbacks, (list, tuple)) or not all(isinstance(callback, Callback) for callback in callbacks):
        raise TypeError(f"callbacks is {callbacks!r}, expected a list of Callback objects")
    return list(callbacks)


def _positive(name: str, value: Any) -> int:
    if not is_positive_integer(value):
        raise ValueError(f"Trainer: {name} is {value!r}, expected a positive integer")
    return int(value)
