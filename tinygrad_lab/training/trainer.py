"""The Trainer: the loop over epochs and batches, and the step at its heart.

x, y --> model --> loss --> grad --> hooks, in order --> optimizer --> new parameters, new state
                    ^                  ^                    ^
           penalty in the loss   decoupled penalty    lr <-- scheduler(epoch)
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_lab.autodiff import grad, no_grad
from tinygrad_lab.checks import is_positive_integer
from tinygrad_lab.data import check_labels, check_rows, check_same_length, check_weights
from tinygrad_lab.graph import CaptureError
from tinygrad_lab.layers import Layer
from tinygrad_lab.losses import Loss
from tinygrad_lab.optimizers import Optimizer, State
from tinygrad_lab.penalties import Penalty
from tinygrad_lab.schedulers import Scheduler
from tinygrad_lab.serialization import WeightsError, load_arrays, save_arrays
from tinygrad_lab.tensor import Tensor, wrap
from tinygrad_lab.training.callbacks import Callback
from tinygrad_lab.training.engines import EagerEngine, Engine, ReplayEngine
from tinygrad_lab.training.history import History

ENGINES = ("auto", "eager", "replay")


class NonFiniteLossError(ArithmeticError):
    """A loss became nan or infinite.

    Attributes
    ----------
    epoch : int
        The epoch, counted from 1.
    batch : int or None
        The batch of that epoch, counted from 1; None for the validation after it.
    """

    def __init__(self, epoch: int, batch: int | None) -> None:
        super().__init__(epoch, batch)  # the arguments, so that the exception survives pickling
        self.epoch = epoch
        self.batch = batch

    def __str__(self) -> str:
        where = "in validation" if self.batch is None else f"in batch {self.batch}"
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
    engine : {"auto", "eager", "replay"}
        What runs the updates; see `tinygrad_lab.training.engines`. "auto" replays where the step can be captured.

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
            ("scheduler", scheduler, Scheduler | None),
            ("penalty", penalty, Penalty | None),
        ):
            if not isinstance(value, kind):
                raise TypeError(f"Trainer: {name} is {value!r}, expected {getattr(kind, '__name__', kind)}")
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
        self.seed = seed
        if engine not in ENGINES:
            raise ValueError(f"Trainer: engine is {engine!r}, expected {', '.join(ENGINES)}")
        self.engine = engine
        self.history = History()
        self._callbacks: Sequence[Callback] = ()
        self._data_digest = ""

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
            At the first loss that is not finite; the model keeps the parameters from before that update.
        WeightsError
            Where `resume` is no checkpoint, or one of another training.
        """
        epochs = self.epochs if epochs is None else _positive("epochs", epochs)
        data = self._check(x, y, sample_weight)
        held_out = None if validation is None else self._check(*validation, None, "validation ")[:2]
        self._callbacks = list(callbacks)
        self._data_digest = _digest(data)
        self.history = History()
        if resume is not None:
            self._load_checkpoint(resume)
        for callback in self._callbacks:
            callback.on_fit_start(self, self.history, epochs)
        try:
            with np.errstate(all="ignore"):  # a non-finite loss is an error of its own
                engine = self._make_engine(data)
                while self.history.epochs < epochs and not self.history.stop_reason:
                    self._run_epoch(engine, data, held_out)
        finally:
            for callback in self._callbacks:
                callback.on_fit_end(self, self.history)
        return self.history

    def _run_epoch(self, engine: Engine, data: Sequence[np.ndarray], held_out: Sequence[np.ndarray] | None) -> None:
        epoch = self.history.epochs
        if self.scheduler is not None:
            self.optimizer.lr.assign(self.scheduler(epoch))
        losses = []
        sizes = []
        engine.load()
        try:
            for batch, arrays in enumerate(self._batches(data, epoch), start=1):
                loss = engine.compute(arrays)
                if not isfinite(loss):
                    raise NonFiniteLossError(epoch + 1, batch)
                engine.commit()
                losses.append(loss)
                sizes.append(len(arrays[0]))
        finally:
            engine.store()
        if not all(np.isfinite(parameter.data).all() for parameter in self.optimizer.parameters):
            raise NonFiniteLossError(epoch + 1, len(losses))
        values = {"train_loss": float(np.average(losses, weights=sizes))}
        if held_out is not None:
            values["validation_loss"] = self._loss_of(*held_out)
            if not isfinite(values["validation_loss"]):
                raise NonFiniteLossError(epoch + 1, None)
        self.history.append(**values, lr=self.optimizer.lr.item())
        for callback in self._callbacks:
            self.history.stop_reason = self.history.stop_reason or callback.on_epoch_end(self, self.history) or ""
        for callback in self._callbacks:
            callback.on_epoch_seen(self, self.history)

    def _make_engine(self, data: Sequence[np.ndarray]) -> Engine:
        """Make the engine of a training; "auto" tries to capture the step and falls back where that is refused."""
        if self.engine == "eager":
            return EagerEngine(self)
        engine = ReplayEngine(self)
        try:
            engine.load()
            engine.compute(next(self._batches(data, epoch=0)))
        except CaptureError as error:
            if self.engine == "replay":
                raise
            warnings.warn(f"training on the eager engine, since the step cannot be replayed: {error}", stacklevel=3)
            return EagerEngine(self)
        return engine

    def _batches(self, data: Sequence[np.ndarray], epoch: int) -> Iterator[list[np.ndarray]]:
        samples = len(data[0])
        if self.shuffle:
            order = np.random.default_rng(np.random.SeedSequence([self.seed, epoch])).permutation(samples)
            data = [array[order] for array in data]
        size = self.batch_size or samples
        for start in range(0, samples, size):
            yield [array[start : start + size] for array in data]

    # Evaluation ------------------------------------------------------------------------------------------------------

    def evaluate(self, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the loss on `x` and `y`, without any penalty."""
        return self._loss_of(*self._check(x, y, sample_weight))

    def _loss_of(self, *arrays: np.ndarray) -> float:
        x, *rest = map(wrap, arrays)
        with no_grad(), np.errstate(all="ignore"):
            return float(self.loss(self.model(x), *rest))

    def predict(self, x: ArrayLike) -> np.ndarray:
        """Return the model's output for `x`, of shape (samples, outputs)."""
        with no_grad():
            return self.model(wrap(check_rows("x", x, self._dtype))).numpy()

    @property
    def _dtype(self) -> np.dtype:
        return self.optimizer.parameters[0].dtype

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

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def save_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Write the parameters, the optimizer's state, the history and the callbacks' state to `path`, atomically."""
        parts = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history.state_dict(),
        } | {f"callback{i}": callback.state_dict() for i, callback in enumerate(self._callbacks)}
        arrays = {f"{part}.{name}": array for part, entries in parts.items() for name, array in entries.items()}
        save_arrays(path, arrays, self._settings() | {"stop_reason": self.history.stop_reason})

    def _load_checkpoint(self, path: str | os.PathLike[str]) -> None:
        arrays, texts = load_arrays(path)
        stop_reason = texts.pop("stop_reason", "")

        def part(prefix: str) -> dict[str, np.ndarray]:
            return {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}

        current = self._settings()
        differing = sorted(name for name in current.keys() | texts.keys() if current.get(name) != texts.get(name))
        if differing:
            raise WeightsError(f"{path}: is a checkpoint of another training; it differs in {', '.join(differing)}")
        self.model.load_state_dict(part("model."))
        self.optimizer.load_state_dict(part("optimizer."))
        self.history.load_state_dict(part("history."), stop_reason)
        for i, callback in enumerate(self._callbacks):
            callback.load_state_dict(part(f"callback{i}."))

    def _settings(self) -> dict[str, str]:
        """Describe what must be equal for a resumed training to reach the same bits."""
        optimizer = self.optimizer
        changing = {"parameters", "state"} | ({"lr"} if self.scheduler is not None else set())
        fixed = {name: _describe(x) for name, x in vars(optimizer).items() if name not in changing}
        return {
            "data": self._data_digest,
            "parameters": repr([(name, x.shape, str(x.dtype)) for name, x in self.model.named_parameters()]),
            "loss": repr(self.loss),
            "optimizer": f"{type(optimizer).__name__} {fixed}",
            "scheduler": repr(self.scheduler),
            "penalty": repr(self.penalty),
            "batches": f"{self.batch_size} {self.shuffle} {self.seed}",
            "callbacks": repr([type(callback).__name__ for callback in self._callbacks]),
        }


def _describe(setting: Any) -> str:
    """Write a setting of an optimizer so that any difference shows: numbers in full."""
    if isinstance(setting, Tensor):
        return repr(setting.item())
    return f"[{', '.join(map(_describe, setting))}]" if isinstance(setting, list) else repr(setting)


def _positive(name: str, value: Any) -> int:
    if not is_positive_integer(value):
        raise ValueError(f"Trainer: {name} is {value!r}, expected a positive integer")
    return int(value)


def _digest(arrays: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
