"""The trainings that are timed: networks, initial weights, data and settings, the same for every row of a table.

A `Problem` says what to compute. `reference.py` computes it in plain NumPy, and each file of `peers/` with one library.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import cycle, islice, pairwise

import numpy as np

from models import stand_in_data

Weights = list[np.ndarray]

REPORT_WIDTHS = (1, 75, 50, 1)
LARGE_WIDTHS = (784, 256, 128, 10)


@dataclass(frozen=True)
class Problem:
    """One epoch of updates for one or more models of the same network, each with its own data and settings.

    Attributes
    ----------
    widths : tuple of int
        The sizes of the input, the hidden layers and the output. A `leaky_relu` of this `slope` follows each hidden layer.
    weights : list of list of ndarray
        For each model, the weight of shape (out, in) and the bias of shape (out,), layer by layer.
    x : ndarray, shape (models, samples, features)
    y : ndarray, shape (models, samples, outputs), or (models, samples) for integer labels
    batch_size : int
        A divisor of the number of samples.
    loss : {"half_squared_error", "cross_entropy"}
        The mean over the batch.
    optimizer : {"sgd", "adam"}
    lr : list of float
        The learning rate of each model. That of SGD is the rate before the first epoch, from which it decays geometrically.
    lr_final : float or None
        SGD's learning rate after `decay_epochs`. None if it is constant.
    clip : float or None
        The largest norm of the whole gradient.
    l1 : list of float or None
        The strength of the L1 penalty of each model. Its slope is added to the gradient after clipping.
    """

    widths: tuple[int, ...]
    slope: float
    weights: list[Weights]
    x: np.ndarray
    y: np.ndarray
    batch_size: int
    loss: str
    optimizer: str
    lr: list[float]
    lr_final: float | None = None
    decay_epochs: int = 1000
    clip: float | None = None
    l1: list[float] | None = None

    @property
    def models(self) -> int:
        """The number of models."""
        return len(self.weights)

    @property
    def updates(self) -> int:
        """The number of updates of one model in an epoch."""
        return self.x.shape[1] // self.batch_size

    @property
    def dtype(self) -> np.dtype:
        """The precision of all arrays except integer labels."""
        return self.x.dtype

    def learning_rates(self, epoch: int) -> list[float]:
        """Return the learning rate of each model in an epoch, counted from 0."""
        if self.lr_final is None:
            return self.lr
        progress = min((epoch + 1) / self.decay_epochs, 1.0)
        return [lr * (self.lr_final / lr) ** progress for lr in self.lr]


def report_problem(
    updates: int, dtype: str = "float64", batch_size: int = 1, models: int = 1, widths: tuple[int, ...] = REPORT_WIDTHS
) -> Problem:
    """Make the report's training: half squared error, clipped SGD with a decaying learning rate, decoupled L1.

    The first model has the settings of the report's winner. The other models cycle through the settings of the report's grid.
    """
    rng = np.random.default_rng(0)
    weights = [_xavier(widths, rng, dtype) for _ in range(models)]
    samples = updates * batch_size
    points = [_points(samples, seed) for seed in range(models)]
    return Problem(
        widths=widths,
        slope=0.05,
        weights=weights,
        x=np.array([x for x, _ in points], dtype)[..., np.newaxis],
        y=np.array([y for _, y in points], dtype)[..., np.newaxis],
        batch_size=batch_size,
        loss="half_squared_error",
        optimizer="sgd",
        lr=list(islice(cycle([0.075, 0.05, 0.025, 0.1]), models)),
        lr_final=0.001,
        clip=10.0,
        l1=list(islice(cycle([1e-3, 1e-3, 1e-3, 1e-3, 1e-4, 1e-4, 1e-4, 1e-4, 1e-5, 1e-5, 1e-5, 1e-5, 0, 0, 0, 0]), models)),
    )


def plain_report_problem(updates: int, dtype: str = "float64", batch_size: int = 1) -> Problem:
    """Make the report's training as far as scikit-learn has it: relu, no clipping, no L1, a constant learning rate."""
    problem = report_problem(updates, dtype, batch_size)
    return replace(problem, slope=0.0, lr=[0.001], lr_final=None, clip=None, l1=None)


def large_problem(updates: int, dtype: str = "float32") -> Problem:
    """Make the training of a classifier 784-256-128-10: relu, cross-entropy of integer labels, Adam, batches of 128."""
    rng = np.random.default_rng(0)
    samples = updates * 128
    centres = rng.normal(size=(10, 784))
    labels = rng.integers(10, size=samples)
    return Problem(
        widths=LARGE_WIDTHS,
        slope=0.0,
        weights=[_xavier(LARGE_WIDTHS, rng, dtype)],
        x=(0.2 * centres[labels] + rng.normal(size=(samples, 784))).astype(dtype)[np.newaxis],
        y=labels[np.newaxis],
        batch_size=128,
        loss="cross_entropy",
        optimizer="adam",
        lr=[0.001],
    )


def _xavier(widths: tuple[int, ...], rng: np.random.Generator, dtype: str) -> Weights:
    weights: Weights = []
    for fan_in, fan_out in pairwise(widths):
        limit = np.sqrt(3.0 / (fan_in + fan_out))
        weights += [rng.uniform(-limit, limit, (fan_out, fan_in)).astype(dtype), np.zeros(fan_out, dtype)]
    return weights


def _points(samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return this number of points like the report's. Different seeds give different points."""
    sets = [stand_in_data(1000 * seed + number)[0] for number in range(-(-samples // 120))]
    x, y = (np.concatenate(parts)[:samples] for parts in zip(*sets, strict=True))
    return x, y
