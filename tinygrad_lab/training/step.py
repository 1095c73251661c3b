"""The training step: what one update computes, as a pure function of Tensors.

x, y --> model --> loss --> grad --> hooks, in order --> optimizer --> new parameters, new state
                    ^                  ^                    ^
           penalty in the loss   decoupled penalty    lr <-- scheduler(epoch)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_lab.autodiff.derivatives import grad, no_grad
from tinygrad_lab.autodiff.tensor import Tensor, wrap
from tinygrad_lab.nn.layers import Layer
from tinygrad_lab.nn.losses import Loss
from tinygrad_lab.optim.optimizer import Optimizer, State
from tinygrad_lab.optim.penalties import Penalty
from tinygrad_lab.optim.schedulers import Scheduler
from tinygrad_lab.training.data import check_labels, check_rows, check_same_length, check_weights


class TrainingStep:
    """The parts of a training, the step that they make up, and how it is repeated.

    Engines and runs see a Trainer as this class. The Trainer checks the arguments and describes them.
    """

    def __init__(
        self,
        model: Layer,
        loss: Loss,
        optimizer: Optimizer,
        penalty: Penalty | None,
        scheduler: Scheduler | None,
        batch_size: int | None,
        shuffle: bool,
        seed: int,
        engine: str,
    ) -> None:
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.penalty = penalty
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.engine = engine

    def training_step(self, x: Tensor, y: Tensor, sample_weight: Tensor | None = None) -> tuple[Tensor, list[Tensor], State]:
        """Compute one update and change nothing.

        The result follows from the arguments, the parameters and the optimizer's state alone.

        Parameters
        ----------
        x, y : Tensor, shape (samples, ...)
            A batch.
        sample_weight : Tensor, shape (samples,), optional

        Returns
        -------
        loss : Tensor of shape ()
            The data loss before the update, plus the penalty of the new parameters, as the report adds them up.
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
        gradients = grad(objective, parameters)
        with no_grad():
            gradients = optimizer.run_hooks(gradients)
            if penalty and placement == "decoupled":
                gradients = [g + slope for g, slope in zip(gradients, penalty.gradient(parameters), strict=True)]
            updated, state = optimizer.update(parameters, gradients, optimizer.state, optimizer.lr)
            if penalty and placement == "proximal":
                updated = penalty.shrink(updated, optimizer.lr)
            reported = data_loss + penalty.value(updated) if penalty else data_loss
        return reported, updated, state

    def data_loss(self, x: Tensor, y: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Compute the loss without any penalty, and without a graph."""
        with no_grad(), np.errstate(all="ignore"):
            return self.loss(self.model(x), y, sample_weight)

    # Evaluation ------------------------------------------------------------------------------------------------------

    def evaluate(self, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the loss on `x` and `y`, without any penalty."""
        return float(self.data_loss(*map(wrap, self._arrays(x, y, sample_weight))))

    def predict(self, x: ArrayLike) -> np.ndarray:
        """Return the model's output for `x`, of shape (samples, outputs)."""
        with no_grad():
            return self.model(wrap(check_rows("x", x, self._dtype))).numpy()

    @property
    def _dtype(self) -> np.dtype:
        return self.optimizer.parameters[0].dtype

    def _arrays(self, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, prefix: str = "") -> list[np.ndarray]:
        """Return data as arrays that fit each other."""
        inputs = check_rows(f"{prefix}x", x, self._dtype)
        labels = check_labels(f"{prefix}y", y) if self.loss.class_labels else None
        targets = check_rows(f"{prefix}y", y, self._dtype) if labels is None else labels
        check_same_length(**{f"{prefix}x": inputs, f"{prefix}y": targets})
        data = [inputs, targets]
        if sample_weight is not None:
            data.append(check_weights("sample_weight", sample_weight, len(inputs), self._dtype))
        return data
