"""A builder for searches that are described by numbers and names alone, as the command line's are.

configuration: hidden, activation, l1, lr, ... --build_perceptron--> Trainer of a MultilayerPerceptron
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np

import tinygrad_lab as tl
from models.networks import MultilayerPerceptron
from models.parts import OPTIMIZERS

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


def build_perceptron(
    configuration: Mapping[str, Any], rng: np.random.Generator, *, in_features: int = 1, out_features: int = 1
) -> tl.Trainer:
    """Make the Trainer of one configuration; by default the report's network, trained as in the report.

    Parameters
    ----------
    configuration : mapping
        Any of ``hidden`` (sizes of the hidden layers), ``activation``, ``optimizer`` (a name in `models.parts.OPTIMIZERS`),
        ``lr``, ``lr_final`` (None for a constant rate) and ``decay`` ("geometric", "linear" or "cosine") on the way to it,
        ``l1`` (strength of a decoupled L1 penalty), ``clip_norm`` (None for none), ``epochs``, ``batch_size`` and ``shuffle``.
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
    for name in configuration:
        if name not in DEFAULTS:
            [near] = get_close_matches(name, DEFAULTS, n=1, cutoff=0.0)
            raise ValueError(f"build_perceptron: unknown name {name!r}, did you mean {near!r}?")
    options = DEFAULTS | dict(configuration)
    net = MultilayerPerceptron(in_features, options["hidden"], out_features, activation=options["activation"], rng=rng)
    clip = options["clip_norm"]
    final = options["lr_final"]
    optimizer = _chosen("optimizer", OPTIMIZERS, options)
    decay = _chosen("decay", DECAYS, options)
    return tl.Trainer(
        net,
        tl.HalfSquaredError(),
        optimizer=optimizer(net.parameters(), lr=options["lr"], hooks=[] if clip is None else [tl.ClipGradNorm(clip)]),
        scheduler=None if final is None else decay(options["lr"], final, epochs=options["epochs"]),
        penalty=tl.L1Penalty(options["l1"], decoupled=True),
        epochs=options["epochs"],
        batch_size=options["batch_size"],
        shuffle=options["shuffle"],
    )


def _chosen(name: str, table: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    choice = options[name]
    if choice not in table:
        raise ValueError(f"build_perceptron: {name} is {choice!r}, expected {', '.join(table)}")
    return table[choice]
