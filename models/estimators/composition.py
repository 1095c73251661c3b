"""From an estimator's parameters to a Trainer: parts by name or as objects, put together.

in_features, out_features, seed --> network --> optimizer, clip --> Trainer
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from models.networks import MultilayerPerceptron
from models.parts import OptimizerFactory, get_loss, get_optimizer
from tinygrad_lab import Activation, ClipGradNorm, Initializer, Loss, Optimizer, Penalty, Scheduler, Tensor, Trainer


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
