"""From an estimator's parameters to a Trainer: parts by name or as objects, put together.

"huber" --get_loss--> Huber(1.0)        "adam" --get_optimizer--> Adam, a function of the parameters

in_features, out_features, seed --> network --> optimizer, clip --> Trainer
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from models.multilayer_perceptron import MultilayerPerceptron
from tinygrad_lab import (
    SGD,
    Activation,
    Adam,
    AdamW,
    ClipGradNorm,
    CrossEntropy,
    HalfSquaredError,
    Huber,
    Initializer,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    Optimizer,
    Penalty,
    RMSprop,
    Scheduler,
    Tensor,
    Trainer,
)

OptimizerFactory = Callable[[list[Tensor]], Optimizer]

LOSSES: dict[str, type[Loss]] = {
    "half_squared_error": HalfSquaredError,
    "mean_squared_error": MeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "huber": Huber,
    "cross_entropy": CrossEntropy,
}

OPTIMIZERS: dict[str, OptimizerFactory] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop}


class Perceptron(Protocol):
    """The parameters that `MLPRegressor` and `MLPClassifier` share, as far as a Trainer is made of them."""

    hidden: Sequence[int]
    activation: str | Activation | Sequence[str | Activation]
    weight_init: Initializer | None
    loss: str | Loss
    optimizer: str | OptimizerFactory
    lr: float | None
    scheduler: Scheduler | None
    penalty: Penalty | None
    clip_norm: float | None
    epochs: int
    batch_size: int | None
    shuffle: bool
    engine: str


def compose_trainer(parts: Perceptron, in_features: int, out_features: int, seed: int) -> Trainer:
    """Make a new network and the Trainer around it; `seed` decides the initial weights and the order of the samples."""
    network = MultilayerPerceptron(
        in_features,
        parts.hidden,
        out_features,
        activation=parts.activation,
        weight_init=parts.weight_init,
        rng=np.random.default_rng(seed),
    )
    return Trainer(
        network,
        get_loss(parts.loss),
        optimizer=_make_optimizer(parts, network.parameters()),
        scheduler=parts.scheduler,
        penalty=parts.penalty,
        epochs=parts.epochs,
        batch_size=parts.batch_size,
        shuffle=parts.shuffle,
        seed=seed,
        engine=parts.engine,
    )


def _make_optimizer(parts: Perceptron, parameters: list[Tensor]) -> Optimizer:
    optimizer = get_optimizer(parts.optimizer)(parameters)
    if not isinstance(optimizer, Optimizer):
        kind = type(optimizer).__name__
        raise TypeError(f"optimizer {parts.optimizer!r} returned a {kind}, expected an Optimizer of the parameters")
    if parts.lr is not None:
        if parts.scheduler is not None:
            raise ValueError(f"lr is {parts.lr!r} beside the scheduler {parts.scheduler!r}, expected one of the two")
        optimizer.lr = parts.lr
    if parts.clip_norm is not None:
        optimizer.hooks.append(ClipGradNorm(parts.clip_norm))
    return optimizer


def get_loss(loss: str | Loss) -> Loss:
    """Return the loss of a name in `LOSSES`, with its default parameters, or a Loss itself.

    Raises
    ------
    ValueError
        Where `loss` is neither.

    Examples
    --------
    >>> get_loss("huber")
    Huber(delta=1.0)
    """
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str) or loss not in LOSSES:
        raise ValueError(f"loss {loss!r} is unknown; expected a Loss such as Huber(), or one of {', '.join(LOSSES)}")
    return LOSSES[loss]()


def get_optimizer(optimizer: str | OptimizerFactory) -> OptimizerFactory:
    """Return the optimizer of a name in `OPTIMIZERS`, or a function from parameters to an Optimizer itself.

    Raises
    ------
    ValueError
        Where `optimizer` is neither.

    Examples
    --------
    >>> get_optimizer("adam").__name__
    'Adam'
    """
    if isinstance(optimizer, str) and optimizer in OPTIMIZERS:
        return OPTIMIZERS[optimizer]
    if isinstance(optimizer, str) or not callable(optimizer):
        raise ValueError(
            f"optimizer {optimizer!r} is unknown; expected a function of the parameters such as "
            f"functools.partial(SGD, lr=0.1), or one of {', '.join(OPTIMIZERS)}"
        )
    return optimizer
