"""tinygrad-lab, through its public interface: `Trainer.fit`, with everything that it does around the updates."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

import tinygrad_lab as tl
from harness import Unavailable
from models import TwoHiddenLayerNet
from problems import Problem, Weights


class Fit:
    """One model, trained by `Trainer.fit` on an engine."""

    def __init__(self, problem: Problem, engine: str) -> None:
        self.problem = problem
        self.trainer = make_trainer(problem, engine)

    def run(self, epochs: int) -> None:
        """Train for this number of epochs."""
        with _engine_as_asked():
            self.trainer.fit(self.problem.x[0], self.problem.y[0], epochs=epochs)

    def weights(self) -> list[Weights]:
        """Return the weights of the model."""
        return [list(self.trainer.model.state_dict().values())]

    def loss(self) -> list[float]:
        """Return the mean loss of the last epoch."""
        return [self.trainer.history["train_loss"][-1]]


class Lanes:
    """Many models, trained side by side by `fit_lanes`."""

    def __init__(self, problem: Problem, engine: str) -> None:
        if not hasattr(tl, "fit_lanes"):
            raise Unavailable("this version of tinygrad_lab has no fit_lanes")
        self.problem = problem
        self.trainers = [make_trainer(problem, engine, model) for model in range(problem.models)]
        self.data = list(zip(problem.x, problem.y, strict=True))

    def run(self, epochs: int) -> None:
        """Train for this number of epochs."""
        with _engine_as_asked():
            tl.fit_lanes(self.trainers, self.data, epochs=epochs)

    def weights(self) -> list[Weights]:
        """Return the weights of each model."""
        return [list(trainer.model.state_dict().values()) for trainer in self.trainers]

    def loss(self) -> list[float]:
        """Return the mean loss of the last epoch, for each model."""
        return [trainer.history["train_loss"][-1] for trainer in self.trainers]


def make_trainer(problem: Problem, engine: str, model: int = 0) -> tl.Trainer:
    """Make the Trainer of one model of a problem."""
    net = TwoHiddenLayerNet(
        *problem.widths,
        activation=tl.LeakyReLU(problem.slope) if problem.slope else tl.ReLU(),
        rng=np.random.default_rng(0),
        dtype=problem.dtype,
    )
    net.load_state_dict(dict(zip(net.state_dict(), problem.weights[model], strict=True)))
    hooks = [] if problem.clip is None else [tl.ClipGradNorm(problem.clip)]
    lr = problem.lr[model]
    return tl.Trainer(
        net,
        tl.HalfSquaredError() if problem.loss == "half_squared_error" else tl.CrossEntropy(),
        optimizer=(tl.Adam if problem.optimizer == "adam" else tl.SGD)(net.parameters(), lr=lr, hooks=hooks),
        scheduler=None if problem.lr_final is None else tl.GeometricDecay(lr, problem.lr_final, epochs=problem.decay_epochs),
        penalty=None if problem.l1 is None else tl.L1Penalty(problem.l1[model], decoupled=True),
        batch_size=problem.batch_size,
        shuffle=False,
        engine=engine,
    )


@contextmanager
def _engine_as_asked() -> Iterator[None]:
    """Raise `Unavailable` if the training falls back to another engine, which it reports by a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "training (by replay|on the eager engine)")
        try:
            yield
        except UserWarning as warning:
            raise Unavailable(str(warning)) from None
