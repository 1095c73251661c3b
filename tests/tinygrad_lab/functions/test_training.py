"""Activations and losses written with NumPy's functions train on every engine and in lanes."""

from dataclasses import dataclass

import numpy as np
import pytest
import scipy.special

import tinygrad_lab as tl
from tests.helpers.compilation import compiling


@dataclass(frozen=True)
class Saturation(tl.Activation):
    """An activation of many pieces, each with a loop form."""

    def forward(self, x):
        smooth = np.arctan(x) + 0.1 * np.cbrt(1.0 + np.square(x)) + 0.1 * np.logaddexp(x, 0.5)
        return np.where(np.isfinite(x), smooth, 0.0) + 0.01 * scipy.special.ndtr(x) + 0.1 * np.fmod(x, 50.0)


class Deviation(tl.Loss):
    """Geman-McClure's loss, with a norm that has a kink beside it."""

    def per_sample(self, prediction, target):
        error = prediction - target
        return np.mean(error**2 / (1.0 + error**2), axis=1) + 0.1 * np.linalg.norm(error, axis=-1)


class Sorted(tl.Loss):
    """The distance of sorted rows, without a loop form."""

    def per_sample(self, prediction, target):
        return np.mean(np.abs(np.sort(prediction) - np.sort(target)), axis=1) + 0.1 * np.median(prediction**2, axis=1)


def trainer(loss, engine, seed=0):
    rng = np.random.default_rng(seed)
    net = tl.Sequential(tl.Linear(2, 6, rng=rng), Saturation(), tl.Linear(6, 3, rng=rng))
    return tl.Trainer(net, loss, optimizer=tl.SGD(net.parameters(), lr=0.05), epochs=3, batch_size=4, engine=engine)


def data():
    rng = np.random.default_rng(7)
    return rng.normal(size=(12, 2)), rng.normal(size=(12, 3))


def fitted(loss, engine):
    one = trainer(loss, engine)
    return one.fit(*data())["train_loss"]


@pytest.mark.parametrize("loss", [Deviation, Sorted])
def test_eager_and_replay_agree_to_the_bit(loss):
    np.testing.assert_array_equal(fitted(loss(), "replay"), fitted(loss(), "eager"))


@compiling
def test_loops_agree_to_rounding():
    np.testing.assert_allclose(fitted(Deviation(), "compiled"), fitted(Deviation(), "eager"), rtol=1e-12)


@pytest.mark.parametrize("loss", [Deviation, Sorted])
def test_lanes_are_trainings(loss):
    lanes = [trainer(loss(), "replay", seed) for seed in range(3)]
    tl.fit_lanes(lanes, [data()] * 3)
    for seed, lane in enumerate(lanes):
        alone = trainer(loss(), "replay", seed)
        alone.fit(*data())
        np.testing.assert_array_equal(lane.history["train_loss"], alone.history["train_loss"])
