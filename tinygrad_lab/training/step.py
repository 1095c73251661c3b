"""The training step: what one update computes, as a pure function of Tensors.

x, y --> model --> loss --> grad --> hooks, in order --> optimizer --> new parameters, new state
                    ^                  ^                    ^
           penalty in the loss   decoupled penalty    lr <-- scheduler(epoch)
"""

from __future__ import annotations

import numpy as np

from tinygrad_lab.autodiff.derivatives import grad, no_grad
from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.nn.layers import Layer
from tinygrad_lab.nn.losses import Loss
from tinygrad_lab.optim.optimizer import Optimizer, State
from tinygrad_lab.optim.penalties import Penalty
from tinygrad_lab.optim.schedulers import Scheduler


class TrainingStep:
    """The parts of a training step, how often it is repeated, and the step itself.

    This is what engines and runs know of a Trainer, which sets the attributes and checks them.

    Attributes
    ----------
    model : Layer
    loss : Loss
    optimizer : Optimizer
    penalty : Penalty or None
    scheduler : Scheduler or None
        The learning rate of each epoch; None keeps that of the optimizer.
    epochs : int
        The number of passes over the data.
    batch_size : int or None
        The number of samples in an update; None is the whole set.
    shuffle : bool
        Whether each epoch visits the samples in another order.
    seed : int
        Decides those orders.
    engine : {"auto", "eager", "replay", "compiled"}
    """

    model: Layer
    loss: Loss
    optimizer: Optimizer
    penalty: Penalty | None
    scheduler: Scheduler | None
    epochs: int
    batch_size: int | None
    shuffle: bool
    seed: int
    engine: str

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
