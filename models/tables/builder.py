"""From a configuration to the Trainer of a network for one table: the builder that a search is given.

{"hidden": (32,), "lr": 0.01, ...} --TableBuilder--> Trainer(network, loss of the task, inputs=ColumnEncoder, ...)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import tinygrad_lab as tl
from models import builders
from models.networks import MultilayerPerceptron
from models.parts import get_loss
from models.tables.columns import Column, Level, level_key
from models.tables.embedding import CategoryEmbedding
from models.tables.encoder import ColumnEncoder

DEFAULTS: dict[str, Any] = {
    **builders.DEFAULTS,
    "hidden": (32,),
    "activation": "relu",
    "optimizer": "adam",
    "lr": 0.005,
    "clip_norm": None,
    "epochs": 200,
    "batch_size": 32,
    "shuffle": True,
    "weight_decay": None,
    "dropout": 0.0,
    "embedding": None,
    "loss": None,
    "class_weight": None,
    "patience": None,
    "validation_fraction": None,
}

HELD_OUT = 0.1
"""The share of the training rows that decides when to stop, if `patience` is given and `validation_fraction` is not."""


@dataclass(frozen=True)
class TableBuilder:
    """Makes the Trainer of a configuration for one table. It can be pickled, and has no data.

    A configuration may have ``hidden`` (sizes of the hidden layers), ``activation``, ``optimizer``, ``lr``, ``lr_final``,
    ``decay``, ``l1``, ``clip_norm``, ``epochs``, ``batch_size`` and ``shuffle`` as that of `build_perceptron`, and

    - ``weight_decay``: the strength of a decoupled L2 penalty, or AdamW's;
    - ``dropout``: the share of units that is set to 0 after each hidden layer;
    - ``embedding``: the length of a vector that is learnt for each level of a category, in place of one-hot inputs;
    - ``loss``: a name in `models.parts.LOSSES` that fits the task; by default the half squared error for a regression;
    - ``class_weight``: "balanced", or a mapping from each class to its weight;
    - ``patience``: the number of epochs without improvement on held-out training rows after which to stop;
    - ``validation_fraction``: the share of the training rows that is held out, by default 0.1 if ``patience`` is given.

    The scaling of x and y, the medians for missing values and the categories are learnt by each `fit` from its training rows.

    Parameters
    ----------
    columns : tuple of Column
    task : {"regression", "classification", "multilabel"}
    outputs : int
        The number of targets, or of classes.
    classes : tuple, optional
        The labels of a classification.
    defaults : mapping
        Values for the names that a configuration does not have.

    Raises
    ------
    ValueError
        If a name is unknown.

    Examples
    --------
    >>> build = TableBuilder((Column("size", "number"),), "classification", 2, ("no", "yes"), {"epochs": 50})
    >>> trainer = build({"hidden": (8,), "class_weight": "balanced"}, np.random.default_rng(0))
    >>> trainer.loss, trainer.epochs, trainer.inputs
    (CrossEntropy(), 50, ColumnEncoder(1 columns, 1 outputs))
    """

    columns: tuple[Column, ...]
    task: str
    outputs: int
    classes: tuple[Level, ...] | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        builders.merge_options("Table.builder", DEFAULTS, self.defaults)

    def __call__(self, configuration: Mapping[str, Any], rng: np.random.Generator) -> tl.Trainer:
        """Return the Trainer. `rng` is the source of its initial weights and of its seed."""
        owner = "Table.builder"
        options = builders.merge_options(owner, {**DEFAULTS, **self.defaults}, configuration)
        encoder = ColumnEncoder(self.columns)
        is_regression = self.task == "regression"
        patience, fraction = options["patience"], options["validation_fraction"]
        if patience is not None and fraction is None:
            fraction = HELD_OUT
        return builders.compose_configured(
            owner,
            self._network(encoder, options, rng),
            options,
            loss=self._loss(options["loss"]),
            seed=int(rng.integers(2**31)),
            inputs=encoder,
            targets=tl.Standardize(self.outputs) if is_regression else None,
            class_weight=self._class_weight(options["class_weight"]),
            validation_fraction=fraction,
            callbacks=() if patience is None else [tl.EarlyStopping(patience)],
        )

    def _network(self, encoder: ColumnEncoder, options: Mapping[str, Any], rng: np.random.Generator) -> tl.Layer:
        layers: list[tl.Layer] = []
        features = encoder.out_features
        if options["embedding"] is not None and encoder.category_blocks:
            embedding = CategoryEmbedding(features, encoder.category_blocks, options["embedding"], rng=rng)
            layers.append(embedding)
            features = embedding.out_features
        hidden, activation = options["hidden"], options["activation"]
        net = MultilayerPerceptron(features, hidden, self.outputs, activation=activation, rng=rng)
        if not layers and not options["dropout"]:
            return net
        if not options["dropout"]:
            return tl.Sequential(*layers, net)
        return tl.Sequential(*layers, *_with_dropout(net, options["dropout"]))

    def _loss(self, name: str | None) -> tl.Loss:
        if self.task == "classification":
            default: tl.Loss = tl.CrossEntropy()
        else:
            default = tl.HalfSquaredError() if self.task == "regression" else tl.BinaryCrossEntropy()
        if name is None:
            return default
        loss = get_loss(name)
        if self.task == "classification" and loss.class_labels:
            return loss
        if self.task != "regression" or loss.class_labels:
            raise ValueError(f"Table.builder: loss is {name!r} for {self.task}, expected None, which is {default!r}")
        return loss

    def _class_weight(self, given: Any) -> Any:
        """Return the weights of the classes in the order of their codes."""
        if given is None or given == "balanced":
            return given
        if self.classes is None or not isinstance(given, Mapping):
            raise ValueError(
                f"Table.builder: class_weight is {given!r} for {self.task}, expected 'balanced' or a weight for each class"
            )
        weights = {level_key(label): weight for label, weight in given.items()}
        names = [level_key(label) for label in self.classes]
        if set(weights) != set(names):
            raise ValueError(f"Table.builder: class_weight has {', '.join(weights)}, expected the classes {', '.join(names)}")
        return [weights[name] for name in names]


def _with_dropout(net: MultilayerPerceptron, p: float) -> Sequence[tl.Layer | tl.Activation]:
    """Return the layers of a network with a Dropout after each hidden one."""
    layers: list[tl.Layer | tl.Activation] = []
    for number, activation in enumerate(net.activations, 1):
        layers += [getattr(net, f"hidden{number}"), activation, tl.Dropout(p)]
    return [*layers, net.output]
