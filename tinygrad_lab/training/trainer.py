"""The Trainer: the parts of a training, and `fit`, the one call that people type.

    x, y --check--> Run --train--> History

The Trainer says what is trained and how. A Run says on which data, and records the result.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_lab.autodiff.graph import without_gradients_of
from tinygrad_lab.autodiff.tensor import Tensor, wrap
from tinygrad_lab.checks import is_finite_number, is_positive_integer
from tinygrad_lab.contents import parts_of
from tinygrad_lab.nn.layers import Layer
from tinygrad_lab.nn.losses import Loss
from tinygrad_lab.nn.mode import entered
from tinygrad_lab.nn.preprocessing import Preprocessor
from tinygrad_lab.optim.optimizer import Optimizer
from tinygrad_lab.optim.penalties import Penalty
from tinygrad_lab.optim.schedulers import Scheduler
from tinygrad_lab.program import Program
from tinygrad_lab.seeds import HELD_OUT, stream
from tinygrad_lab.training.captured import CapturedStep
from tinygrad_lab.training.checkpoints import load_checkpoint
from tinygrad_lab.training.data import check_class_weight, split_rows, weigh_classes
from tinygrad_lab.training.engines.choice import ENGINES
from tinygrad_lab.training.history import History
from tinygrad_lab.training.preparation import learning
from tinygrad_lab.training.run import Callback, Run
from tinygrad_lab.training.snapshots import trial_run
from tinygrad_lab.training.step import TrainingStep

ENGINE_NAMES = ("auto", *reversed(ENGINES))


class Trainer(TrainingStep):
    """Trains a model by gradient descent on batches.

    Parameters
    ----------
    model : Layer
    loss : Loss
    optimizer : Optimizer
        Its parameters are parameters of `model`.
    scheduler : Scheduler, optional
        The learning rate of each epoch. By default the optimizer's own, in all epochs.
    penalty : Penalty, optional
    epochs : int
        The number of passes over the data.
    batch_size : int or None
        The number of samples in an update; the last batch of an epoch may have fewer. None is the whole set.
    shuffle : bool
        Whether each epoch visits the samples in another order.
    seed : int
        Decides those orders. The order of an epoch depends on the seed and the epoch only.
    engine : {"auto", "eager", "replay", "compiled"}
        What runs the updates; see `tinygrad_lab.training.engines`. "auto" compiles if Numba is installed and the training is
        long. Otherwise it replays, and it is eager if the step cannot be captured.
    inputs, targets : Preprocessor, optional
        What prepares x and y, such as `Standardize`. Each `fit` sets their buffers from the rows that train, and applies them
        once, before the first epoch. The model and the losses are then in the prepared units. `predict` converts predictions
        to the units of y. If a `fit` is refused, they are as before. Give each
        model its own, as one that is shared has what it learnt last.
    validation_fraction : float, optional
        The share of the training rows that each `fit` holds out at random, and evaluates after every epoch: for
        `EarlyStopping`, if there are no other validation data. Of each class label, its share is held out. The rows keep
        their `sample_weight` there, but `class_weight` is for the rows that train.
    callbacks : sequence of Callback
        Each `fit` calls copies of them, before those that it is given.
    class_weight : "balanced", sequence of float or None
        A factor of the weights of the training rows, by their integer labels: one for each class, or inversely proportional to
        the share of each class in the training rows.

    Examples
    --------
    >>> import tinygrad_lab as tl
    >>> x = np.linspace(-1.0, 1.0, 20)
    >>> net = tl.Linear(1, 1, rng=np.random.default_rng(0))
    >>> trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1), epochs=50, batch_size=1)
    >>> history = trainer.fit(x, 3.0 * x + 1.0)
    >>> net.state_dict()["weight"].round(3), net.state_dict()["bias"].round(3)
    (array([[3.]]), array([1.]))

    With data in other units, and a part of them to decide when to stop:

    >>> net = tl.Linear(1, 1, rng=np.random.default_rng(0))
    >>> trainer = tl.Trainer(
    ...     net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1), inputs=tl.Standardize(1),
    ...     targets=tl.Standardize(1), validation_fraction=0.2, callbacks=[tl.EarlyStopping(patience=5)])
    >>> history = trainer.fit(1e6 + x, 1e3 * x)
    >>> trainer.predict([1e6 + 0.5]).round(1)
    array([[500.]])
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
        inputs: Preprocessor | None = None,
        targets: Preprocessor | None = None,
        validation_fraction: float | None = None,
        callbacks: Sequence[Callback] = (),
        class_weight: str | Sequence[float] | None = None,
    ) -> None:
        for name, value, kind in (
            ("model", model, Layer),
            ("loss", loss, Loss),
            ("optimizer", optimizer, Optimizer),
            ("scheduler", scheduler, Scheduler),
            ("penalty", penalty, Penalty),
            ("inputs", inputs, Preprocessor),
            ("targets", targets, Preprocessor),
        ):
            optional = name in ("scheduler", "penalty", "inputs", "targets")
            if not isinstance(value, kind) and not (optional and value is None):
                raise TypeError(f"Trainer: {name} is {value!r}, expected a {kind.__name__}{' or None' if optional else ''}")
        optimizer.check_built()
        if penalty is not None:
            penalty.check_built()
        known = {id(parameter) for parameter in model.parameters()}
        if any(id(parameter) not in known for parameter in optimizer.parameters):
            raise ValueError(
                "Trainer: the optimizer has parameters that the model does not have, or has frozen; give it model.parameters()"
            )
        epochs = _positive("epochs", epochs)
        batch_size = batch_size if batch_size is None else _positive("batch_size", batch_size)
        if not isinstance(shuffle, (bool, np.bool_)):
            raise TypeError(f"Trainer: shuffle is {shuffle!r}, expected True or False")
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ValueError(f"Trainer: seed is {seed!r}, expected an integer of at least 0")
        if engine not in ENGINE_NAMES:
            raise ValueError(f"Trainer: engine is {engine!r}, expected {', '.join(ENGINE_NAMES)}")
        if targets is not None and targets is inputs:
            raise ValueError(f"Trainer: inputs and targets are one {targets!r}, which cannot learn both; give it two objects")
        if targets is not None and type(targets).inverse is Preprocessor.inverse:
            raise TypeError(f"Trainer: targets is {targets!r}, which has no inverse; define the method `inverse`")
        if targets is not None and loss.class_labels:
            raise ValueError(f"Trainer: targets is {targets!r} for the loss {loss!r}, which takes class labels; leave it out")
        if validation_fraction is not None and not (is_finite_number(validation_fraction) and 0 < validation_fraction < 1):
            raise ValueError(
                f"Trainer: validation_fraction is {validation_fraction!r}, expected a number between 0 and 1, or None"
            )
        super().__init__(model, loss, optimizer, penalty, scheduler, batch_size, shuffle, int(seed), engine, inputs, targets)
        self.epochs = epochs
        self.validation_fraction = validation_fraction
        self.callbacks = _check_callbacks(callbacks)
        self.class_weight = check_class_weight(class_weight, loss)
        self.history = History()

    def __repr__(self) -> str:
        names = ("optimizer", "scheduler", "penalty", "epochs", "batch_size", "shuffle", "seed", "engine")
        parts = [repr(self.model), repr(self.loss), *(f"{name}={getattr(self, name)!r}" for name in names)]
        given = {
            name: getattr(self, name) for name in ("inputs", "targets", "validation_fraction", "callbacks", "class_weight")
        }
        parts += [f"{name}={value!r}" for name, value in given.items() if value]
        return f"{type(self).__name__}({', '.join(parts)})"

    # The step --------------------------------------------------------------------------------------------------------

    def capture(self, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Program:
        """Return the program of the update on a batch, as "replay" and "compiled" run it: forward, backward, update.

        It can be printed and read; `write_source` turns it into loops. Nothing is trained.

        Parameters
        ----------
        x, y, sample_weight : array_like
            A batch, as for `fit`; a program is for batches of one size.

        Raises
        ------
        CaptureError
            If the step cannot be replayed, naming the line of code.
        TypeError, ValueError
            If the data do not fit, or are not finite.

        Examples
        --------
        >>> import tinygrad_lab as tl
        >>> net = tl.Linear(1, 1, rng=np.random.default_rng(0))
        >>> trainer = tl.Trainer(net, tl.HalfSquaredError(), optimizer=tl.SGD(net.parameters(), lr=0.1))
        >>> program = trainer.capture([1.0], [2.0])
        >>> print(program)
        input  x: float64 (1, 1)
        ...
        v1 = matmul(x, v0)
        ...
        output loss = v11
        state  weight = v27
        state  bias = v30
        """
        data = self._arrays(x, y, sample_weight)
        batch = self._fitting(data if self.class_weight is None else weigh_classes(data, self.class_weight))
        with np.errstate(all="ignore"):  # `fit` reports a loss that is not finite
            return CapturedStep(self).program(batch)

    # Training --------------------------------------------------------------------------------------------------------

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
            Called after copies of the Trainer's own.
        resume : path, optional
            A file that `Checkpoint` wrote. Training continues after its last epoch and gives the same bits as an
            uninterrupted one. The parts of the Trainer, the data, the validation data and the `settings` of the callbacks
            must be as they were. Callbacks that only watch, such as `Checkpoint` and `ProgressBar`, may differ, and so may
            the number of epochs and the engine.

        Returns
        -------
        History
            The training loss of an epoch is the mean over its samples of what `training_step` reports.

        Raises
        ------
        TypeError, ValueError
            If the data do not fit, or are not finite.
        NonFiniteLossError
            At the first loss that is not finite. The model keeps the parameters from before the update of that batch. If an
            update overflows, the next loss shows it.
        WeightsError
            If `resume` is no checkpoint, or one of another training.
        """
        callbacks = _check_callbacks(callbacks)
        with learning([self]):
            run = self.prepare(x, y, validation, epochs=epochs, sample_weight=sample_weight, callbacks=callbacks)
            if resume is not None:
                load_checkpoint(run, resume)
        self.begin(run)
        run.train()
        return self.history

    def prepare(
        self,
        x: ArrayLike,
        y: ArrayLike,
        validation: tuple[ArrayLike, ArrayLike] | None = None,
        *,
        epochs: int | None = None,
        sample_weight: ArrayLike | None = None,
        callbacks: Sequence[Callback] = (),
        until: int | None = None,
    ) -> Run:
        """Check everything that `fit` is given, and return the run; nothing has begun yet, but `inputs` and `targets` learn.

        Parameters
        ----------
        x, y, validation, epochs, sample_weight, callbacks
            As for `fit`.
        until : int, optional
            The epoch after which the run stops, so that it can go on later; by default the last one.
        """
        epochs = self.epochs if epochs is None else _positive("epochs", epochs)
        data = self._arrays(x, y, sample_weight)
        held_out = None if validation is None else self._check_validation(validation)
        if self.validation_fraction is not None:
            if held_out is not None:
                raise ValueError(
                    "fit: validation data are given beside the Trainer's validation_fraction, expected one of the two"
                )
            data, held_out = split_rows(data, self.validation_fraction, np.random.default_rng(stream(self.seed, HELD_OUT)))
        for preprocessor, array in zip((self.inputs, self.targets), data, strict=False):
            if preprocessor is not None:
                preprocessor.learn(array, *data[2:])
        class_weight = check_class_weight(self.class_weight, self.loss)  # it may have been set since
        if class_weight is not None:
            data = weigh_classes(data, class_weight)
        for rows, part in ((data, "train"), (held_out or (), "are held out")):
            if len(rows) > 2 and not rows[2].any():
                raise ValueError(f"fit: all {len(rows[0])} rows that {part} have weight 0, expected a weight above 0")
        data = self._fitting(data)
        held_out = None if held_out is None else self._fitting(held_out, "validation ")
        return Run(self, data, epochs, held_out, [*self._own_callbacks(), *callbacks], until)

    def _own_callbacks(self) -> list[Callback]:
        """Return copies of the Trainer's callbacks. Where they refer to the Trainer or its parts, so do the copies."""
        if not self.callbacks:
            return []
        parts = {name: x for name, x in vars(self).items() if name != "callbacks"}
        kept = {id(part): part for part in (self, *parts_of(parts, leaves=(Tensor, np.ndarray)))}
        copies = []
        for i, callback in enumerate(self.callbacks):
            try:
                copies.append(deepcopy(callback, kept))
            except Exception as error:
                raise TypeError(
                    f"Trainer: callbacks[{i}], a {type(callback).__name__}, cannot be copied for a fit ({error}); "
                    "give it to fit, which does not copy it"
                ) from None
        return copies

    def begin(self, run: Run) -> None:
        """Make the history of a run that of the Trainer."""
        self.history = run.history

    # Data ------------------------------------------------------------------------------------------------------------

    def _check_validation(self, validation: tuple[ArrayLike, ArrayLike]) -> list[np.ndarray]:
        if not isinstance(validation, (tuple, list)) or len(validation) != 2:
            raise ValueError("validation is no pair, expected (x, y)")
        return self._arrays(*validation, None, "validation ")

    def _fitting(self, data: Sequence[np.ndarray], prefix: str = "") -> list[np.ndarray]:
        """Prepare data, and check that they fit the model's predictions."""
        data = self._prepared(data, prefix)
        inputs, targets = data[:2]
        prediction = self._stand_in_prediction(inputs)
        if prediction is not None:
            self.loss.check(wrap(prediction), wrap(targets))
        return data

    def _stand_in_prediction(self, inputs: np.ndarray) -> np.ndarray | None:
        """Return an array of the shape and dtype of the prediction for `inputs`, without computing all of it.

        The model sees as many samples as in an update, because it may work for one batch size only. It sees at least two: a
        single one would not reveal a model that mixes samples. This trial leaves no trace. Where it would use up an iterator,
        the result is None, and the loss checks the first prediction of the training.
        """
        few = inputs if self.batch_size is None else inputs[: max(2, self.batch_size)]
        with entered(None), trial_run(self) as before, np.errstate(all="ignore"):
            if before.iterators:
                return None
            prediction = without_gradients_of(self.model.parameters(), lambda: self.model(wrap(few)))
        if prediction.shape[:1] != few.shape[:1]:
            return prediction._array
        return np.broadcast_to(prediction._array[:1], (len(inputs), *prediction.shape[1:]))


def _check_callbacks(callbacks: Any) -> list[Callback]:
    if not isinstance(callbacks, (list, tuple)) or not all(isinstance(callback, Callback) for callback in callbacks):
        raise TypeError(f"callbacks is {callbacks!r}, expected a list of Callback objects")
    return list(callbacks)


def _positive(name: str, value: Any) -> int:
    if not is_positive_integer(value):
        raise ValueError(f"Trainer: {name} is {value!r}, expected a positive integer")
    return int(value)
