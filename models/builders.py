"""Trainers built from names and objects, and a builder for searches that are described by numbers and names alone.

network, "huber", "adam", lr, ... --compose_trainer--> Trainer of the network
{"hidden": (75, 50), "lr": 0.1, ...} --build_perceptron--> Trainer of a MultilayerPerceptron
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any, TypedDict

import numpy as np

import tinygrad_lab as tl
from models.networks import MultilayerPerceptron
from models.parts import OPTIMIZERS, OptimizerFactory, get_loss, get_optimizer

DEFAULTS: dict[str, Any] = {
    "hidden": (75, 50),
    "activation": "leaky_relu",
    "optimizer": "sgd",
    "lr": 0.075,
    "lr_final": None,
    "decay": "geometric",
    "l1": 0.0,
    "clip_norm": 10.0,
    "epochs": 1000,
    "batch_size": 1,
    "shuffle": False,
}

DECAYS = {"geometric": tl.GeometricDecay, "linear": tl.LinearDecay, "cosine": tl.CosineDecay}


class Parts(TypedDict, total=False):
    """The parts of a training that are chosen by name or given as objects: keywords of `compose_trainer`."""

    loss: str | tl.Loss
    optimizer: str | OptimizerFactory
    lr: float | None
    scheduler: tl.Scheduler | None
    penalty: tl.Penalty | None


def compose_trainer(
    network: tl.Layer,
    *,
    loss: str | tl.Loss = "half_squared_error",
    optimizer: str | OptimizerFactory = "sgd",
    lr: float | None = None,
    scheduler: tl.Scheduler | None = None,
    penalty: tl.Penalty | None = None,
    clip_norm: float | None = None,
    epochs: int,
    batch_size: int | None,
    shuffle: bool,
    seed: int = 0,
    engine: str = "auto",
    **others: Any,
) -> tl.Trainer:
    """Make the Trainer of a network from parts, each given by name or as an object.

    Parameters
    ----------
    network : Layer
    loss : str or Loss
        A name in `models.parts.LOSSES`, or an object.
    optimizer : str or callable
        A name in `models.parts.OPTIMIZERS`, or a function of the parameters that returns an Optimizer.
    lr : float, optional
        The learning rate of all epochs. The default is the optimizer's own.
    scheduler : Scheduler, optional
        The learning rate of each epoch. Give either this or `lr`.
    penalty : Penalty, optional
    clip_norm : float or None
        The largest global norm of a gradient, after the optimizer's own hooks. None does not clip.
    epochs, batch_size, shuffle, seed, engine, **others
        As in `tinygrad_lab.Trainer`.

    Raises
    ------
    TypeError
        If the function `optimizer` returns no Optimizer.
    ValueError
        If a name is unknown, or both `lr` and `scheduler` are given.

    Examples
    --------
    >>> net = MultilayerPerceptron(1, (8,), 1, rng=np.random.default_rng(0))
    >>> trainer = compose_trainer(net, loss="huber", optimizer="adam", clip_norm=1.0, epochs=9, batch_size=8, shuffle=True)
    >>> trainer.loss, trainer.optimizer.hooks
    (Huber(delta=1.0), [ClipGradNorm(1.0)])
    """
    return tl.Trainer(
        network,
        get_loss(loss),
        optimizer=_make_optimizer(network, optimizer, lr, scheduler, clip_norm),
        scheduler=scheduler,
        penalty=penalty,
        epochs=epochs,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        engine=engine,
        **others,
    )


def _make_optimizer(
    network: tl.Layer,
    chosen: str | OptimizerFactory,
    lr: float | None,
    scheduler: tl.Scheduler | None,
    clip_norm: float | None,
) -> tl.Optimizer:
    optimizer = get_optimizer(chosen)(network.parameters())
    if not isinstance(optimizer, tl.Optimizer):
        kind = type(optimizer).__name__
        raise TypeError(f"optimizer {chosen!r} returned a {kind}, expected an Optimizer of the parameters")
    # The optimizer was made for this Trainer only, so it may be changed.
    if lr is not None:
        if scheduler is not None:
            raise ValueError(f"lr is {lr!r} beside the scheduler {scheduler!r}, expected one of the two")
        optimizer.lr = lr
    if clip_norm is not None:
        optimizer.hooks.append(tl.ClipGradNorm(clip_norm))
    return optimizer


def build_perceptron(
    configuration: Mapping[str, Any], rng: np.random.Generator, *, in_features: int = 1, out_features: int = 1
) -> tl.Trainer:
    """Make the Trainer of one configuration. The default is the report's network, trained as in the report.

    Parameters
    ----------
    configuration : mapping
        Any of ``hidden`` (sizes of the hidden layers), ``activation``, ``optimizer`` (a name in `models.parts.OPTIMIZERS`),
        ``lr``, ``lr_final`` (None for a constant rate), ``decay`` ("geometric", "linear" or "cosine", from ``lr`` to
        ``lr_final``), ``l1`` (strength of a decoupled L1 penalty), ``clip_norm`` (None does not clip), ``epochs``,
        ``batch_size`` and ``shuffle``.
    rng : numpy.random.Generator
        The source of the initial weights.
    in_features, out_features : int

    Raises
    ------
    ValueError
        If a name is unknown.

    Examples
    --------
    >>> trainer = build_perceptron({"hidden": (10, 10), "lr": 0.1, "lr_final": 0.001}, np.random.default_rng(0))
    >>> trainer.model.hidden2.weight.shape, trainer.scheduler(999)
    ((10, 10), 0.001)
    >>> build_perceptron({"hiden": (10, 10)}, np.random.default_rng(0))
    Traceback (most recent call last):
    ValueError: build_perceptron: unknown name 'hiden', did you mean 'hidden'?
    """
    options = merge_options("build_perceptron", DEFAULTS, configuration)
    net = MultilayerPerceptron(in_features, options["hidden"], out_features, activation=options["activation"], rng=rng)
    return compose_configured("build_perceptron", net, options)


def merge_options(owner: str, defaults: Mapping[str, Any], configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults with the values of a configuration.

    Raises
    ------
    ValueError
        If the configuration has a name that the defaults do not have. The message begins with `owner`.
    """
    for name in configuration:
        if name not in defaults:
            near = get_close_matches(str(name), defaults, n=1)
            cure = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(defaults)}"
            raise ValueError(f"{owner}: unknown name {name!r}, {cure}")
    return {**defaults, **configuration}


def compose_configured(owner: str, network: tl.Layer, options: Mapping[str, Any], **others: Any) -> tl.Trainer:
    """Make the Trainer of a network with the options of `DEFAULTS` that say how it is trained.

    Parameters
    ----------
    owner : str
        What error messages begin with.
    network : Layer
    options : mapping
        A value for each name in `DEFAULTS`. "weight_decay" is optional: the strength of a decoupled L2 penalty.
    **others
        Further keywords of `compose_trainer`.
    """
    final, l1, l2 = options["lr_final"], options["l1"], options.get("weight_decay")
    optimizer = partial(_chosen(owner, "optimizer", OPTIMIZERS, options), lr=options["lr"])
    decay = _chosen(owner, "decay", DECAYS, options)
    penalty: tl.Penalty = tl.L1Penalty(l1, decoupled=True)
    if l2 is not None and options["optimizer"] == "adamw":
        optimizer = partial(optimizer, weight_decay=l2)
    elif l2:
        tl.L2Penalty(l2)  # raises the error of a wrong strength
        penalty = tl.ElasticNetPenalty(l1 + l2, l1 / (l1 + l2), decoupled=True)
    return compose_trainer(
        network,
        optimizer=optimizer,
        scheduler=None if final is None else decay(options["lr"], final, epochs=options["epochs"]),
        penalty=penalty,
        clip_norm=options["clip_norm"],
        epochs=options["epochs"],
        batch_size=options["batch_size"],
        shuffle=options["shuffle"],
        **others,
    )


def _chosen(owner: str, name: str, table: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    choice = options[name]
    if not isinstance(choice, str) or choice not in table:
        raise ValueError(f"{owner}: {name} is {choice!r}, expected {', '.join(table)}")
    return table[choice]
